"""Pieces made different on the fly, so that the model learns contexts and shapes, not the corpora.

Names are replaced word by word, consistently in a text; letters lose or change their case; lines
are broken and joined; letters are mistyped; texts are cut. Spans move along.
"""
# ruff: noqa: PLR2004 - chances and sizes, each used once

from __future__ import annotations

import re
from random import Random

from deploy.models.ner.pieces import BIT, OUTSIDE, Piece, allow
from deploy.models.ner.words import Words

REWORD, REWORDED = 0.35, (0.06, 0.15, 0.3)  # texts whose words change, and the share that does
MASKED = 0.08  # texts that are read as they are after masking
_WORD = re.compile(r"[^\W\d_]{3,}")
_PERSON = allow("PERSON")
_PLACES = (allow("LOCATION"), allow("LOCATION REGION"))
_KEPT = frozenset(
    [
        "mrs",
        "miss",
        "herr",
        "frau",
        "mme",
        "mlle",
        "monsieur",
        "madame",
        "sra",
        "srta",
        "don",
        "doña",
        "señor",
        "señora",
        "van",
        "von",
        "der",
        "den",
        "del",
        "las",
        "los",
        "and",
        "dos",
        "das",
        "bin",
        "ibn",
        "jr",
        "iii",
        "the",
    ]
)
_STREETS = re.compile(
    r"(?i)street|road|avenue|calle|plaza|drive|lane|court|apt|suite|north|south|east|west|county|"
    r"stra(ß|ss)e|rue|platz|weg|box|floor|room"
)


