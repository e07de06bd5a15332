"""The cases of a file: ``text`` with ``[[TYPE|what is found]]``, or without a mark, a clean one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gateway.pii.recognizers.vocabulary import ENTITY_TYPES
from gateway.yamlfile.node import Node

_MARK = re.compile(r"\[\[([A-Z][A-Z0-9_]{1,39})\|(.+?)\]\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Example:
    """A text and what must be found in it, and nothing else: (type, start, end)."""

    text: str = field(repr=False)
    spans: tuple[tuple[str, int, int], ...]
    where: str


def read_example(node: Node) -> Example:
    """Read one case.

    Raises:
        DataFileError: a mark is none, or names no entity type.
    """
    raw = node.mapping(("text",), ("text",))["text"].text()
    text, spans, position = "", [], 0
    for mark in _MARK.finditer(raw):
        text += raw[position : mark.start()]
        if mark[1] not in ENTITY_TYPES:
            node.fail(f"a mark names no entity type: {mark[1]}; see docs/spec/entities.md")
        spans.append((mark[1], len(text), len(text) + len(mark[2])))
        text += mark[2]
        position = mark.end()
    text += raw[position:]
    if "[[" in text or "]]" in text:
        node.fail("a mark that is not [[TYPE|what is found]]; correct it")
    return Example(text, tuple(spans), f"{node.file}:{node.line}:{node.column}")
