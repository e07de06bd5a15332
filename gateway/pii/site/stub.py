"""From a report that an auditor decrypted to the draft of a site's file, for a person to finish.

What was missed becomes an entry of a list, what was found wrongly an entry of an allow list, each
with a case. The draft holds the reported text: it is personal data, as the file will be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.errors import RequestError
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES
from gateway.pii.site.entries import entry_fault

EVENT = "detection.reported"
MISSED, WRONG = "missed", "wrong"
TEXT, NOTE = "report.text", "report.note"
_UNSEEN = re.compile(r"\s+")


def drafts(lines: Iterable[str]) -> Iterator[str]:
    """A file for each report among the records that ``auditlog show -o json`` prints.

    Raises:
        RequestError: a line is no record, there is no report, or one cannot become a rule.
    """
    count = 0
    for line in lines:
        if not line.strip():
            continue
        record = _record(line)
        if record.get("event") == EVENT:
            count += 1
            yield _draft(record, count)
    if not count:
        raise RequestError("There is no report among these records.")


def _record(line: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise RequestError("This is no record; pipe in what `auditlog show -o json` prints.")
    return record


def _draft(record: Mapping[str, Any], number: int) -> str:
    index = record.get("index")
    sealed, texts = record.get("sealed"), _texts(record)
    if not isinstance(sealed, dict) or type(index) is not int:
        raise RequestError("This record is not decrypted; `auditlog show` needs the auditor's key.")
    text = _UNSEEN.sub(" ", str(texts.get(TEXT) or "")).strip()
    if not text:
        raise RequestError(f"Report {index} holds no text; write its rule by hand.")
    if entry_fault(text) or not text.isprintable() or "[[" in text or "]]" in text:
        raise RequestError(
            f"The text of report {index} is no single value; write its rule by hand."
        )
    kind = sealed.get("entity_type")
    entity_type = kind if isinstance(kind, str) and kind in ENTITY_TYPES else "ID_NUMBER"
    head = (
        f"# From report {index}. Check the type, and give the cases a sentence around the value.\n"
    )
    head += f"name: reported-{index}\nversion: {number}\n"
    if sealed.get("kind") == WRONG:
        return (
            f"{head}allow:\n  - id: spared\n    entries: [{_quoted(text)}]\n"
            f"cases:\n  - text: {_quoted(text)}\n"
        )
    return (
        f"{head}lists:\n  - id: missed\n    type: {entity_type}\n    entries: [{_quoted(text)}]\n"
        f"cases:\n  - text: {_quoted(f'[[{entity_type}|{text}]]')}\n"
    )


def _texts(record: Mapping[str, Any]) -> Mapping[str, Any]:
    part = record.get("text")
    texts = part.get("texts", part) if isinstance(part, dict) else {}
    return texts if isinstance(texts, dict) else {}


def _quoted(text: str) -> str:
    """A scalar of YAML that is these characters."""
    return "'" + text.replace("'", "''") + "'"
