"""Formats of one line a record: JSON lines, CSV, syslog (RFC 5424), ArcSight CEF 0."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from audit.formats.fhir import fhir
from audit.formats.ocsf import ocsf
from audit.formats.view import View

# What a spreadsheet takes for a formula at the start of a cell (OWASP, "CSV Injection"),
# full-width forms included.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
_FEATURES = ("role", "purpose", "decision", "status", "error", "finish")
COLUMNS = ("index", "minute", "event", "rid", "boot", "seq", "expires", *_FEATURES,
           "entities", "rules", "digests", "at", "principal", "subject", "unreadable")  # fmt: skip

# RFC 5424 §6.2.1: facility 13 is "log audit". 32473 is the enterprise number that RFC 5612 keeps
# for documentation: the project has none of its own.
_FACILITY, _WARNING, _INFORMATIONAL = 13, 4, 6
_SD_ID = "cloister@32473"
_HOST_MAX, _MSGID_MAX = 255, 32


def jsonl(view: View) -> str:
    """Everything the view holds, in ASCII escapes."""
    shown = {"index": view.index, **view.header.to_json()}
    if view.unreadable is not None:
        shown["unreadable"] = view.unreadable
    if view.opened is not None:
        shown |= {
            "at": view.opened.at,
            "sealed": dict(view.opened.sealed),
            "text": dict(view.opened.text),
            "values": [dict(group) for group in view.opened.values],
            "erased_parts": view.opened.erased,
        }
    return json.dumps(shown, sort_keys=True) + "\n"


# --- CSV --------------------------------------------------------------------------------------


def csv_head() -> str:
    return _row(COLUMNS)


def csv_line(view: View) -> str:
    header = view.header
    cells: dict[str, object] = {name: view.feature(name) for name in _FEATURES}
    cells |= {
        "index": view.index,
        "minute": header.minute,
        "event": header.event,
        "rid": header.rid or "",
        "boot": header.boot,
        "seq": header.seq,
        "expires": header.expires,
        "entities": _compact(header.features.get("entities")),
        "rules": _compact(header.features.get("rules")),
        "digests": _compact(header.features.get("digests")),
        "at": view.opened.at if view.opened else "",
        "principal": view.principal(),
        "subject": view.subject(),
        "unreadable": view.unreadable or "",
    }
    return _row([cell(str(cells[name])) for name in COLUMNS])


def cell(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet would compute it."""
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def _row(cells: list[str] | tuple[str, ...]) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(cells)  # RFC 4180: CRLF
    return out.getvalue()


def _compact(value: object) -> str:
    return "" if value is None else json.dumps(value, sort_keys=True, separators=(",", ":"))


# --- syslog and CEF ---------------------------------------------------------------------------


def _fields(view: View) -> dict[str, str]:
    """What a monitoring system is told: readable features, and the principal if opened."""
    header = view.header
    found = {
        "index": str(view.index),
        "event": header.event,
        "rid": header.rid or "",
        "boot": header.boot,
        "seq": str(header.seq),
        **{name: view.feature(name) for name in _FEATURES},
        "entities": _compact(header.features.get("entities")),
        "principal": view.principal(),
    }
    return {name: _one_line(value) for name, value in found.items() if value}


def _one_line(text: str) -> str:
    """Control characters, lone surrogates and the like as their escapes: a record is a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _refused(view: View) -> bool:
    """Whether somebody should look."""
    return view.header.event.startswith("auth.") or view.feature("decision") == "denied"


def _graphic(text: str, most: int) -> str:
    """PRINTUSASCII of RFC 5424 §6, or its nil value."""
    return "".join(c for c in text if "!" <= c <= "~")[:most] or "-"


def syslog(view: View) -> str:
    """RFC 5424 §6, without a free-form message: the structured data says it all."""
    header = view.header
    priority = _FACILITY * 8 + (_WARNING if _refused(view) else _INFORMATIONAL)
    data = " ".join(f'{name}="{_sd(value)}"' for name, value in _fields(view).items())
    host, event = _graphic(header.origin, _HOST_MAX), _graphic(header.event, _MSGID_MAX)
    stamp = header.minute.removesuffix("Z") + ":00Z"
    return f"<{priority}>1 {stamp} {host} cloister - {event} [{_SD_ID} {data}]\n"


def _sd(text: str) -> str:
    r"""RFC 5424 §6.3.3: a quote, a backslash and a closing bracket are escaped."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def cef(view: View) -> str:
    """ArcSight Common Event Format 0; the device's version is that of the audit format."""
    fields, header = _fields(view), view.header
    minute = datetime.strptime(header.minute, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    extension = {
        "rt": str(int(minute.timestamp()) * 1000),
        "externalId": fields.get("rid", ""),
        "act": header.event,
        "outcome": fields.get("decision", ""),
        "reason": fields.get("error", ""),
        "suser": fields.get("principal", ""),
        "spriv": fields.get("role", ""),
        **_labelled("cn1", "index", fields),
        **_labelled("cn2", "status", fields),
        **_labelled("cs1", "purpose", fields),
        **_labelled("cs2", "entities", fields),
    }
    severity = "6" if _refused(view) else "3"
    head = ("Cloister", "gateway", "1", header.event, header.event, severity)
    pairs = " ".join(f"{key}={_value(value)}" for key, value in extension.items() if value)
    return "CEF:0|" + "|".join(map(_head, head)) + f"|{pairs}\n"


def _labelled(key: str, name: str, fields: Mapping[str, str]) -> dict[str, str]:
    return {key: fields[name], f"{key}Label": name} if name in fields else {}


def _head(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _value(text: str) -> str:
    return text.replace("\\", "\\\\").replace("=", "\\=")


WRITERS: Mapping[str, tuple[Callable[[], str], Callable[[View], str]]] = {
    "jsonl": (str, jsonl),
    "csv": (csv_head, csv_line),
    "syslog": (str, syslog),
    "cef": (str, cef),
    "fhir": (str, fhir),
    "ocsf": (str, ocsf),
}
"""The first line of each format, empty where it has none, and the line of a record."""
