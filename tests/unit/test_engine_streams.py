"""Which stream a prompt gets, and whose work it may build on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.streams import COPY_FROM, Place, Streams

LONG = list(range(100, 200))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def computed(streams: Streams, place: Place | None, tokens: list[int]) -> Place:
    """Let a sequence compute all its tokens and end."""
    assert place is not None
    place.stream.tokens = list(tokens)
    streams.release(place.stream, keep=True)
    return place


def test_the_next_turn_computes_only_what_is_new():
    """A conversation goes on in the stream it was in, and keeps all of it."""
    streams = Streams(4, 600, Clock())
    first = computed(streams, streams.place("s", LONG, 0), LONG)
    place = streams.place("s", [*LONG, 1, 2, 3], 0)
    assert place is not None
    assert (place.stream, place.source, place.kept) == (first.stream, first.stream, len(LONG))


def test_the_last_token_is_always_computed():
    """The answer begins with the scores behind it: the same prompt again leaves one token."""
    streams = Streams(2, 600, Clock())
    computed(streams, streams.place("s", LONG, 0), LONG)
    place = streams.place("s", LONG, 0)
    assert place is not None
    assert place.kept == len(LONG) - 1


def test_nobody_builds_on_what_another_has_computed():
    """The same words in another scope are computed anew: time tells nothing of them."""
    streams = Streams(4, 600, Clock())
    computed(streams, streams.place("mine", LONG, 0), LONG)
    place = streams.place("yours", LONG, 0)
    assert place is not None
    assert (place.source, place.kept) == (None, 0)


def test_a_public_beginning_is_shared_and_not_a_token_more():
    """Up to the shorter of what both declare public, although more is alike."""
    streams = Streams(4, 600, Clock())
    computed(streams, streams.place("mine", LONG, 50), LONG)
    for shared, kept in ((50, 50), (40, 40), (60, 50), (0, 0)):
        place = streams.place(f"yours{shared}", LONG, shared)
        assert place is not None
        assert place.kept == kept
        streams.release(place.stream, keep=False)


def test_what_one_adapter_has_computed_is_of_no_use_to_another():
    """Public or one's own: the numbers in the cache are another model's."""
    streams = Streams(4, 600, Clock())
    computed(streams, streams.place("s", LONG, 50, 0), LONG)
    for adapter, kept in ((1, 0), (-1, 0), (0, len(LONG) - 1)):
        place = streams.place("s", LONG, 50, adapter)
        assert place is not None
        assert place.kept == kept
        streams.release(place.stream, keep=False)


def test_a_branch_is_copied_and_what_it_came_from_stays():
    """A prompt that shares the beginning of a longer one leaves that one for its next turn."""
    streams = Streams(4, 600, Clock())
    whole = [*LONG, *range(1000, 1300)]
    first = computed(streams, streams.place("s", whole, 0), whole)
    branch = streams.place("s", [*LONG, 7], 0)
    assert branch is not None
    assert branch.source is first.stream
    assert branch.stream is not first.stream
    assert branch.kept == len(LONG)
    again = streams.place("s", [*whole, 1], 0)
    assert again is not None
    assert again.kept == len(whole)


def test_a_few_tokens_are_computed_rather_than_copied():
    """Copying moves a whole stream."""
    streams = Streams(4, 600, Clock())
    few = LONG[: COPY_FROM - 1]
    computed(streams, streams.place("s", [*few, *range(1000, 1100)], 0), [*few, *range(1000, 1100)])
    place = streams.place("s", [*few, 1, 2], 0)
    assert place is not None
    assert place.kept == 0


def test_the_least_recently_used_is_overwritten():
    """An empty stream first, then the one whose conversation rests longest."""
    clock = Clock()
    streams = Streams(2, 600, clock)
    for name in ("old", "new"):
        clock.now += 1
        computed(streams, streams.place(name, LONG, 0), LONG)
    clock.now += 1
    third = streams.place("third", [5], 0)
    assert third is not None
    place = streams.place("new", [*LONG, 1], 0)
    assert place is not None
    assert place.kept == len(LONG)


def test_what_has_lived_its_time_is_gone():
    """Ten minutes after its last use nothing is left to build on, or to find."""
    clock = Clock()
    streams = Streams(2, 600, clock)
    first = computed(streams, streams.place("s", LONG, 0), LONG)
    clock.now = 599
    assert not streams.expire()
    clock.now = 600
    assert streams.expire()
    assert first.stream.tokens == []
    place = streams.place("s", LONG, 0)
    assert place is not None
    assert place.kept == 0


def test_after_a_flush_nothing_is_reused_not_even_what_is_being_computed():
    """A policy was applied or a key revoked: free streams are cleared, busy ones end unkept."""
    streams = Streams(3, 600, Clock())
    computed(streams, streams.place("s", LONG, 20), LONG)
    running = streams.place("t", LONG, 20)
    assert running is not None
    running.stream.tokens = list(LONG)
    streams.forget()
    for scope in ("s", "t"):
        place = streams.place(scope, LONG, 20)
        assert place is not None
        assert place.kept == 0
        streams.release(place.stream, keep=False)
    streams.release(running.stream, keep=True)
    assert running.stream.tokens == []


def test_while_all_are_busy_there_is_no_place():
    """Whoever asks waits."""
    streams = Streams(1, 600, Clock())
    assert streams.place("s", LONG, 0) is not None
    assert streams.place("s", LONG, 0) is None


prompts = st.lists(st.integers(0, 2), min_size=1, max_size=60)


@given(st.lists(st.tuples(st.sampled_from("ab"), prompts, st.integers(0, 60)), max_size=20))
def test_what_is_kept_was_computed_by_the_same_scope_or_is_public(asks):
    """Whatever was asked before: kept tokens are those of the prompt, and nobody else's words."""
    streams = Streams(3, 600, Clock())
    mine: dict[str, list[list[int]]] = {"a": [], "b": []}
    public: list[list[int]] = []
    for scope, tokens, wanted in asks:
        shared = min(wanted, len(tokens))
        place = streams.place(scope, tokens, shared)
        assert place is not None
        kept = tokens[: place.kept]
        assert place.kept < len(tokens)
        own = any(one[: place.kept] == kept for one in mine[scope])
        both = place.kept <= shared and any(one[: place.kept] == kept for one in public)
        assert own or both or place.kept == 0
        computed(streams, place, tokens)
        mine[scope].append(tokens)
        public.append(tokens[:shared])
