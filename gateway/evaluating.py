"""``gateway evaluate``: how well the policies in force mask a site's own marked texts.

A row is ``{"id", "text", "spans": [[start, end, label, ...], ...], "language"?}``, with offsets in
code points, end exclusive; a row without spans is a clean one. What is counted is what masking
would cover under a role and a purpose (``scoring``), so the figures are of the policy as well as of
the detector. Texts are shown only where errors are asked for; nothing is written but the plot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import BinaryIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import evidence
from gateway.acts import record_event
from gateway.app import policies_in_force, protector
from gateway.clock import utc_now
from gateway.domain import Purpose, Role
from gateway.errors import PolicyDeniedError, RequestError
from gateway.masking import Run
from gateway.pii.tables import load as tables
from gateway.scoring import Mark, Report, Scored, Share, excess, leaks, report
from gateway.settings import home_from_environment, load

CONTEXT = 30  # characters shown on each side of an error
ROW_PX, LABEL_PX, BAR_PX, WIDTH_PX = 24, 240, 400, 800


class GoldRow(msgspec.Struct, frozen=True):
    """One marked text. Spans may carry more after the label; other keys are ignored."""

    id: str | int
    text: str
    spans: list[list[object]] = []
    language: str | None = None


_ROW = msgspec.json.Decoder(GoldRow)


def gold_rows(source: BinaryIO) -> Iterator[tuple[GoldRow, tuple[Mark, ...]]]:
    """The rows of a file of marked texts.

    Raises:
        RequestError: a line is not such a row; the message names the line and nothing of it.
    """
    for number, line in enumerate(source, 1):
        if not line.strip():
            continue
        try:
            row = _ROW.decode(line)
            marks = tuple(_mark(span, len(row.text)) for span in row.spans)
        except (ValueError, RecursionError):
            raise RequestError(f"Line {number} is not a marked text.") from None
        yield row, marks


def _mark(span: list[object], length: int) -> Mark:
    start, end, label = span[:3]
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(label, str)):
        raise ValueError("not a span")  # noqa: TRY004 (one kind of fault for one row)
    if not 0 <= start < end <= length:
        raise ValueError("outside the text")
    return Mark(start, end, label)


def evaluate(
    source: BinaryIO,
    role: Role,
    purpose: Purpose,
    added: Iterable[str] = (),
    ignored: Collection[str] = (),
) -> tuple[Report, list[Scored]]:
    """Mask every row as ``gateway mask`` would and score it; the run goes on record.

    Raises:
        RequestError: the file is not one of marked texts, or it holds none.
        GatewayError: the run cannot start or cannot be put on record.
    """
    home = home_from_environment()
    settings = load(home)
    policies = policies_in_force(settings, home).plus(tuple(added))
    run = Run(protector(settings, home, utc_now), policies, role, purpose)
    scored = [_scored(run, row, marks, ignored) for row, marks in gold_rows(source)]
    if not scored:
        raise RequestError("The file holds no row.")
    digests = evidence.digests(policies.refs, detector=run.detector_digest, tables=tables.digest())
    record_event(
        "evaluation-run",
        {"purpose": purpose.value, "digests": digests},
        {"role": role.value, "rows": len(scored)},
    )
    return report(scored), scored


def _scored(run: Run, row: GoldRow, marks: tuple[Mark, ...], ignored: Collection[str]) -> Scored:
    _, protected = run.protect(row.text, row.language)
    if protected.masked is None:
        raise PolicyDeniedError
    covered = tuple(Mark(r.start, r.end, r.entity_type) for r in protected.replacements[0])
    wanted = tuple(mark for mark in marks if mark.label not in ignored)
    spared = tuple(mark for mark in marks if mark.label in ignored)
    return Scored(str(row.id), row.text, wanted, covered, spared)


# --- what is shown ---------------------------------------------------------------------------


def figures(result: Report) -> dict[str, Share]:
    """The shares of a report by the names under which they are printed."""
    return {
        "recall": result.recall,
        "leak-free rows": result.leak_free,
        "precision (letters and digits)": result.precision,
        "clean rows touched": result.touched,
        "words covered for nothing": result.words_touched,
        **{f"recall {label}": share for label, share in result.by_label.items()},
    }


def as_json(result: Report, shown: Iterable[Fault] = ()) -> dict[str, object]:
    """Every share with its count and 95 % interval (Wilson), and the errors to show."""
    shares: dict[str, object] = {
        name: {
            "value": round(share.value, 5),
            "hits": share.hits,
            "total": share.total,
            "interval": [round(edge, 5) for edge in share.interval],
        }
        for name, share in figures(result).items()
        if share.total
    }
    faults = [
        {"row": f.row, "kind": f.kind, "label": f.mark.label, "span": [f.mark.start, f.mark.end]}
        for f in shown
    ]
    return {"rows": result.rows, "figures": shares, "errors": faults}


def print_report(result: Report, shown: Iterable[Fault] = ()) -> None:
    """A table for people, and the errors in their context, the span in reverse."""
    table = Table(box=None, pad_edge=False)
    for column in ("figure", "value", "95 %", "of"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for name, share in figures(result).items():
        if share.total:
            low, high = share.interval
            table.add_row(name, f"{share.value:.4f}", f"{low:.3f} to {high:.3f}", str(share.total))
    console = Console(highlight=False)
    console.print(table)
    for fault in shown:
        before, text, after = fault.around
        line = Text(f"{fault.kind:<6} {fault.mark.label:<16} {fault.row}: {before}")
        line.append(text, style="reverse")
        line.append(after)
        console.print(line, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Fault:
    """A leak (a mark not wholly covered) or an excess (a covered span that nobody marked)."""

    row: str
    kind: str
    mark: Mark
    around: tuple[str, str, str] = field(repr=False)


def errors(scored: Iterable[Scored]) -> Iterator[Fault]:
    """Every error, in the order of the rows and the texts."""
    for row in scored:
        faults = [("leak", mark) for mark in leaks(row)]
        faults += [("excess", mark) for mark in excess(row)]
        for kind, mark in sorted(faults, key=lambda fault: fault[1].start):
            yield Fault(row.id, kind, mark, _around(row.text, mark))


def _around(text: str, mark: Mark) -> tuple[str, str, str]:
    before = text[max(0, mark.start - CONTEXT) : mark.start]
    after = text[mark.end : mark.end + CONTEXT]
    return _line(before), _line(text[mark.start : mark.end]), _line(after)


def _line(text: str) -> str:
    return text.replace("\n", " ")


def plot(result: Report, path: Path) -> None:
    """Write the shares as an SVG: a bar each, its 95 % interval as a line.

    Raises:
        RequestError: the file cannot be written.
    """
    shares = {name: share for name, share in figures(result).items() if share.total}
    height = ROW_PX * (len(shares) + 1)
    size = f'width="{WIDTH_PX}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<text x="4" y="16">{result.rows} rows; line: 95 % interval (Wilson)</text>',
    ]
    for row, (name, share) in enumerate(shares.items(), 1):
        parts += _bar(row * ROW_PX, name, share)
    try:
        path.write_text("\n".join([*parts, "</svg>", ""]), encoding="utf-8")
    except OSError:
        raise RequestError("The plot cannot be written there.") from None


def _bar(top: int, name: str, share: Share) -> Iterator[str]:
    low, high = (LABEL_PX + edge * BAR_PX for edge in share.interval)
    middle = top + ROW_PX / 2
    counts = f"{share.value:.3f} ({share.hits} of {share.total})"
    yield f'<text x="4" y="{middle + 4}">{escape(name)}</text>'
    size = f'width="{share.value * BAR_PX:.1f}" height="14"'
    yield f'<rect x="{LABEL_PX}" y="{top + 5}" {size} fill="#3b6ea5"/>'
    yield f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="black"/>'
    yield f'<text x="{LABEL_PX + BAR_PX + 8}" y="{middle + 4}">{counts}</text>'