class Names:
    """Words of names and of places to put in others' stead, and strings nobody has seen."""

    def __init__(self, pieces: list[Piece]) -> None:
        people: set[str] = set()
        places: set[str] = set()
        for piece in pieces:
            for start, end, bits in piece.spans:
                value = piece.text[start:end]
                if bits == _PERSON:
                    words = [w for w in _WORD.findall(value) if w.lower() not in _KEPT]
                    people.update(w.capitalize() for w in words if w[1:].islower() or w.isupper())
                elif bits in _PLACES and _WORD.fullmatch(value) and value[0].isupper():
                    places.add(value.capitalize() if value.isupper() else value)
        self.people = sorted(people)
        self.places = sorted(places)

    def person(self, rng: Random) -> str:
        word = rng.choice(self.people)
        if rng.random() < 0.35:
            other = rng.choice(self.people)
            word = word[: max(2, len(word) // 2)] + other[len(other) // 2 :].lower()
        return word

    def place(self, rng: Random) -> str:
        word = rng.choice(self.places)
        if rng.random() < 0.25:
            other = rng.choice(self.places)
            word = word[: max(2, len(word) // 2)] + other[len(other) // 2 :].lower()
        return word


def _cased_like(word: str, model: str) -> str:
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word.lower() if model.islower() else word


def renamed(piece: Piece, names: Names, rng: Random) -> Piece:
    """Other names for the persons, and other places, each word always by the same other word."""
    chosen: dict[str, str] = {}
    people, places = rng.random() < 0.8, rng.random() < 0.4

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        key = word.lower()
        if key in _KEPT or (not word[0].isupper() and not word.islower()):
            return word
        if key not in chosen:
            chosen[key] = names.person(rng)
        return _cased_like(chosen[key], word)

    def swap_place(match: re.Match[str]) -> str:
        word = match[0]
        if not word[0].isupper() or _STREETS.search(word):
            return word
        if word.lower() not in chosen:
            chosen[word.lower()] = names.place(rng)
        return _cased_like(chosen[word.lower()], word)

    edits = []
    for start, end, bits in piece.spans:
        value = piece.text[start:end]
        if bits == _PERSON and people and names.people:
            edits.append((start, end, _WORD.sub(swap, value)))
        elif bits in _PLACES and places and names.places and len(value) < 40:
            edits.append((start, end, _WORD.sub(swap_place, value)))
    return _edited(piece, edits)


def _recased(text: str, rng: Random) -> str:
    kind = rng.random()
    if kind < 0.45:
        changed = text.lower()
    elif kind < 0.8:
        changed = text.upper()
    elif kind < 0.9:
        changed = text.title()
    else:
        changed = text.swapcase() if rng.random() < 0.2 else text.capitalize()
    return changed if len(changed) == len(text) else text


def _edited(piece: Piece, edits: list[tuple[int, int, str]]) -> Piece:
    """``piece`` with stretches replaced; ``edits`` ascend and do not cross the ends of spans."""
    parts, at = [], 0
    moves: list[tuple[int, int]] = []
    shift = 0
    for start, end, new in edits:
        parts += [piece.text[at:start], new]
        shift += len(new) - (end - start)
        moves.append((end, shift))
        at = end
    parts.append(piece.text[at:])

    def moved(place: int) -> int:
        total = 0
        for end, amount in moves:
            if end > place:
                break
            total = amount
        return place + total

    spans = tuple((moved(a), moved(b), c) for a, b, c in piece.spans)
    return Piece("".join(parts), spans, piece.rest, piece.lang)


def _typos(piece: Piece, rng: Random) -> Piece:
    """A few letters swapped, dropped or doubled inside words."""
    edits = []
    for match in _WORD.finditer(piece.text):
        if rng.random() < 0.06:
            at = rng.randrange(match.start() + 1, match.end() - 1)
            pair = piece.text[at : at + 2]
            new = rng.choice(
                (pair[::-1], pair[:1], pair[:1] + pair, pair[:1] + rng.choice("aeinrst"))
            )
            inside = all(
                b <= at or a >= at + 2 or (a <= at and b >= at + 2) for a, b, _ in piece.spans
            )
            if inside:
                edits.append((at, at + 2, new))
    return _edited(piece, edits) if edits else piece


def _spaced(piece: Piece, rng: Random) -> Piece:
    """Line breaks lost or found, or full stops and commas left out."""
    kind = rng.random()
    edits = []
    if kind < 0.35:
        edits = [(m.start(), m.end(), " ") for m in re.finditer(r"\s*\n\s*", piece.text)]
    elif kind < 0.7:
        edits = [
            (m.start(), m.end(), "\n") for m in re.finditer(" ", piece.text) if rng.random() < 0.06
        ]
    else:
        edits = [(m.start(), m.end(), "") for m in re.finditer(r"[.,;](?=\s|$)", piece.text)]
    ends = {p for a, b, _ in piece.spans for p in (a, b)}
    edits = [e for e in edits if not any(e[0] <= p <= e[1] for p in ends)]
    return _edited(piece, edits) if edits else piece


def cut(piece: Piece, rng: Random, limit: int) -> Piece:
    """A stretch of at most about ``limit`` characters, between two words, no span cut."""
    if len(piece.text) <= limit:
        return piece
    size = rng.randrange(limit // 4, limit)
    start = rng.randrange(0, max(1, len(piece.text) - size // 2))
    if rng.random() < 0.6:
        start = piece.text.rfind("\n", 0, start) + 1
    else:
        start = piece.text.rfind(" ", 0, start) + 1
    stop = piece.text.find(" ", min(len(piece.text), start + size))
    stop = len(piece.text) if stop < 0 else stop
    for a, b, _ in piece.spans:
        if a < start < b:
            start = b
        if a < stop < b:
            stop = b
    spans = tuple((a - start, b - start, c) for a, b, c in piece.spans if a >= start and b <= stop)
    return Piece(piece.text[start:stop], spans, piece.rest, piece.lang)


def varied(  # noqa: PLR0913 - what is varied, and with what
    piece: Piece,
    names: Names,
    rng: Random,
    *,
    rename: float,
    limit: int,
    words: Words | None = None,
) -> Piece:
    piece = cut(piece, rng, limit)
    if rng.random() < rename:
        piece = renamed(piece, names, rng)
    if words and rng.random() < REWORD:
        edits = words.edits(piece, rng, rng.choice(REWORDED))
        piece = _edited(piece, edits) if edits else piece
    if rng.random() < 0.05:
        piece = _typos(piece, rng)
    if rng.random() < 0.06:
        piece = _spaced(piece, rng)
    if rng.random() < MASKED:
        return masked(piece, rng)
    if rng.random() < 0.08:
        piece = Piece(_recased(piece.text, rng), piece.spans, piece.rest, piece.lang)
    return piece


_NUMBERED = (
    *("ID_NUMBER", "MEDICAL_RECORD", "ACCOUNT_NUMBER", "CASE_NUMBER", "HEALTH_PLAN", "US_SSN"),
    *("DEVICE_ID", "LICENSE", "NATIONAL_ID"),
)


def masked(piece: Piece, rng: Random) -> Piece:
    """Placeholders in the place of some or all spans: what the tripwire reads.

    They are nothing to be found, and what stands beside them is what it was.
    """
    share = rng.choice((0.5, 1.0, 1.0))
    edits, spans = [], []
    numbers: dict[str, int] = {}
    for start, end, bits in piece.spans:
        found = bits
        if not bits & OUTSIDE and rng.random() < share:
            label = rng.choice([name for name, bit in BIT.items() if bits & bit])
            label = rng.choice(_NUMBERED) if label == "ID_NUMBER" else label
            number = numbers.setdefault(piece.text[start:end].casefold(), len(numbers) + 1)
            form = "" if rng.random() < 0.85 else f"_{rng.randrange(2, 4)}"
            edits.append((start, end, f"<{label}_{number}{form}>"))
            found = OUTSIDE
        spans.append((start, end, found))
    return _edited(Piece(piece.text, tuple(spans), piece.rest, piece.lang), edits)


def loose(piece: Piece) -> bool:
    """Whether ``piece`` says nothing for certain."""
    return all(bits & OUTSIDE for _, _, bits in piece.spans)
