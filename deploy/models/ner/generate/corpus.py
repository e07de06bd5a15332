"""Examples: a template file drawn by weight, expanded, roughened by ``noise`` and sometimes joined."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Final

from deploy.models.ner.generate import noise
from deploy.models.ner.generate.grammar import (
    Draw,
    Production,
    Span,
    TemplateFile,
    faults,
    read_file,
)
from deploy.models.ner.generate.labels import WEAK
from deploy.models.ner.generate.values import Makers

TEMPLATES: Final = Path(__file__).parent / "templates"
JOINED: Final = 0.06
"""Share of texts made of several templates of one language."""
HELD_OUT_DRAWS: Final = 40


@dataclass(frozen=True, slots=True)
class Example:
    """A text and its spans, sorted and apart; offsets are indices of ``text``, the end exclusive."""

    text: str = field(repr=False)
    spans: tuple[Span, ...]
    lang: str
    file: str = ""

    @property
    def clean(self) -> bool:
        """Nothing in it that the strictest reading of an identifier would name (``labels.WEAK``)."""
        return all(s.label in WEAK for s in self.spans)


@dataclass(frozen=True, slots=True)
class Grammar:
    files: tuple[TemplateFile, ...]
    scopes: Mapping[str, Mapping[str, Production]]


@cache
def grammar() -> Grammar:
    """Every template file, with what each may refer to."""
    every = [read_file(path) for path in sorted(TEMPLATES.glob("*.txt"))]
    shared = {f.name: f.productions for f in every if f.name.startswith("shared")}
    files = tuple(f for f in every if not f.name.startswith("shared"))
    scopes = {
        f.name: {**shared.get("shared", {}), **shared.get(f"shared-{f.lang}", {}), **f.productions}
        for f in files
    }
    return Grammar(files, scopes)


def check() -> list[str]:
    """What the template files name and nothing defines."""
    found = grammar()
    values = Makers()
    bad = [fault for f in found.files for fault in faults(f, found.scopes[f.name], values)]
    bad += [f"{f.name}: no production start" for f in found.files if "start" not in f.productions]
    for path in sorted(TEMPLATES.glob("shared*.txt")):
        part = read_file(path)
        for lang in [part.lang] if part.lang in {"en", "es", "fr", "de"} else ["en"]:
            scope = next((found.scopes[f.name] for f in found.files if f.lang == lang), {})
            bad += faults(TemplateFile(part.name, lang, 0, part.productions), scope, values)
    return bad


def one(rng: Random, file: TemplateFile, held_out: bool) -> Example:
    """A text of one template, as it was written."""
    scope = grammar().scopes[file.name]
    for _ in range(HELD_OUT_DRAWS):
        draw = Draw(rng, file.lang, scope, Makers(), held_out, file.names)
        draw.produce("start")
        if draw.used_held or not held_out:
            break
    text = "".join(draw.parts)
    return Example(text, whole_names(text, sorted(draw.spans)), file.lang, file.name)


def whole_names(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans with the parts of a name that stand side by side made one."""
    made: list[Span] = []
    for s in spans:
        last = made[-1] if made else None
        if last and last.label == s.label == "PERSON" and text[last.end : s.start] == " ":
            made[-1] = Span(last.start, s.end, "PERSON")
        else:
            made.append(s)
    return tuple(made)


def joined(examples: Sequence[Example], joint: str) -> Example:
    """The texts one after the other, with ``joint`` between them."""
    text, spans = "", []
    for e in examples:
        text += joint if text else ""
        spans += [Span(s.start + len(text), s.end + len(text), s.label) for s in e.spans]
        text += e.text
    return Example(text, tuple(spans), examples[0].lang, examples[0].file)


def examples(  # noqa: PLR0913
    seed: int,
    count: int,
    held_out: bool = False,
    *,
    langs: Sequence[str] = ("en", "es", "fr", "de"),
    files: Sequence[str] = (),
    noisy: bool = True,
) -> Iterator[Example]:
    """``count`` examples; the same for the same arguments in every process.

    ``held_out`` uses the lines and the names that training never sees. ``files`` names template files.
    """
    rng = Random(f"{seed}:{held_out}")
    chosen = [f for f in grammar().files if f.lang in langs and (not files or f.name in files)]
    weights = list(accumulate(f.weight for f in chosen))
    for _ in range(count):
        file = chosen[min(bisect(weights, rng.random() * weights[-1]), len(chosen) - 1)]
        example = one(rng, file, held_out)
        if noisy and rng.random() < JOINED:
            same = [f for f in chosen if f.lang == file.lang]
            more = [
                one(rng, rng.choice(same), held_out) for _ in range(rng.choice((1, 1, 2, 3, 6)))
            ]
            example = joined([example, *more], rng.choice(("\n", "\n\n", " ", "\n---\n", "\n\n")))
        if noisy:
            text, spans = noise.roughen(rng, example.text, example.spans)
            example = Example(text, spans, example.lang, example.file)
        yield example
