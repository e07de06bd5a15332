"""Which of several servers is asked, and which is left out for how long."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.engine.remote.breaker import Breaker, BreakerLimits
from gateway.engine.remote.pool import Outcome, Peer, Pool

LIMITS = BreakerLimits(failures=2, cool_down_s=5, longest_s=12)


class Hand:
    """A clock that stands until it is turned."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_failures_in_a_row_open_it_and_one_trial_is_admitted_after_the_pause():
    """A success in between starts the count again; while the trial runs, all others wait."""
    breaker = Breaker(LIMITS)
    breaker.fail(0)
    breaker.succeed()
    breaker.fail(1)
    assert breaker.closed
    breaker.fail(2)
    assert not breaker.closed
    assert [breaker.admits(now) for now in (2, 6.9, 7)] == [False, False, True]
    breaker.begin()
    assert not breaker.admits(1000)
    breaker.succeed()
    assert breaker.closed


def test_each_trial_that_fails_doubles_the_pause_up_to_a_bound():
    """5, 10, 12, 12 seconds; a success goes back to 5."""
    breaker, now, pauses = Breaker(LIMITS), 0.0, []
    breaker.fail(now)
    for _ in range(4):
        breaker.begin()
        breaker.fail(now)
        began = now
        while not breaker.admits(now):
            now += 1
        pauses.append(now - began)
    assert pauses == [5, 10, 12, 12]
    breaker.begin()
    breaker.succeed()
    breaker.fail(now)
    breaker.fail(now)
    assert not breaker.admits(now + 4)
    assert breaker.admits(now + 5)


def test_late_failures_of_old_requests_do_not_keep_it_open():
    """Ten requests that began before fail together: one pause, not ten."""
    breaker = Breaker(LIMITS)
    for now in range(10):
        breaker.fail(now)
    assert breaker.admits(1 + 5)


def test_a_trial_that_tells_nothing_leaves_the_next_one_to_try():
    """A client that went away is no evidence."""
    breaker = Breaker(LIMITS)
    breaker.fail(0)
    breaker.fail(0)
    breaker.begin()
    breaker.withdraw()
    assert not breaker.closed
    assert breaker.admits(5)


def pool(count: int = 3) -> tuple[Pool, Hand]:
    clock = Hand()
    return Pool([f"http://127.0.0.1:{n + 1}" for n in range(count)], LIMITS, clock), clock


def taken(of: Pool, *tried: Peer) -> Peer:
    peer = of.take(tried)
    assert peer is not None
    return peer


def test_the_one_with_the_fewest_requests_is_taken_and_equals_take_turns():
    """Nine at once are three each; one after the other they go round."""
    one, _ = pool()
    assert set(Counter(taken(one) for _ in range(9)).values()) == {3}
    two, _ = pool()
    order = []
    for _ in range(6):
        order.append(taken(two))
        two.give_back(order[-1], Outcome.SUCCEEDED)
    assert order == [*two.peers, *two.peers]
    held = taken(two)
    assert held not in [taken(two) for _ in range(2)]


def test_one_that_was_tried_or_is_open_is_not_taken():
    """None is left when the others are open."""
    one, clock = pool(2)
    first, second = one.peers
    for _ in range(2):
        assert one.take([second]) is first
        one.give_back(first, Outcome.FAILED)
    assert one.take([second]) is None
    assert taken(one) is second
    clock.now += 5
    assert one.take([second]) is first
    assert one.take([second]) is None  # the trial is under way


@pytest.mark.parametrize("late", ["unwell", "asked for a pause"])
def test_one_that_is_unwell_or_rests_comes_last_but_is_not_lost(late: str):
    """A check can be wrong: with nobody else it is tried all the same."""
    one, clock = pool(2)
    first, second = one.peers
    if late == "unwell":
        first.healthy = False
    else:
        one.give_back(taken(one), Outcome.UNTOLD, rest_s=30)
    assert [taken(one) for _ in range(3)] == [second] * 3
    assert taken(one, second) is first
    clock.now += 31
    first.healthy = True
    assert taken(one) is first
