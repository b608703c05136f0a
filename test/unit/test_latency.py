"""The latency ledger: percentiles of each stage over the last ten seconds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, LatencyStamps
from lmtrack_ros.gating.latency import LatencyLedger


def stamps(at_ms: float, *stages_ms: float) -> LatencyStamps:
    times = np.cumsum((1000.0 + at_ms, *stages_ms)) * NS_PER_MS
    return LatencyStamps(*(int(t) for t in times))


def test_percentiles_of_each_stage() -> None:
    ledger = LatencyLedger()
    for index in range(101):
        ledger.add(stamps(40 * index, 20, index, 1))
    found = ledger.percentiles_ms()
    assert found["imaging"] == {"p50": 20, "p95": 20, "p99": 20, "max": 20}
    assert found["tracking"] == {"p50": 50, "p95": 95, "p99": 99, "max": 100}
    assert found["total"]["p50"] == 71
    assert found["frame_interval"]["p50"] == 40
    assert ledger.total_ns(0.5) == 71 * NS_PER_MS
    assert ledger.frame_interval_ns() == 40 * NS_PER_MS


def test_empty_ledger_knows_nothing() -> None:
    ledger = LatencyLedger()
    assert ledger.percentiles_ms() == {}
    assert (ledger.total_ns(0.95), ledger.frame_interval_ns()) == (0, 0)


def test_one_frame_has_no_interval() -> None:
    ledger = LatencyLedger()
    ledger.add(stamps(0, 1, 2, 3))
    assert set(ledger.percentiles_ms()) == {"imaging", "tracking", "deciding", "total"}


def test_stage_without_a_stamp_took_no_time() -> None:
    ledger = LatencyLedger()
    ledger.add(LatencyStamps(acquired_ns=NS_PER_S, decided_ns=NS_PER_S + 50 * NS_PER_MS))
    found = ledger.percentiles_ms()
    assert [found[s]["max"] for s in ("imaging", "tracking", "deciding", "total")] == [0, 0, 50, 50]


def test_what_is_older_than_ten_seconds_is_forgotten() -> None:
    ledger = LatencyLedger()
    for second in range(30):
        ledger.add(stamps(1000 * second, 0, 500 if second < 15 else 5, 0))
    assert ledger.percentiles_ms()["total"]["max"] == 5


def test_cleared_ledger_starts_anew() -> None:
    ledger = LatencyLedger()
    ledger.add(stamps(9000, 1, 1, 1))
    ledger.clear()
    ledger.add(stamps(0, 2, 2, 2))
    assert ledger.percentiles_ms()["total"]["max"] == 6


@given(st.lists(st.tuples(st.integers(1, 4000), st.integers(0, 300)), min_size=1, max_size=80))
def test_running_quantiles_are_those_of_the_frames_in_the_span(frames: list[tuple[int, int]]) -> None:
    ledger = LatencyLedger()
    at_ms = 0
    kept: list[tuple[int, int]] = []
    for step_ms, total_ms in frames:
        at_ms += step_ms
        ledger.add(stamps(at_ms, total_ms, 0, 0))
        kept = [(t, v) for t, v in (*kept, (at_ms, total_ms)) if t >= at_ms - 10_000]
        values = sorted(v for _, v in kept)
        for share in (0.5, 0.95):
            expected = values[min(len(values) - 1, int(share * len(values)))]
            assert ledger.total_ns(share) == expected * NS_PER_MS
