"""A review in a terminal: the text in colours, a legend, and a list of what was found and why."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
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
    found: list[tuple[Found, str]] = []
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
            found.append((run.found, run.text))
        console.print(line, soft_wrap=True)
    console.print("", _table(found))


def _table(found: Iterable[tuple[Found, str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("#", "type", "score", "operator", "becomes", "found by", "rule", "clause"):
        table.add_column(column, overflow="fold")
    for each, _ in found:
        table.add_row(
            str(each.number),
            each.entity_type,
            f"{each.score:.2f}",
            Text(each.operator.name.lower(), STYLES.get(each.operator, "")),
            Text(visible(each.replacement)),
            Text(each.source or "known from elsewhere"),
            Text(", ".join(f"{c.policy}/{c.rule}" for c in each.rules)),
            Text("; ".join(dict.fromkeys(c.clause for c in each.rules))),
        )
    return table
