"""A review in a terminal: the text in colours, a legend, and a list of what was found and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from gateway.domain import Operator
from gateway.reviewing.view import Found, Passage, visible

STYLES = {
    Operator.KEEP: "underline green",
    Operator.GENERALIZE: "black on cyan",
    Operator.SURROGATE: "black on magenta",
    Operator.PSEUDONYM: "black on yellow",
    Operator.REDACT: "bold white on red",
}
MEANINGS = {
    Operator.KEEP: "found and kept",
    Operator.GENERALIZE: "made coarser",
    Operator.SURROGATE: "a made-up value in its place",
    Operator.PSEUDONYM: "a numbered placeholder in its place",
    Operator.REDACT: "removed",
}


def show(console: Console, passages: Iterable[Passage]) -> None:
    """Print the passages and what was found in them."""
    found: list[Found] = []
    legend = Text()
    for operator, style in STYLES.items():
        legend.append(f"[{operator.name.lower()}]", style).append(f" {MEANINGS[operator]}  ")
    console.print(legend, "")
    for passage in passages:
        line = Text()
        if passage.label:
            line.append(f"{visible(passage.label)}: ", "dim")
        for run in passage.runs:
            if run.found is None:
                line.append(visible(run.text))
                continue
            line.append(f"[{visible(run.text)}]", STYLES.get(run.found.operator, "reverse"))
            line.append(f"{run.found.number}", "dim")
            found.append(run.found)
        console.print(line, soft_wrap=True)
    console.print()
    for line in _lines(found):
        console.print(line, soft_wrap=True)


def _lines(found: Iterable[Found]) -> Iterator[Text]:
    for each in found:
        line = Text(f"{each.number:>4}  {each.entity_type}  {each.score:.2f}  ")
        line.append(each.operator.name.lower(), STYLES.get(each.operator, ""))
        if each.replacement:
            line.append(f"  {visible(each.replacement)}")
        line.append(f"  ({each.source or 'known from elsewhere'})", "dim")
        yield line
        for cited in each.rules:
            yield Text(f"      {cited.policy}/{cited.rule}: {cited.clause}", "dim")
