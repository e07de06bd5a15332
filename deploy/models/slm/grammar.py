"""The grammar that documents and questions are drawn from: text files in ``grammar/``.

A line of ``S`` is a sentence and a line of ``Q`` a question about the same fact. ``[a|b]`` is a
choice, ``{slot}`` a row of ``lexicon.txt`` or a word of the document (``{She}``), ``{slot.1}``
the second column of the same row. Which line a text came from is what the held-out split is
made on: no row of it shares a template with what was trained.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

HERE = Path(__file__).parent / "grammar"
Lexicon = dict[str, list[list[list[str]]]]
Split = tuple[list[str], list[str]]  # templates to train on, templates held out

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([A-Za-z_]+?)(2?)(?:\.(\d))?\}")


@dataclass(frozen=True, slots=True)
class FactType:
    """One kind of fact: how it is said and how it is asked for."""

    name: str
    domain: str
    flags: frozenset[str]  # "!" belongs in a summary; "key", "case", "crim"
    near: frozenset[str]  # types that would also answer: no abstention where one stands
    of: frozenset[str]  # the types whose sentences answer, usually itself
    sentences: Split
    questions: Split

    @property
    def salient(self) -> bool:
        return "!" in self.flags


@dataclass(frozen=True, slots=True)
class Grammar:
    facts: dict[str, FactType]
    lexicon: Lexicon
    general: dict[str, Split]


def split(lines: list[str], name: str) -> Split:
    """Hold one line in about five out, chosen by a digest so that adding lines moves few."""
    if len(lines) < 3:  # noqa: PLR2004 - too few to spare one
        return lines, lines
    ranked = sorted(lines, key=lambda line: hashlib.sha256((name + line).encode()).digest())
    held = ranked[: max(1, len(lines) // 5)]
    return [line for line in lines if line not in held], held


def load(folder: Path = HERE) -> Grammar:
    facts: dict[str, FactType] = {}
    for domain in ("clinical", "legal", "office"):
        for fact in _facts(folder / f"{domain}.txt", domain):
            facts[fact.name] = fact
    general: dict[str, list[str]] = {}
    for line in _lines(folder / "general.txt"):
        kind, _, text = line.partition(" ")
        general.setdefault(kind, []).append(text)
    return Grammar(
        facts,
        _lexicon(folder / "lexicon.txt"),
        {kind: split(lines, kind) for kind, lines in general.items()},
    )


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _lexicon(path: Path) -> Lexicon:
    lexicon: Lexicon = {}
    for line in _lines(path):
        name, _, rows = line.partition(": ")
        lexicon[name] = [
            [[a.strip() for a in column.split("|")] for column in row.split(";")]
            for row in rows.split(" / ")
        ]
    return lexicon


def _facts(path: Path, domain: str) -> list[FactType]:
    """Read one file. A digit behind S or Q is an aspect: only sentences of it answer."""
    facts = []
    for head, lines in _blocks(path):
        words, _, near = head.partition(" ~ ")
        words, _, of = words.partition(" of ")
        base, *flags = words.split()
        aspects = sorted({line[1] for line in lines})
        for aspect in aspects:
            name = base + aspect.strip()
            said = [line[2:].strip() for line in lines if line.startswith("S" + aspect)]
            asked = [line[2:].strip() for line in lines if line.startswith("Q" + aspect)]
            answers = frozenset((of or name,))
            sides = split(said, name), split(asked, name)
            facts.append(
                FactType(name, domain, frozenset(flags), frozenset(near.split()), answers, *sides)
            )
    return facts


def _blocks(path: Path) -> list[tuple[str, list[str]]]:
    blocks: list[tuple[str, list[str]]] = []
    for line in _lines(path):
        if line.startswith("== "):
            blocks.append((line[3:], []))
        else:
            blocks[-1][1].append(line)
    return blocks


def choose(text: str, rng: Random) -> str:
    """Resolve every ``[a|b]``, innermost first."""
    while match := _CHOICE.search(text):
        picked = rng.choice(match.group(1).split("|"))
        text = text[: match.start()] + picked + text[match.end() :]
    return text


def slots(text: str) -> list[tuple[str, str, int]]:
    """Name, suffix ("" or "2") and column of every slot."""
    return [(m.group(1), m.group(2), int(m.group(3) or 0)) for m in _SLOT.finditer(text)]


def substitute(text: str, value: dict[tuple[str, str, int], str]) -> str:
    return _SLOT.sub(lambda m: value[m.group(1), m.group(2), int(m.group(3) or 0)], text)
