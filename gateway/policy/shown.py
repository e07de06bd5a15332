"""Values of a decision in the words of the policy language."""

from __future__ import annotations

from gateway.domain import Operator, Retention


def shown(value: object) -> str:
    """One value; ``None`` restricts nothing."""
    if isinstance(value, Operator):
        return value.name.lower()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, frozenset):
        return "[" + ", ".join(sorted(value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value[key]}" for key in sorted(value)) + "}"
    if isinstance(value, Retention):
        return shown_retention(value)
    return "unrestricted" if value is None else str(value)


def shown_retention(kept: Retention) -> str:
    """Months at least and at most, as a policy would say it."""
    said = [f"at_least: {kept.at_least} months"] if kept.at_least else []
    if kept.at_least and not kept.floor:
        said.append("erasable: true")
    elif kept.floor != kept.at_least:
        said.append(f"not erased for {kept.floor} months")
    if kept.at_most is not None:
        said.append(f"at_most: {kept.at_most} months")
    return "{" + ", ".join(said) + "}"
