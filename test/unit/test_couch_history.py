"""Where the couch was: between statuses, after the newest, and where nobody knows."""

import numpy as np
import pytest

from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, CouchStatus
from lmtrack_ros.gating.couch_history import CouchHistory

T0 = 10 * NS_PER_S


def status(at_ms: float, y_mm: float = 0.0) -> CouchStatus:
    return CouchStatus(T0 + int(at_ms * NS_PER_MS), np.array([0.0, y_mm, 0.0]))


def history(*statuses: CouchStatus, max_age_ms: float = 100.0) -> CouchHistory:
    filled = CouchHistory(max_age_ms)
    for one in statuses:
        assert filled.add(one)
    return filled


@pytest.mark.parametrize(
    ("at_ms", "y_mm"),
    [
        pytest.param(-1, None, id="before-the-first"),
        pytest.param(0, 0.0, id="at-the-first"),
        pytest.param(10, 1.0, id="a-quarter-of-the-way"),
        pytest.param(40, 4.0, id="at-a-status"),
        pytest.param(60, 2.0, id="on-the-way-back"),
        pytest.param(80, 0.0, id="at-the-newest"),
        pytest.param(180, 0.0, id="at-the-age-limit"),
        pytest.param(180.001, None, id="past-the-age-limit"),
    ],
)
def test_position_at_a_time(at_ms: float, y_mm: float | None) -> None:
    position = history(status(0), status(40, 4.0), status(80)).position_mm(T0 + int(at_ms * NS_PER_MS))
    if y_mm is None:
        assert position is None
    else:
        assert position is not None
        np.testing.assert_allclose(position, (0, y_mm, 0))


def test_empty_history_knows_nothing() -> None:
    assert CouchHistory(100.0).position_mm(T0) is None
    assert CouchHistory(100.0).newest is None


def test_gap_between_statuses_is_not_bridged() -> None:
    """Where the couch was in a silence longer than the age limit is not known, its ends are."""
    gappy = history(status(0), status(101, 5.0))
    assert gappy.position_mm(T0 + 50 * NS_PER_MS) is None
    assert gappy.position_mm(T0) is not None
    assert gappy.position_mm(T0 + 101 * NS_PER_MS) is not None


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(status(40, 9.0), id="same-stamp"),
        pytest.param(status(20, 9.0), id="older"),
        pytest.param(status(80, np.nan), id="nan"),
        pytest.param(status(80, np.inf), id="infinite"),
    ],
)
def test_useless_status_is_not_taken_up(bad: CouchStatus) -> None:
    filled = history(status(0), status(40, 4.0))
    assert not filled.add(bad)
    assert filled.newest is not None
    assert filled.newest.stamp_ns == status(40).stamp_ns
    position = filled.position_mm(T0 + 20 * NS_PER_MS)
    assert position is not None
    assert position[1] == 2.0


def test_old_statuses_are_forgotten() -> None:
    """Two seconds are kept, so that a node that runs for days does not grow."""
    filled = history(*(status(20.0 * i, i) for i in range(500)))
    newest_ms = 20.0 * 499
    assert filled.position_mm(T0 + int((newest_ms - 2001) * NS_PER_MS)) is None
    kept = filled.position_mm(T0 + int((newest_ms - 1990) * NS_PER_MS))
    assert kept is not None
    assert kept[1] == pytest.approx(399.5)
