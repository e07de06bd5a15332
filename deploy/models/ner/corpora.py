"""The shared corpora as pieces: each label mapped to the set of labels it may stand for."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from deploy.models.ner.pieces import ANYTHING, Piece, allow, disjoint, folded

CORPORA = Path(__file__).parents[4] / "shared" / "corpora"

TITLE = re.compile(
    r"\b(Mr|Mrs|Ms|Miss|Mx|Herrn?|Frau|Mme|Mlle|M|Monsieur|Madame|Sr|Sra|Srta|Don|Doña|Señora?"
    r"|D|Dª|Dña)\.?[ ]+$"
)
_LOOSE_TITLE = allow("O PERSON")
_MONTHS = re.compile(
    r"(?i)jan|feb|m[aä]r|apr|abr|ma[iy]|jun|jul|aug|ago|sep|oct|okt|nov|de[cz]|ene|[./-]"
)
_UNNAMED = "O DATE_TIME YEAR AGE DEMOGRAPHIC PHONE_NUMBER EMAIL_ADDRESS URL ZIP_CODE ID_NUMBER"
_CROWD = {  # corpora that label persons, places and organisations alone
    "PER": "PERSON", "person": "PERSON",
    "LOC": "LOCATION REGION", "location": "LOCATION REGION ORGANIZATION",
    "ORG": "ORGANIZATION AUTHORITY", "group": "ORGANIZATION AUTHORITY REGION",
    "corporation": "ORGANIZATION AUTHORITY",
}  # fmt: skip

_MEDDOCAN = {
    "NOMBRE_SUJETO_ASISTENCIA": "PERSON", "NOMBRE_PERSONAL_SANITARIO": "PERSON",
    "CALLE": "LOCATION", "PAIS": "REGION", "EDAD_SUJETO_ASISTENCIA": "DEMOGRAPHIC AGE",
    "SEXO_SUJETO_ASISTENCIA": "DEMOGRAPHIC", "FAMILIARES_SUJETO_ASISTENCIA": "DEMOGRAPHIC PERSON",
    "PROFESION": "DEMOGRAPHIC", "OTROS_SUJETO_ASISTENCIA": "DEMOGRAPHIC O ID_NUMBER",
    "HOSPITAL": "ORGANIZATION", "INSTITUCION": "ORGANIZATION AUTHORITY",
    "CENTRO_SALUD": "ORGANIZATION", "CORREO_ELECTRONICO": "EMAIL_ADDRESS",
    "NUMERO_TELEFONO": "PHONE_NUMBER", "NUMERO_FAX": "PHONE_NUMBER",
}  # fmt: skip

_ANON = {
    "PERSON_NAME": "PERSON", "ORGANIZATION_NAME": "ORGANIZATION", "STREET_ADDRESS": "LOCATION",
    "LOCATION_NAME": "LOCATION", "LATITUDE_LONGITUDE": "LOCATION", "POSTAL_CODE": "ZIP_CODE",
    "PHONE_NUMBER": "PHONE_NUMBER", "EMAIL_ADDRESS": "EMAIL_ADDRESS", "URL": "URL",
    "DATE_OF_BIRTH": "DATE_TIME YEAR", "TIMESTAMP": "DATE_TIME",
    "USERNAME": "ID_NUMBER O", "SOCIAL_MEDIA_HANDLE": "ID_NUMBER O",
    "AGE": "AGE DEMOGRAPHIC O", "JOB_TITLE": "DEMOGRAPHIC O", "ETHNICITY": "DEMOGRAPHIC O",
    "NATIONALITY": "DEMOGRAPHIC O", "GENDER": "DEMOGRAPHIC O", "MARITAL_STATUS": "DEMOGRAPHIC O",
    "MEDICATION_NAME": "O", "HEALTH_CONDITION": "O", "PROCEDURE_NAME": "O", "VEHICLE_MODEL": "O",
    "HOUSEHOLD_SIZE": "O", "SALARY": "O", "POLITICAL_OPINION": "O", "RELIGIOUS_BELIEF": "O",
    "EDUCATION_LEVEL": "O",
}  # fmt: skip
"""What is not named here is a number of some kind."""


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = CORPORA / f"{name}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def half(row: dict[str, Any]) -> bool:
    """Whether ``row`` is in the half that is trained on."""
    return hashlib.sha256(str(row["id"]).encode()).digest()[0] < 128  # noqa: PLR2004


_TAB = {
    "PERSON": "PERSON", "LOC": "LOCATION REGION", "ORG": "ORGANIZATION AUTHORITY REGION",
    "CODE": "ID_NUMBER", "DEM": "DEMOGRAPHIC AGE O AUTHORITY", "QUANTITY": "O ID_NUMBER DATE_TIME",
}  # fmt: skip


def _tab(text: str, span: list[Any]) -> int:
    label, value = span[2], text[span[0] : span[1]]
    if label == "DATETIME":
        if re.fullmatch(r"\d{4}s?", value):
            return allow("YEAR")
        dated = re.search(r"\d", value) and _MONTHS.search(value)
        return allow("DATE_TIME" if dated else "DATE_TIME YEAR O")
    return allow(_TAB[label]) if label in _TAB else ANYTHING


def _meddocan(text: str, span: list[Any]) -> int:
    label, value = span[2], text[span[0] : span[1]]
    if label == "TERRITORIO":
        return allow("ZIP_CODE" if value[-1:].isdigit() else "LOCATION REGION")
    if label == "FECHAS":
        return allow("YEAR" if re.fullmatch(r"\d{4}", value) else "DATE_TIME")
    return allow(_MEDDOCAN.get(label, "ID_NUMBER"))


def _crowd(text: str, span: list[Any]) -> int:
    value = text[span[0] : span[1]]
    odd = "@" in value + text[max(0, span[0] - 2) : span[0]] or "#" in value or "http" in value
    if odd or value.isdigit():
        return ANYTHING
    if span[2] == "PER" and value.lower() in {"borrower", "lender"}:
        return allow("O")
    if value.lower() == "bank":
        return allow("O ORGANIZATION")
    known = _CROWD.get(span[2])
    return allow(known) if known else ANYTHING


def _anon(_: str, span: list[Any]) -> int:
    known = _ANON.get(span[2], "ID_NUMBER")
    return allow("LOCATION ZIP_CODE REGION") if known == "LOCATION" else allow(known)


Reader = Callable[[str, list[Any]], int]


def piece(row: dict[str, Any], read: Reader, rest: int) -> Piece:
    text = row["text"]
    spans = [(s[0], s[1], read(text, s)) for s in row["spans"]]
    for start, _, bits in list(spans):
        title = TITLE.search(text, max(0, start - 12), start) if bits == allow("PERSON") else None
        if title:  # whether a title is part of a name differs between corpora
            spans.append((title.start(), start, _LOOSE_TITLE))
            spans = [(a, b, c | allow("PERSON") if a == start else c) for a, b, c in spans]
    return folded(Piece(text, disjoint(spans), rest, row["lang"]))


_SOME_NAME = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Dr)\.? ([A-Z][a-z]+)|^([A-Z][a-z]+ [A-Z][a-z]+) is ", re.MULTILINE
)
_SOMETHING_ELSE = allow("O PERSON LOCATION ORGANIZATION REGION DATE_TIME AUTHORITY DEMOGRAPHIC")


def _notes(row: dict[str, Any]) -> Piece:
    """A visit note; the names in it are found by their titles, other capitals may be anything."""
    text = row["text"]
    names = {w for m in _SOME_NAME.finditer(text) for w in (m[1] or m[2]).split()}
    spans = []
    if names:
        some = "|".join(sorted(map(re.escape, names)))
        pattern = rf"\b(?:(?:Mr|Mrs|Ms|Miss)\.? )?(?:{some})(?: (?:{some}))*\b"
        spans = [(m.start(), m.end(), allow("PERSON")) for m in re.finditer(pattern, text)]
    lowered = set(re.findall(r"\b[a-z]+\b", text))
    for match in re.finditer(r"(?<=[a-z,] )[A-Z][a-z]+\b", text):
        if match[0].lower() not in lowered:
            spans.append((match.start(), match.end(), _SOMETHING_ELSE))
    return folded(Piece(text, disjoint(spans), allow("O"), "en"))


_MONTH = (
    r"\b(?:[Jj]an|[Ff]eb|[Mm]ar|[Aa]pr|[Mm]ay|[Jj]un|[Jj]ul|[Aa]ug|[Ss]ep|[Oo]ct|[Nn]ov|[Dd]ec)[a-z]*\b"
    r"|\b[A-Za-z]+days?\b"
)
_NUMBERS = re.compile(rf"\S*[\d@/]\S*|{_MONTH}")
_DATES = re.compile(
    rf"\d+/\d+\S*|\b(?:19|20)\d\d\b|\b\d+(?:th|st|nd|rd)?,?(?= \d{{4}})|{_MONTH}[ ]?\d*"
)
_CAPITALS = re.compile(r"(?<![.!?:] )(?<!\n)(?<!^)\b[A-Z][A-Za-z]+\b")
_WORD = re.compile(r"[^\W\d_]{3,}|\d+")


def loosened(piece: Piece, found: Iterable[re.Match[str]], labels: str) -> Piece:
    """``piece`` where the stretches ``found`` outside of spans may have any of ``labels``."""
    bits, taken, k = allow(labels), piece.spans, 0
    free = []
    for match in found:
        while k < len(taken) and taken[k][1] <= match.start():
            k += 1
        if k == len(taken) or taken[k][0] >= match.end():
            free.append((match.start(), match.end(), bits))
    if not free:
        return piece
    return Piece(piece.text, disjoint([*taken, *free]), piece.rest, piece.lang)


def listed(text: str, words: frozenset[str]) -> Iterator[re.Match[str]]:
    """Where one of ``words`` stands, in any case."""
    return (m for m in _WORD.finditer(text) if m[0].lower() in words)


def words_of(pieces: list[Piece], label: str, share: int = 5) -> frozenset[str]:
    """Words that may be ``label``, at least one time in ``share``, where ``pieces`` label it."""
    inside: Counter[str] = Counter()
    everywhere: Counter[str] = Counter()
    for piece in pieces:
        everywhere.update(m[0].lower() for m in _WORD.finditer(piece.text))
        for start, end, bits in piece.spans:
            if bits & allow(label):
                inside.update(m[0].lower() for m in _WORD.finditer(piece.text[start:end]))
    return frozenset(
        w for w, n in inside.items() if n > 1 and share * n > everywhere[w] and not w.isdigit()
    )


def training(generated: list[Piece]) -> dict[str, list[Piece]]:
    """Every piece that is trained on, by corpus; ``generated`` among them."""
    outside = allow("O")
    tab = [piece(r, _tab, outside) for r in rows("tab144") if r["split"] == "train"]
    spanish = [piece(r, _meddocan, outside) for r in rows("meddocan") if r["split"] == "train"]
    words = words_of(tab + spanish + generated[:10_000], "DEMOGRAPHIC")
    crowd = {
        "wnut17": [piece(r, _crowd, outside) for r in rows("wnut17") if r["split"] == "train"],
        "btc": [piece(r, _crowd, outside) for r in rows("btc")],
        "wikigold": [piece(r, _crowd, outside) for r in rows("wikigold") if half(r)],
        "sec": [piece(r, _crowd, outside) for r in rows("sec-filings")],
    }
    found = {
        name: [loosened(p, _NUMBERS.finditer(p.text), _UNNAMED) for p in v]
        for name, v in crowd.items()
    }
    for name in ("clinical", "legal", "adversarial"):  # some of their values are not labelled
        pieces = [piece(r, _anon, outside) for r in rows(f"pii-anon-{name}") if half(r)]
        names = words_of(pieces, "PERSON")
        pieces = [loosened(p, _NUMBERS.finditer(p.text), _UNNAMED) for p in pieces]
        pieces = [loosened(p, listed(p.text, names), "O PERSON") for p in pieces]
        found[f"anon-{name}"] = [
            loosened(p, _CAPITALS.finditer(p.text), "O REGION LOCATION AUTHORITY ORGANIZATION")
            for p in pieces
        ]
    notes = [_notes(r) for r in rows("aci-bench-notes") if r["split"] == "train"]
    found["notes"] = [
        loosened(p, _DATES.finditer(p.text), "O DATE_TIME YEAR DEMOGRAPHIC AGE") for p in notes
    ]
    found["tab144"] = [loosened(p, _CAPITALS.finditer(p.text), "O AUTHORITY") for p in tab]
    found["generated"] = generated
    found = {
        name: [loosened(p, listed(p.text, words), "O DEMOGRAPHIC") for p in pieces]
        for name, pieces in found.items()
    }
    return found | {"meddocan": spanish}
