"""The shelf's promises, for every set of models, use and want."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engine.shelf import Loaded, MemoryRefusedError, make_room

MODELS = st.lists(
    st.builds(
        Loaded,
        name=st.sampled_from("abcdefgh"),
        size_bytes=st.integers(0, 50),
        last_used=st.integers(0, 20).map(float),
        busy=st.booleans(),
    ),
    max_size=8,
    unique_by=lambda one: one.name,
)


@given(st.integers(0, 120), MODELS, st.integers(0, 120))
def test_what_stays_and_what_comes_fit_together(wanted: int, loaded: list[Loaded], budget: int):
    """Busy ones stay, nothing goes in vain, and it waits only while idle ones are not enough."""
    if wanted > budget:
        with pytest.raises(MemoryRefusedError):
            make_room(wanted, loaded, budget)
        return
    gone = make_room(wanted, loaded, budget)
    idle = {one.name: one for one in loaded if not one.busy}
    held = sum(one.size_bytes for one in loaded)
    if gone is None:
        assert held - sum(one.size_bytes for one in idle.values()) + wanted > budget
        return
    assert set(gone) <= set(idle)
    left = held - sum(idle[name].size_bytes for name in gone)
    assert left + wanted <= budget
    assert all(left + idle[name].size_bytes + wanted > budget for name in gone)


@given(MODELS, st.integers(0, 120))
def test_of_equal_ones_the_one_used_longest_ago_goes(loaded: list[Loaded], budget: int):
    """Nothing that stays idle was used before something of its size that went."""
    gone = make_room(0, loaded, budget) or ()
    named = {one.name: one for one in loaded}
    for kept in (one for one in loaded if not one.busy and one.name not in gone):
        for name in gone:
            if named[name].size_bytes == kept.size_bytes:
                assert named[name].last_used <= kept.last_used
