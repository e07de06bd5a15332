"""Which models are loaded: what must go before another one comes. Pure and synchronous.

What it promises: what stays and what comes never take more than the budget together; what is in
use is never sent away; nothing is sent away without need, and of two idle ones the one that was
used longer ago goes first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.errors import UnavailableError


class MemoryRefusedError(UnavailableError):
    """A model that does not fit the memory budget, whatever is unloaded."""

    code = "model_too_large"
    default_message = "The model does not fit the memory that the engine may use."


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that takes memory. ``busy``: it answers, loads, or is on its way out.

    ``size_bytes`` is what was estimated for it, ``last_used`` any clock that only goes forward.
    """

    name: str
    size_bytes: int
    last_used: float
    busy: bool


def make_room(wanted_bytes: int, loaded: Iterable[Loaded], budget: int) -> tuple[str, ...] | None:
    """Return the models to unload first, in this order; None: wait until one is idle.

    The caller MUST count the wanted model as loaded and busy from then on, and each of these as
    busy until its child is gone.

    Raises:
        MemoryRefusedError: it does not fit even alone.
    """
    if wanted_bytes > budget:
        raise MemoryRefusedError
    there = list(loaded)
    excess = sum(one.size_bytes for one in there) + wanted_bytes - budget
    idle = sorted((one for one in there if not one.busy), key=lambda one: (one.last_used, one.name))
    gone: list[Loaded] = []
    for one in idle:
        if excess <= 0:
            break
        gone.append(one)
        excess -= one.size_bytes
    if excess > 0:
        return None
    for one in reversed(tuple(gone)):  # a small one that went before a large one may go in vain
        if excess + one.size_bytes <= 0:
            gone.remove(one)
            excess += one.size_bytes
    return tuple(one.name for one in gone)
