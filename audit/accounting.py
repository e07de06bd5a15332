"""Reports to a data subject: access (GDPR Art. 15) and the accounting of 45 CFR 164.528.

From what ``subjects`` found. The accounting leaves out treatment, payment and operations
(164.528(a)(1)(i)) and what is older than six years (164.528(a)(1)). Whether a use on record was a
disclosure in the sense of the rule is for the covered entity to say: the log knows purposes.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from audit.record import expiry_month
from audit.subjects import Holding, Search

_EXCLUDED = ("treatment", "payment", "operations")
_ACCOUNTED_MONTHS = 72
_REQUESTS = ("intent", "deidentify")


class Kind(StrEnum):
    """Which right is answered."""

    GDPR15 = "gdpr15"
    HIPAA528 = "hipaa528"


_TITLES = {
    Kind.GDPR15: "Records held of a data subject (GDPR Art. 15)",
    Kind.HIPAA528: "Accounting of disclosures (45 CFR 164.528)",
}
_NOTES = {
    Kind.GDPR15: "Rights to rectification, erasure, restriction and objection, and to complain to a"
    " supervisory authority: Art. 15(1)(e) and (f).",
    Kind.HIPAA528: "Purposes on record other than treatment, payment and operations, of the last"
    " six years. Whether each was a disclosure is for the covered entity to say.",
}


def report(
    kind: Kind,
    found: Sequence[Holding],
    search: Search,
    now: datetime,
    *,
    copy: bool = False,
) -> dict[str, Any]:
    """The report as JSON. It names the subject nowhere; ``copy`` adds the texts (Art. 15(3))."""
    rows = _accounted(found, now) if kind is Kind.HIPAA528 else list(found)
    return {
        "kind": kind.value,
        "title": _TITLES[kind],
        "note": _NOTES[kind],
        "made": now.isoformat(timespec="minutes"),
        "records": [_row(holding, copy=copy) for holding in rows],
        "purposes": sorted({str(p) for h in rows if (p := h.header.features.get("purpose"))}),
        "used_by": sorted({str(p) for h in rows if (p := h.opened.sealed.get("principal"))}),
        "exports": list(search.exports) if kind is Kind.GDPR15 else [],
        "unreadable": search.unreadable,
    }


def _accounted(found: Sequence[Holding], now: datetime) -> list[Holding]:
    """One line for each request: its first intent, or the record that is all of it."""
    oldest = expiry_month(now, -_ACCOUNTED_MONTHS)
    day = now.strftime("%dT%H:%MZ")
    seen: set[str | None] = set()
    rows = []
    for holding in found:
        header, features = holding.header, holding.header.features
        if header.event not in _REQUESTS or features.get("decision") == "denied":
            continue
        if features.get("purpose") in _EXCLUDED or header.minute < f"{oldest}-{day}":
            continue
        if header.rid is None or header.rid not in seen:
            rows.append(holding)
        seen.add(header.rid)
    return rows


def _row(holding: Holding, *, copy: bool) -> dict[str, Any]:
    header, opened = holding.header, holding.opened
    entities = header.features.get("entities")
    row: dict[str, Any] = {
        "record": holding.index,
        "minute": header.minute,
        "event": header.event,
        "receipt": header.rid,
        "used_by": opened.sealed.get("principal"),
        "role": header.features.get("role"),
        "purpose": header.features.get("purpose"),
        "matter": opened.sealed.get("matter"),
        "categories": sorted(entities) if isinstance(entities, Mapping) else [],
        "own_request": holding.own,
        "kept_until": header.expires,
        "erased_parts": opened.erased,
    }
    if copy:
        texts = opened.text.get("texts", {}) if holding.own else {}
        theirs = {key_id: plain for key_id, plain in opened.keys if key_id in holding.keys}
        row["texts"] = texts
        row["values"] = [p["values"] for p in theirs.values() if p and "values" in p]
    return row


_COLUMNS = ("record", "minute", "event", "used_by", "role", "purpose", "matter", "categories",
            "kept_until")  # fmt: skip


def as_text(made: Mapping[str, Any]) -> str:
    """Lines for people; control characters stay escaped."""
    lines = [made["title"], f"made {made['made']}", made["note"], ""]
    for row in made["records"]:
        lines.append("  ".join(_cell(row[column]) for column in _COLUMNS))
        lines += [f"    {name}: {_cell(text)}" for name, text in row.get("texts", {}).items()]
        lines += [
            f"    {k}: {_cell(v)}" for group in row.get("values", ()) for k, v in group.items()
        ]
    lines += [f"{name:<10} {value}" for name, value in _totals(made)]
    return "\n".join(lines)


def as_html(made: Mapping[str, Any]) -> str:
    """One page without scripts or anything to fetch."""
    columns = [*_COLUMNS, *(["texts", "values"] if _has_copy(made) else [])]
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(row[c]))}</td>" for c in columns) + "</tr>\n"
        for row in made["records"]
    )
    totals = "".join(f"<li>{html.escape(f'{n}: {v}')}</li>" for n, v in _totals(made))
    title, note = html.escape(made["title"]), html.escape(made["note"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{font-family:sans-serif}td,th{border:1px solid;padding:.2em .5em;"
        "text-align:left}table{border-collapse:collapse}</style>\n"
        f"<h1>{title}</h1><p>Made {html.escape(made['made'])}.</p><p>{note}</p>\n"
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>\n"
        f"<ul>{totals}</ul></html>\n"
    )


def _has_copy(made: Mapping[str, Any]) -> bool:
    return any("texts" in row for row in made["records"])


def _totals(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    totals = [
        ("records", str(len(made["records"]))),
        ("purposes", ", ".join(made["purposes"]) or "-"),
        ("used by", ", ".join(map(_cell, made["used_by"])) or "-"),
        ("exports", ", ".join(map(str, made["exports"])) or "-"),
    ]
    if made["unreadable"]:
        totals.append(("unreadable", f"{made['unreadable']} records do not open with these keys"))
    return totals


def _cell(value: object) -> str:
    if value is None or value in ([], {}):
        return "-"
    shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
