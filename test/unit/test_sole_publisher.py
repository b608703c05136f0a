"""Two publishers of one topic, told from one that was started again."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtrack_ros.nodes.sole_publisher import SolePublisher

RUN = st.lists(st.integers(1, 500), min_size=1, unique=True).map(sorted)


def doubled(numbers: list[int | None]) -> list[bool]:
    watch = SolePublisher()
    found = []
    for number in numbers:
        watch.add(number)
        found.append(watch.is_doubled)
    return found


@given(RUN, RUN)
def test_one_publisher_may_lose_messages_and_be_started_again_once(one: list[int], again: list[int]) -> None:
    assert not any(doubled([*one, *again]))


def test_started_again_and_again_with_time_between() -> None:
    assert not any(doubled([*range(1, 150)] * 5))


@pytest.mark.parametrize("ahead", [0, 1, 700])
def test_two_mixed_are_seen_at_the_fourth_message(ahead: int) -> None:
    mixed = list(chain.from_iterable((n + ahead, n) for n in range(1, 30)))
    found = doubled(mixed)
    assert not any(found[:3])
    assert all(found[3:])


def test_rare_messages_of_a_second_are_seen() -> None:
    rare = list(chain.from_iterable((*range(1000 + 40 * n, 1040 + 40 * n), n) for n in range(1, 4)))
    assert any(doubled(rare))


def test_is_over_some_time_after_the_second_has_gone() -> None:
    assert not doubled([10, 1, 11, 2, *range(12, 120)])[-1]


def test_middleware_that_does_not_tell() -> None:
    assert not any(doubled([None] * 9))
