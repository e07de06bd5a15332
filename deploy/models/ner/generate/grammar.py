"""Template files: parsed into nodes, expanded into text with exact spans (README.md has the form).

Every choice comes from the ``random.Random`` of the ``Draw``, in the order of the text, so that one
seed gives one text in every process.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Final

from deploy.models.ner.generate.labels import COMPOSITE, LABELS, PERSON_LABELS

HELD_OUT_ONE_IN: Final = 20
HELD_OUT_LEAST: Final = 8
"""A production with fewer alternatives holds out none: it would leave a hole in the language."""
DEEPEST: Final = 40

SLOT = re.compile(
    r"\{(?P<bare>!?)(?:(?P<case>upper|lower|title):)?(?P<name>[a-z][a-z0-9_]*)(?::(?P<sex>[fm]))?"
    r"(?:\.(?P<form>[a-z_]+))?(?:#(?P<tag>\w+))?\}"
)
WRAP = re.compile(r"\{([A-Z][A-Z_]+)=")
REF = re.compile(r"<(?:(?P<case>upper|lower|title):)?(?P<name>[a-z][a-z0-9_]*)>")
ESCAPES: Final = {"n": "\n", "t": "\t"}


class TemplateError(ValueError):
    """A template file says something that cannot be expanded; the message names file and line."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """``text[start:end]`` is a value of type ``label``."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    form: str
    bare: bool
    case: str
    sex: str
    tag: str


@dataclass(frozen=True, slots=True)
class Ref:
    name: str
    case: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of ``options``, with ``chance`` of 100; else nothing."""

    options: tuple[tuple[Node, ...], ...]
    chance: int


@dataclass(frozen=True, slots=True)
class Wrap:
    label: str
    inside: tuple[Node, ...]


Node = str | Slot | Ref | Choice | Wrap


@dataclass(frozen=True, slots=True)
class Pool:
    """Alternatives with running weights."""

    lines: tuple[tuple[Node, ...], ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, tuple[Node, ...]]]) -> Pool:
        return cls(tuple(n for _, n in pairs), tuple(accumulate(float(w) for w, _ in pairs)))

    def draw(self, rng: Random) -> tuple[Node, ...]:
        at = bisect(self.weights, rng.random() * self.weights[-1])
        return self.lines[min(at, len(self.lines) - 1)]


@dataclass(frozen=True, slots=True)
class Production:
    """Alternatives used for training and, where there are enough, those kept for measuring."""

    train: Pool
    held: Pool | None


@dataclass(frozen=True, slots=True)
class TemplateFile:
    name: str
    lang: str
    weight: int
    productions: Mapping[str, Production]
    names: str = ""
    """Key of ``values.names.SHARES`` for the persons; else the language."""


class Parser:
    """One line of a template file, read from left to right."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.at = 0

    def parse(self) -> tuple[Node, ...]:
        nodes, _ = self.branches("")
        return nodes[0]

    def branches(self, close: str) -> tuple[tuple[tuple[Node, ...], ...], bool]:
        """Alternatives up to ``close``; the flag says whether it was found."""
        done: list[tuple[Node, ...]] = []
        nodes: list[Node] = []
        text: list[str] = []

        def flush() -> None:
            if text:
                nodes.append("".join(text))
                text.clear()

        while self.at < len(self.line):
            char = self.line[self.at]
            if char == close:
                self.at += 1
                flush()
                return (*done, tuple(nodes)), True
            if char == "|" and close:
                self.at += 1
                flush()
                done.append(tuple(nodes))
                nodes = []
                continue
            found = self.bracket(char)
            if isinstance(found, str):
                text.append(found)
            else:
                flush()
                nodes.extend(found)
        flush()
        if close:
            message = f"{close!r} is missing"
            raise TemplateError(message)
        return (*done, tuple(nodes)), False

    def bracket(self, char: str) -> str | list[Node]:  # noqa: PLR0911
        """What begins here: a character of the text, or nodes."""
        line, at = self.line, self.at
        self.at += 1
        if char == "\\" and at + 1 < len(line):
            self.at += 1
            return ESCAPES.get(line[at + 1], line[at + 1])
        if char == "{" and (m := SLOT.match(line, at)):
            self.at = m.end()
            return [
                Slot(
                    m["name"], m["form"] or "", bool(m["bare"]), m["case"] or "",
                    m["sex"] or "", m["tag"] or "",
                )
            ]  # fmt: skip
        if char == "{" and (m := WRAP.match(line, at)):
            self.at = m.end()
            options, _ = self.branches("}")
            return [Wrap(m[1], (Choice(options, 100),) if len(options) > 1 else options[0])]
        if char == "<" and (m := REF.match(line, at)):
            self.at = m.end()
            return [Ref(m["name"], m["case"] or "")]
        if char == "(":
            options, _ = self.branches(")")
            return [Choice(options, 100)] if len(options) > 1 else ["(", *options[0], ")"]
        if char == "[":
            options, _ = self.branches("]")
            return [optional(options)]
        return char


