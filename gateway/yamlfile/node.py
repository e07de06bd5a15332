"""A parsed file with the place of everything in it, and the checks that read it.

Every check raises the file's ``DataFileError`` with ``file:line:col``, the fault and the fix. Of
the file's own text a message repeats identifiers only (a key, a role, an entity type), never prose.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, NoReturn, TypeVar

from gateway.errors import DataFileError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T")

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YAML_1_1_BOOLEANS = frozenset({"y", "n", "yes", "no", "on", "off"})


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar (``str``), a list, or a mapping whose keys are scalars. Places count from 1."""

    value: str | tuple[Node, ...] | tuple[tuple[Node, Node], ...] = field(repr=False)
    kind: str  # scalar | list | mapping
    file: str
    line: int
    column: int
    quoted: bool = False
    error: type[DataFileError] = DataFileError

    # --- faults ---------------------------------------------------------------------------------

    def fail(self, fault: str) -> NoReturn:
        raise self.error(fault, where=f"{self.file}:{self.line}:{self.column}")

    def fail_unknown(self, what: str, known: Iterable[str]) -> NoReturn:
        """Say which identifier is unknown and what it was perhaps meant to be."""
        names = sorted(known)
        text = self.value if isinstance(self.value, str) else ""
        shown = f" '{text}'" if _IDENTIFIER.fullmatch(text) else ""
        near = difflib.get_close_matches(text[:64], names, n=1)
        fix = f"did you mean '{near[0]}'?" if near else f"use one of: {', '.join(names)}"
        self.fail(f"unknown {what}{shown}; {fix}")

    # --- shapes -----------------------------------------------------------------------------------

    def mapping(self, known: Sequence[str], required: Sequence[str] = ()) -> dict[str, Node]:
        """Read a mapping with these keys and no others."""
        found: dict[str, Node] = {}
        for key, value in self._pairs():
            name = key.text()
            if name not in known:
                key.fail_unknown("key", known)
            found[name] = value
        for name in required:
            if name not in found:
                self.fail(f"the key '{name}' is missing; add it")
        return found

    def named(self, what: str, pattern: re.Pattern[str]) -> dict[str, Node]:
        """Read a mapping whose keys the file chooses."""
        return {key.match(what, pattern): value for key, value in self._pairs()}

    def _pairs(self) -> list[tuple[Node, Node]]:
        if self.kind != "mapping":
            self.fail(f"a mapping (key: value) is expected here, not a {self.kind}")
        return [pair for pair in self.value if isinstance(pair, tuple)]

    def items(self) -> list[Node]:
        """Read a list with at least one element."""
        if self.kind != "list":
            self.fail(f"a list is expected here, not a {self.kind}; write [a, b]")
        nodes = [node for node in self.value if isinstance(node, Node)]
        if not nodes:
            self.fail("an empty list names nothing; leave the key out or name something")
        return nodes

    def text(self) -> str:
        """Read a scalar as the characters it was written with."""
        if not isinstance(self.value, str):
            self.fail(f"text is expected here, not a {self.kind}")
        if not self.value.strip():
            self.fail("a value is missing here")
        if not self.quoted and self.value.lower() in _YAML_1_1_BOOLEANS:
            self.fail(
                "yes, no, on and off are booleans to YAML 1.1 and text to YAML 1.2; "
                "write true or false, or put quotes around text"
            )
        return self.value

    def match(self, what: str, pattern: re.Pattern[str]) -> str:
        text = self.text()
        if not pattern.fullmatch(text):
            self.fail(f"this is no {what}; it must match {pattern.pattern}")
        return text

    def boolean(self) -> bool:
        text = self.text()
        if self.quoted or text not in {"true", "false"}:
            self.fail("true or false is expected here, without quotes")
        return text == "true"

    def day(self) -> date:
        # fromisoformat also takes week dates and the basic form; a file has one spelling.
        fault = "a date is expected here, written YYYY-MM-DD"
        if not _DATE.fullmatch(self.text()):
            self.fail(fault)
        try:
            return date.fromisoformat(self.text())
        except ValueError:
            self.fail(fault)

    def choice(self, what: str, known: Mapping[str, T]) -> T:
        text = self.text()
        if text not in known:
            self.fail_unknown(what, known)
        return known[text]

    def choices(self, what: str, known: Mapping[str, T]) -> frozenset[T]:
        """Read a list of distinct names, each among ``known``."""
        seen: set[str] = set()
        for node in self.items():
            node.choice(what, known)
            node.fresh(seen, what)
        return frozenset(known[name] for name in seen)

    def matches(self, what: str, pattern: re.Pattern[str]) -> frozenset[str]:
        """Read a list of distinct names that the file chooses."""
        seen: set[str] = set()
        for node in self.items():
            node.match(what, pattern)
            node.fresh(seen, what)
        return frozenset(seen)

    def fresh(self, seen: set[str], what: str) -> None:
        """Add this name to ``seen``, or say that it stands there already."""
        name = self.text()
        if name in seen:
            self.fail(f"this {what} is named twice; remove one")
        seen.add(name)
