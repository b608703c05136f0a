"""A clock that was set is told from one that merely runs differently."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtrack_ros.core.records import NS_PER_MS, NS_PER_S
from lmtrack_ros.gating.clock import ClockWatch


def test_first_look_tells_nothing() -> None:
    assert not ClockWatch(100.0).jumped(5 * NS_PER_S, 0)


@pytest.mark.parametrize(
    ("jump_ms", "expected"), [(-5000, True), (-101, True), (-99, False), (99, False), (101, True)]
)
def test_jump(jump_ms: int, expected: bool) -> None:
    watch = ClockWatch(100.0)
    watch.jumped(NS_PER_S, 0)
    assert watch.jumped(NS_PER_S + (10 + jump_ms) * NS_PER_MS, 10 * NS_PER_MS) is expected
    # it is told once: what follows is the gate's matter
    assert not watch.jumped(NS_PER_S + (20 + jump_ms) * NS_PER_MS, 20 * NS_PER_MS)


@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(-99, 99)), max_size=50))
def test_clock_that_is_brought_into_line_slowly_does_not_jump(steps: list[tuple[int, int]]) -> None:
    """Looks may be far apart: only how the clocks differ counts."""
    watch = ClockWatch(100.0)
    now_ns = monotonic_ns = 0
    for step_ns, slip_ms in steps:
        monotonic_ns += step_ns
        now_ns += step_ns + slip_ms * NS_PER_MS
        assert not watch.jumped(now_ns, monotonic_ns)
