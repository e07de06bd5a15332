"""Bytes in, a ``Policy`` or a ``PolicyFileError`` out: the only module that knows YAML.

What YAML offers beyond lists, mappings and text is refused (anchors, aliases, merge keys, tags,
directives, several documents, tabs), because each of them lets a file mean something else than
a reader sees. Parsing works on the event stream, without recursion, under limits of size and depth.
"""

from __future__ import annotations

import hashlib
import importlib.resources
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

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

from gateway.errors import PolicyFileError
from gateway.policy.lint import check_bands
from gateway.policy.node import Node
from gateway.policy.read import read_policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from gateway.policy.model import Policy

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16

SHIPPED = ("gdpr", "hipaa")
"""The policies in this distribution, and the ones in force unless the settings say otherwise."""


def shipped(name: str) -> Traversable:
    """The file of a shipped policy, wherever the package was installed."""
    return importlib.resources.files("policies") / f"{name}.yaml"


def load_policy(source: Path | Traversable) -> Policy:
    """Read one policy.

    Raises:
        PolicyFileError: the file cannot be read or is not a policy.
    """
    data, file = read_bytes(source)
    return parse_policy(data, file=file)


def parse_policy(data: bytes, *, file: str) -> Policy:
    """Read a policy from its bytes. ``file`` names it in errors and citations.

    Raises:
        PolicyFileError: the bytes are not a policy.
    """
    policy = read_policy(parse(data, file=file), digest=hashlib.sha256(data).hexdigest())
    check_bands(policy)
    return policy


def read_bytes(source: Path | Traversable) -> tuple[bytes, str]:
    """The bytes of a file and the name to show for it.

    A path is shown as given, a packaged file as ``policies/NAME``.
    """
    file = str(source) if isinstance(source, Path) else f"policies/{source.name}"
    if _packaged(source):
        file = f"policies/{source.name}"
    try:
        with source.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError):
        raise PolicyFileError(
            "the file cannot be read; check that it exists and its permissions", where=f"{file}:1:1"
        ) from None
    return data, file


def _packaged(source: Path | Traversable) -> bool:
    return (
        isinstance(source, Path) and source == importlib.resources.files("policies") / source.name
    )


# --- bytes to nodes ------------------------------------------------------------------------------


def parse(data: bytes, *, file: str) -> Node:
    """Parse one YAML document of lists, mappings and text.

    Raises:
        PolicyFileError: with the place of the first thing that is wrong.
    """
    return _Builder(file).build(_events(_decode(data, file), file))


def _decode(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        _fail(file, 1, 1, f"the file is larger than {MAX_BYTES // 1024} KiB; split the policy")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        _fail(file, line, column, "this is not UTF-8; save the file as UTF-8")
    for number, line_text in enumerate(text.split("\n"), start=1):
        for column, character in enumerate(line_text, start=1):
            if character == "\t":
                _fail(file, number, column, "a tab; indent and separate with spaces")
            if not character.isprintable() and character != "\r":
                _fail(file, number, column, "a character that cannot be seen; remove it")
    return text


def _events(text: str, file: str) -> Iterator[Event]:
    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        _fail(file, line, column, "this is not YAML; check indentation, colons, dashes and quotes")
    except Exception:  # noqa: BLE001 - a parser on hostile bytes may raise anything
        _fail(file, 1, 1, "this is not YAML; check indentation, colons, dashes and quotes")


def _fail(file: str, line: int, column: int, fault: str) -> NoReturn:
    raise PolicyFileError(fault, where=f"{file}:{line}:{column}") from None


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet. A mapping holds keys and values in turn."""

    event: Event
    nodes: list[Node]
    keys: set[str]


class _Builder:
    """Turns the event stream into nodes with a stack of its own, so that depth is a limit."""

    def __init__(self, file: str) -> None:
        self._file = file
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
            _fail(self._file, 1, 1, "the file is empty; a policy is one YAML document")
        return self._root

    def _check_document(self, event: DocumentStartEvent, count: int) -> None:
        if count > 1:
            self._fail(event, "a second document; one file holds one policy")
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
                self._fail(event, f"nested deeper than {MAX_DEPTH} levels; a policy needs four")
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
        return Node(value, kind, self._file, mark.line + 1, mark.column + 1, quoted)

    def _fail(self, event: Event, fault: str) -> NoReturn:
        _fail(self._file, event.start_mark.line + 1, event.start_mark.column + 1, fault)