def optional(options: tuple[tuple[Node, ...], ...]) -> Choice:
    """``[text:20]``: the chance stands at the end of the last alternative."""
    last = options[-1]
    if last and isinstance(last[-1], str) and (m := re.search(r":(\d{1,2})$", last[-1])):
        rest = last[-1][: m.start()]
        last = (*last[:-1], rest) if rest else last[:-1]
        return Choice((*options[:-1], last), int(m[1]))
    return Choice(options, 50)


def is_held_out(line: str, one_in: int = HELD_OUT_ONE_IN) -> bool:
    return zlib.crc32(line.encode()) % one_in == 0


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their number; a trailing backslash (not an escaped one) joins the next."""
    held, first = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        first = first or number
        if raw.endswith("\\") and not raw.endswith("\\\\"):
            held += raw[:-1]
            continue
        yield first, held + (raw.lstrip() if held else raw)
        held, first = "", 0


def read_file(path: Path) -> TemplateFile:
    """A template file.

    Raises:
        TemplateError: a line cannot be parsed, or a production has no alternatives.

    """
    weight, current, names = 10, "", ""
    found: dict[str, list[tuple[int, str, tuple[Node, ...]]]] = {}
    for number, line in logical_lines(path.read_text(encoding="utf-8")):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("%weight"):
            weight = int(line.split()[1])
        elif line.startswith("%names"):
            names = line.split()[1]
        elif m := re.fullmatch(r"@([a-z][a-z0-9_]*)\s*", line):
            current = m[1]
            found.setdefault(current, [])
        else:
            times = re.match(r"(\d+)\|", line)
            body = line[times.end() :] if times else line
            try:
                found[current].append((int(times[1]) if times else 1, body, Parser(body).parse()))
            except (TemplateError, KeyError) as error:
                message = f"{path.name}:{number}: {error}"
                raise TemplateError(message) from None
    productions = {}
    for name, lines in found.items():
        if not lines:
            message = f"{path.name}: production {name} is empty"
            raise TemplateError(message)
        productions[name] = production(lines)
    return TemplateFile(
        path.stem, path.stem.rpartition("shared-")[2][:2], weight, productions, names
    )


def production(lines: Sequence[tuple[int, str, tuple[Node, ...]]]) -> Production:
    held = [(w, n) for w, body, n in lines if len(lines) >= HELD_OUT_LEAST and is_held_out(body)]
    train = [(w, n) for w, body, n in lines if len(lines) < HELD_OUT_LEAST or not is_held_out(body)]
    return Production(Pool.of(train), Pool.of(held) if held else None)


CASES: Final[Mapping[str, Callable[[str], str]]] = {
    "upper": lambda s: "".join(c.upper() if len(c.upper()) == 1 else c for c in s),
    "lower": lambda s: "".join(c.lower() if len(c.lower()) == 1 else c for c in s),
    "title": lambda s: re.sub(r"(?<![^\W_])[a-z]", lambda m: m[0].upper(), s),
}
"""Changes of case that keep the length of the text."""


@dataclass(slots=True)
class Draw:
    """The text being written: what is said so far and the persons and values it is about."""

    rng: Random
    lang: str
    scope: Mapping[str, Production]
    values: Values
    held_out: bool = False
    names: str = ""
    used_held: bool = False
    parts: list[str] = field(default_factory=list)
    length: int = 0
    spans: list[Span] = field(default_factory=list)
    persons: dict[str, object] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    last_person: object = None
    muted: int = 0
    depth: int = 0
    making: list[str] = field(default_factory=list)
    """Slots whose production is at work; the same slot inside it takes the maker's or lexicon's value."""

    def write(self, text: str, label: str | None = None) -> None:
        if label and text and not self.muted:
            self.spans.append(Span(self.length, self.length + len(text), label))
        self.parts.append(text)
        self.length += len(text)

    def expand(self, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            if isinstance(node, str):
                self.parts.append(node)
                self.length += len(node)
            elif isinstance(node, Slot):
                self.slot(node)
            elif isinstance(node, Choice):
                if node.chance == 100 or self.rng.random() * 100 < node.chance:
                    self.expand(node.options[int(self.rng.random() * len(node.options))])
            elif isinstance(node, Ref):
                self.cased(node.case, partial(self.produce, node.name))
            else:
                self.wrap(node)

    def produce(self, name: str) -> None:
        found = self.scope[name]
        self.depth += 1
        if self.depth > DEEPEST:
            message = f"production {name} does not end"
            raise TemplateError(message)
        pool = found.train
        if self.held_out and found.held is not None and self.rng.random() < 0.7:
            pool = found.held
            self.used_held = True
        self.expand(pool.draw(self.rng))
        self.depth -= 1

    def cased(self, case: str, inside: Callable[[], None]) -> None:
        if not case:
            inside()
            return
        before = len(self.parts)
        inside()
        self.parts[before:] = [CASES[case]("".join(self.parts[before:]))]

    def wrap(self, node: Wrap) -> None:
        start = self.length
        self.muted += 1
        self.expand(node.inside)
        self.muted -= 1
        if self.length > start and not self.muted:
            self.spans.append(Span(start, self.length, node.label))

    def slot(self, node: Slot) -> None:
        if node.form:
            value = self.values.person(self, node.name, node.form, node.sex)
            label = PERSON_LABELS.get(node.form, "PERSON")
            self.write(
                CASES[node.case](value) if node.case else value, None if node.bare else label
            )
            return
        if node.name in COMPOSITE and not node.bare:
            self.cased(node.case, partial(self.produce, node.name))
            return
        key = f"{node.name}#{node.tag}"
        value = self.tags.get(key, "")
        if not value:
            value = self.value(node.name)
            if node.tag:
                self.tags[key] = value
        label = None if node.bare else LABELS[node.name]
        self.write(CASES[node.case](value) if node.case else value, label)

    def value(self, name: str) -> str:
        """The text of a slot: from the production of its name, a value maker, or a lexicon."""
        if name not in self.scope or name in self.making:
            return self.values.make(self, name)
        self.making.append(name)
        before, length = len(self.parts), self.length
        self.muted += 1
        self.produce(name)
        self.muted -= 1
        self.making.remove(name)
        value = "".join(self.parts[before:])
        del self.parts[before:]
        self.length = length
        return value


class Values:
    """Where values come from; ``values.Makers`` is the one in use."""

    def make(self, draw: Draw, name: str) -> str:
        raise NotImplementedError

    def person(self, draw: Draw, variable: str, form: str, sex: str) -> str:
        raise NotImplementedError

    def knows(self, name: str, lang: str) -> bool:
        raise NotImplementedError


def faults(file: TemplateFile, scope: Mapping[str, Production], values: Values) -> Iterator[str]:
    """Names that nothing defines, and labels outside the table."""
    for name, found in file.productions.items():
        pools = [found.train] + ([found.held] if found.held else [])
        for pool in pools:
            for nodes in pool.lines:
                for fault in faulty(nodes, scope, values, file.lang):
                    yield f"{file.name} @{name}: {fault}"


def faulty(  # noqa: C901
    nodes: tuple[Node, ...], scope: Mapping[str, Production], values: Values, lang: str
) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, Ref) and node.name not in scope:
            yield f"<{node.name}> is not defined"
        elif isinstance(node, Wrap):
            if node.label not in set(LABELS.values()):
                yield f"{node.label} is not a type"
            yield from faulty(node.inside, scope, values, lang)
        elif isinstance(node, Choice):
            for option in node.options:
                yield from faulty(option, scope, values, lang)
        elif isinstance(node, Slot) and node.form:
            if not values.knows(f".{node.form}", lang):
                yield f"{{{node.name}.{node.form}}} is no form of a person"
        elif isinstance(node, Slot):
            if node.name not in scope and not values.knows(node.name, lang):
                yield f"{{{node.name}}} has no value"
            elif not node.bare and node.name not in LABELS and node.name not in COMPOSITE:
                yield f"{{{node.name}}} has no label: write {{!{node.name}}}"
