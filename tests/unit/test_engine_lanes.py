"""Whose turn it is before a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.lanes import Lanes
from gateway.errors import BusyError


def filled(limit: int, **lanes: int) -> Lanes[str]:
    queue: Lanes[str] = Lanes(limit)
    for name, count in lanes.items():
        for number in range(count):
            queue.put(name, f"{name}{number}")
    return queue


def test_nobody_waits_behind_anothers_hundred_requests():
    """With slots running, the turn goes to whoever uses the fewest."""
    queue = filled(100, a=10, b=2, c=1)
    assert [queue.take() for _ in range(6)] == ["a0", "b0", "c0", "a1", "b1", "a2"]


def test_several_answers_to_one_prompt_use_as_many_turns():
    """Who has taken four slots at once waits until the others have had theirs."""
    queue = filled(100, a=2, b=3)
    assert queue.take(4) == "a0"
    assert [queue.take() for _ in range(3)] == ["b0", "b1", "b2"]
    queue.ended("a", 4)
    assert queue.take() == "a1"


def test_of_equals_the_one_served_longest_ago_is_next():
    """Lanes take turns also where each ends before the next begins."""
    queue = filled(100, a=3, b=3)
    order = []
    for _ in range(4):
        item = queue.take()
        queue.ended(item[0])
        order.append(item)
    assert order == ["a0", "b0", "a1", "b1"]


def test_a_full_queue_makes_room_for_a_shorter_lane_only():
    """The newest of the longest lane goes; a lane as long as the longest is told to come back."""
    queue = filled(4, a=4)
    assert queue.put("b", "b0") == "a3"
    assert queue.put("b", "b1") == "a2"
    with pytest.raises(BusyError):
        queue.put("b", "b2")
    with pytest.raises(BusyError):
        queue.put("a", "a9")
    assert len(queue) == 4


def test_one_that_lost_its_turn_is_first_again():
    """Its lane's turn is its own, bound or no bound."""
    queue = filled(2, a=2)
    assert queue.put("a", "again", first=True) is None
    assert queue.take() == "again"


def test_one_that_left_is_not_served():
    """Removed once; a second time there is nothing to remove."""
    queue = filled(3, a=2)
    assert queue.remove("a", "a0")
    assert not queue.remove("a", "a0")
    assert not queue.remove("z", "a0")
    assert queue.take() == "a1"
    assert queue.peek() is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(0, 8))
def test_everyone_who_was_let_in_is_served_once_or_told(arrivals, limit: int):
    """Nobody is lost and nobody is served twice, whatever comes and goes."""
    queue: Lanes[int] = Lanes(limit)
    waiting: set[int] = set()
    served: list[int] = []
    lanes: dict[int, str] = {}
    for number, (lane, serve) in enumerate(arrivals):
        lanes[number] = lane
        try:
            evicted = queue.put(lane, number)
        except BusyError:
            assert len(queue) >= limit
        else:
            waiting.add(number)
            waiting.discard(-1 if evicted is None else evicted)
        if serve and queue.peek() is not None:
            item = queue.take()
            waiting.remove(item)
            served.append(item)
            queue.ended(lanes[item])
        assert len(queue) == len(waiting) <= max(limit, 0)
    assert set(queue.drain()) == waiting
    assert len(served) == len(set(served))
