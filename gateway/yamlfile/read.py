"""Bytes in, nodes or an error with its place out: the only module that knows YAML.

What YAML offers beyond lists, mappings and text is refused (anchors, aliases, merge keys, tags,
directives, several documents, tabs), because each of them lets a file mean something else than
a reader sees. Parsing works on the event stream, without recursion, under limits of size and depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from gateway.errors import DataFileError
from gateway.yamlfile.node import Node

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16


def parse(data: bytes, *, file: str, error: type[DataFileError] = DataFileError) -> Node:
    """Parse one YAML document of lists, mappings and text. ``file`` names it in errors.

    Raises:
        DataFileError: the ``error`` asked for, with the place of the first thing that is wrong.
    """
    reader = _Reader(file, error)
    return _Builder(reader).build(reader.events(reader.decode(data)))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Bytes to text to events, with the name of the file and the class of its faults."""

    file: str
    error: type[DataFileError]

    def decode(self, data: bytes) -> str:
        if len(data) > MAX_BYTES:
            self.fail(1, 1, f"the file is larger than {MAX_BYTES // 1024} KiB; split it")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            before = data[: error.start]
            line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
            self.fail(line, column, "this is not UTF-8; save the file as UTF-8")
        for number, line_text in enumerate(text.split("\n"), start=1):
            for column, character in enumerate(line_text, start=1):
                if character == "\t":
                    self.fail(number, column, "a tab; indent and separate with spaces")
                if not character.isprintable() and character != "\r":
                    self.fail(number, column, "a character that cannot be seen; remove it")
        return text

    def events(self, text: str) -> Iterator[Event]:
        fault = "this is not YAML; check indentation, colons, dashes and quotes"
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.fail(line, column, fault)
        except Exception:  # noqa: BLE001 - a parser on hostile bytes may raise anything
            self.fail(1, 1, fault)

    def fail(self, line: int, column: int, fault: str) -> NoReturn:
        raise self.error(fault, where=f"{self.file}:{line}:{column}") from None


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet. A mapping holds keys and values in turn."""

    event: Event
    nodes: list[Node]
    keys: set[str]


class _Builder:
    """Turns the event stream into nodes with a stack of its own, so that depth is a limit."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._stack: list[_Open] = []
        self._root: Node | None = None

    def build(self, events: Iterator[Event]) -> Node:
        documents = 0
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                self._check_document(event, documents)
            elif isinstance(event, NodeEvent):
                self._check_plain(event)
                self._open(event)
            elif isinstance(event, CollectionEndEvent):
                self._close()
        if self._root is None:
            self._reader.fail(1, 1, "the file is empty; one YAML document is expected")
        return self._root

    def _check_document(self, event: DocumentStartEvent, count: int) -> None:
        if count > 1:
            self._fail(event, "a second document; a file holds one")
        if event.version or event.tags:
            self._fail(event, "a YAML directive; remove the lines above that begin with %")

    def _check_plain(self, event: NodeEvent) -> None:
        if isinstance(event, AliasEvent):
            self._fail(event, "an alias (*name); write the value out")
        if event.anchor is not None:
            self._fail(event, "an anchor (&name); write the value out where it is needed")
        if getattr(event, "tag", None) is not None:
            self._fail(event, "a tag (!name); remove it")

    def _open(self, event: NodeEvent) -> None:
        if isinstance(event, ScalarEvent):
            quoted = bool(event.style)
            self._add(self._node(event, event.value, "scalar", quoted=quoted))
            return
        if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            if len(self._stack) >= MAX_DEPTH:
                self._fail(event, f"nested deeper than {MAX_DEPTH} levels; four are enough")
            self._stack.append(_Open(event, [], set()))

    def _close(self) -> None:
        done = self._stack.pop()
        if isinstance(done.event, MappingStartEvent):
            pairs = tuple(zip(done.nodes[::2], done.nodes[1::2], strict=True))
            self._add(self._node(done.event, pairs, "mapping"))
        else:
            self._add(self._node(done.event, tuple(done.nodes), "list"))

    def _add(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if isinstance(parent.event, MappingStartEvent) and len(parent.nodes) % 2 == 0:
            self._check_key(node, parent.keys)
        elif isinstance(parent.event, MappingStartEvent) and node.value == "" and not node.quoted:
            # The parser places what is not there at the next token; the key is where to look.
            parent.nodes[-1].fail("this key has no value; write one or remove the key")
        parent.nodes.append(node)

    def _check_key(self, node: Node, seen: set[str]) -> None:
        if node.kind != "scalar":
            node.fail(f"a {node.kind} as a key; keys are single words")
        if node.value == "<<":
            node.fail("a merge key (<<); write the keys out")
        key = node.text()
        if key in seen:
            node.fail("this key stands here twice; remove one of the two")
        seen.add(key)

    def _node(
        self,
        event: Event,
        value: str | tuple[Node, ...] | tuple[tuple[Node, Node], ...],
        kind: str,
        *,
        quoted: bool = False,
    ) -> Node:
        mark = event.start_mark
        return Node(
            value,
            kind,
            self._reader.file,
            mark.line + 1,
            mark.column + 1,
            quoted,
            self._reader.error,
        )

    def _fail(self, event: Event, fault: str) -> NoReturn:
        self._reader.fail(event.start_mark.line + 1, event.start_mark.column + 1, fault)
