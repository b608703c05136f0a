"""The reference consumer: every rule by which a decision does not turn the beam on."""

from dataclasses import replace

import pytest

from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S, GateDecision, GateState, Reason
from lmtrack_ros.gating.consumer import BeamEnable

SESSION = 7
T0 = 100 * NS_PER_S
MONOTONIC = 5 * NS_PER_S
VALIDITY_MS = 250.0

ON = GateDecision(T0, SESSION, 1, GateState.BEAM_ON, Reason(0), T0 + 200 * NS_PER_MS)
HOLD = GateDecision(T0, SESSION, 2)


def enabled(
    *decisions: GateDecision, now_ns: int = T0 + NS_PER_MS, monotonic_ns: int = MONOTONIC + NS_PER_MS
) -> bool:
    """Return the line after decisions that all arrived at the moment MONOTONIC."""
    line = BeamEnable(SESSION, VALIDITY_MS)
    for decision in decisions:
        line.receive(decision, MONOTONIC)
    return line.beam_on(now_ns, monotonic_ns)


def test_valid_decision_turns_the_beam_on() -> None:
    assert enabled(ON)


@pytest.mark.parametrize(
    "decisions",
    [
        pytest.param((), id="nothing-received"),
        pytest.param((GateDecision(T0, SESSION, 1),), id="hold"),
        pytest.param((replace(ON, session=SESSION + 1),), id="other-session"),
        pytest.param((replace(ON, session=0),), id="no-session"),
        pytest.param((ON, HOLD), id="hold-after-on"),
        pytest.param((ON, HOLD, ON), id="older-on-repeated"),
        pytest.param((HOLD, replace(ON, sequence=2)), id="on-with-the-sequence-of-the-hold"),
        pytest.param((replace(ON, valid_until_ns=0),), id="never-valid"),
        pytest.param((ON, replace(HOLD, session=SESSION + 1)), id="hold-of-another-gate"),
        pytest.param((ON, replace(ON, session=SESSION + 1), replace(ON, sequence=9)), id="two-gates"),
    ],
)
def test_beam_stays_off(decisions: tuple[GateDecision, ...]) -> None:
    assert not enabled(*decisions)


@pytest.mark.parametrize(
    "decisions",
    [
        pytest.param((HOLD, replace(ON, sequence=3)), id="on-after-hold"),
        pytest.param((replace(ON, sequence=9),), id="first-seen-is-not-the-first-sent"),
    ],
)
def test_beam_is_on(decisions: tuple[GateDecision, ...]) -> None:
    assert enabled(*decisions)


@pytest.mark.parametrize(
    ("age_ns", "expected"),
    [
        pytest.param(-1, False, id="before-the-frame"),
        pytest.param(0, True, id="at-the-frame"),
        pytest.param(200 * NS_PER_MS - 1, True, id="just-before-valid-until"),
        pytest.param(200 * NS_PER_MS, False, id="at-valid-until"),
    ],
)
def test_valid_until_on_the_clock_of_the_frames(age_ns: int, expected: bool) -> None:
    assert enabled(ON, now_ns=T0 + age_ns) is expected


@pytest.mark.parametrize(
    ("age_ns", "expected"),
    [
        pytest.param(-1, False, id="monotonic-clock-ran-back"),
        pytest.param(0, True, id="on-arrival"),
        pytest.param(250 * NS_PER_MS - 1, True, id="just-young-enough"),
        pytest.param(250 * NS_PER_MS, False, id="too-old"),
    ],
)
def test_validity_on_the_own_monotonic_clock(age_ns: int, expected: bool) -> None:
    """The frames' clock may stand still: the consumer's own does not."""
    assert enabled(ON, monotonic_ns=MONOTONIC + age_ns) is expected


def test_repeated_decision_does_not_renew_itself() -> None:
    """A decision that arrives again counts from when it arrived first."""
    line = BeamEnable(SESSION, VALIDITY_MS)
    line.receive(ON, MONOTONIC)
    line.receive(ON, MONOTONIC + 200 * NS_PER_MS)
    assert not line.beam_on(T0 + NS_PER_MS, MONOTONIC + 260 * NS_PER_MS)


def test_newer_decision_renews() -> None:
    line = BeamEnable(SESSION, VALIDITY_MS)
    line.receive(ON, MONOTONIC)
    line.receive(replace(ON, sequence=2), MONOTONIC + 200 * NS_PER_MS)
    assert line.beam_on(T0 + NS_PER_MS, MONOTONIC + 260 * NS_PER_MS)


@pytest.mark.parametrize("jump_ms", [-5000, -100, -51, 51, 100, 5000])
def test_clock_that_was_set_disables_for_good(jump_ms: int) -> None:
    line = BeamEnable(SESSION, VALIDITY_MS)
    line.receive(ON, MONOTONIC)
    assert line.beam_on(T0 + NS_PER_MS, MONOTONIC)
    jumped_ns = T0 + (2 + jump_ms) * NS_PER_MS
    assert not line.beam_on(jumped_ns, MONOTONIC + NS_PER_MS)
    for index in range(2, 50):
        step_ns = 10 * index * NS_PER_MS
        fresh = replace(ON, sequence=index, stamp_ns=jumped_ns, valid_until_ns=jumped_ns + NS_PER_S)
        line.receive(fresh, MONOTONIC + step_ns)
        assert not line.beam_on(jumped_ns + step_ns, MONOTONIC + step_ns)


def test_clock_that_is_slowly_brought_into_line_does_not_matter() -> None:
    line = BeamEnable(SESSION, 1e6)
    line.receive(replace(ON, valid_until_ns=T0 + 100 * NS_PER_S), MONOTONIC)
    assert all(line.beam_on(T0 + i * 101 * NS_PER_MS, MONOTONIC + i * 100 * NS_PER_MS) for i in range(200))
