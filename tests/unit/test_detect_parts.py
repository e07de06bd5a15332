"""The parts of detection: checksums, folding, loosening, overlaps, the rules' files."""

from __future__ import annotations

import subprocess
import sys

import pytest
import re2
import regex

from gateway.domain import Finding
from gateway.errors import SettingsError
from gateway.pii.presidio.imports import import_presidio
from gateway.pii.presidio.loosen import loosen
from gateway.pii.presidio.registry import USES, build_registry
from gateway.pii.presidio.resolve import resolve
from gateway.pii.recognizers import load
from gateway.pii.recognizers.checks import CHECKS
from gateway.pii.recognizers.folding import Folded, fold
from gateway.pii.recognizers.load import Candidate, load_rules
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES

CHECKSUMS = [
    ("luhn", "4111 1111 1111 1111", True),
    ("luhn", "4111 1111 1111 1112", False),
    ("luhn", "79927398713", True),
    ("luhn", "7", False),
    ("npi", "1234567893", True),
    ("npi", "1234567890", False),
    ("npi", "123456789", False),
    ("dea", "AB1234563", True),
    ("dea", "AB1234564", False),
    ("dea", "AB12", False),
    ("vin", "1HGCM82633A004352", True),
    ("vin", "1M8GDM9AXKP042788", True),
    ("vin", "1HGCM82633A004353", False),
    ("vin", "IOQ", False),
    ("iban", "DE89 3704 0044 0532 0130 00", True),
    ("iban", "GB82 WEST 1234 5698 7654 32", True),
    ("iban", "DE88 3704 0044 0532 0130 00", False),
    ("france", "2 55 08 14 168 025 38", True),
    ("france", "2 55 08 14 168 025 39", False),
    ("france", "", False),
]


@pytest.mark.parametrize(("name", "value", "expected"), CHECKSUMS)
def test_checksums(name, value, expected):
    """Published numbers pass, and with one digit changed they do not."""
    assert CHECKS[name](value) is expected


FOLDS = [
    ("plain", "plain"),
    ("\uff11\uff12\uff13", "123"),
    ("\u0663", "3"),
    ("a\u200bb\u00adc\ufeff", "abc"),
    ("a\u00a0b\u2009c", "a b c"),
    ("\u201cq\u201d \u2019 \u2013", '"q" \' -'),
    ("n\u00ba m\u00b2", "n\u00ba m\u00b2"),
    ("Müller \u5f20", "Müller \u5f20"),
    ("\ud800x", "\ufffdx"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), FOLDS)
def test_folding(text, expected):
    """What nobody sees is dropped, what looks like ASCII becomes it, the rest stays."""
    assert fold(text).text == expected


LOOSE = [
    r"\b\d{3}\b",
    r"(?<![\w:])::(?:[0-9a-f]{1,4}:)*[0-9a-f](?![\w:])",
    r"\b[1-9]\d{2}([- ])\d{3}\1\d{3}\b",
    r"(?<=\b(?:claim|rx)(?:\s*(?:#|no\.?)\s*:?\s*|\s+))(?:A-?)?\d{6}\b",
    r"\b(?=[A-Z0-9-]{6,20}\b)[A-Z]{1,5}-?[A-Z0-9]{5,14}\b",
    r"[^\]\s()\\]+\w[\w.]",
]


@pytest.mark.parametrize("pattern", LOOSE)
def test_loosening_matches_at_least_as_much(pattern):
    """Wherever the strict pattern matches, the loose one does."""
    texts = [
        "123",
        "a 123-456-789 b",
        "::1",
        "claim no.: 123456",
        "rx A-123456",
        "ABC-12345",
        "é.x",
    ]
    loose = re2.compile(loosen(pattern))
    strict = regex.compile(pattern)
    assert [t for t in texts if strict.search(t) and not loose.search(t)] == []
    assert any(strict.search(t) for t in texts)


def test_loosening_refuses_what_it_cannot_read():
    """A pattern whose parentheses do not balance is an error, not a prefilter."""
    with pytest.raises(ValueError, match="unbalanced"):
        loosen("(a")


OVERLAPS = [
    ("longest first", [("PERSON", 0, 5, 0.9), ("US_SSN", 0, 8, 0.1)], [("US_SSN", 0, 8)]),
    ("then score", [("PERSON", 0, 5, 0.8), ("US_SSN", 0, 5, 0.9)], [("US_SSN", 0, 5)]),
    ("then type", [("US_SSN", 0, 5, 0.9), ("PERSON", 0, 5, 0.9)], [("PERSON", 0, 5)]),
    (
        "what a loser covers beyond the winner stays found",
        [("PERSON", 0, 6, 0.9), ("US_SSN", 4, 14, 0.9)],
        [("PERSON", 0, 4), ("US_SSN", 4, 14)],
    ),
    ("edges are trimmed", [("PERSON", 8, 15, 0.9)], [("PERSON", 10, 15)]),
    (
        "what overlaps within a type is one",
        [("PERSON", 0, 6, 0.9), ("PERSON", 4, 8, 0.9)],
        [("PERSON", 0, 8)],
    ),
    (
        "weak types take what no strong type covers",
        [("REGION", 0, 8, 0.9), ("LOCATION", 2, 4, 0.3)],
        [("REGION", 0, 2), ("LOCATION", 2, 4), ("REGION", 4, 8)],
    ),
    (
        "a number of the model's takes the kind of the number in it",
        [("ID_NUMBER", 0, 8, 0.9, "ner"), ("LICENSE", 2, 8, 0.3)],
        [("LICENSE", 0, 8)],
    ),
    (
        "a number that a rule named keeps its name",
        [("ID_NUMBER", 0, 8, 0.9), ("ZIP_CODE", 0, 8, 0.3)],
        [("ID_NUMBER", 0, 8)],
    ),
]


@pytest.mark.parametrize(("candidates", "expected"), [row[1:] for row in OVERLAPS])
def test_overlaps(candidates, expected):
    """Findings never overlap, and no letter that a candidate covered is lost."""
    data = b"abcdefgh  klmno"
    found = [Candidate(*row, *["s"][: 5 - len(row)]) for row in candidates]
    for order in (found, found[::-1]):
        result = resolve(order, Folded(data.decode()), data)
        assert [(f.entity_type, f.start, f.end) for f in result] == expected


def test_offsets_are_of_the_original_text():
    """Bytes of the folded text become characters of the original, dropped ones included."""
    text = "né\u200b M\u200br. é"
    folded = fold(text)
    data = folded.text.encode()
    start = data.index(b"M")
    (finding,) = resolve([Candidate("PERSON", start, start + 2, 0.5, "s")], folded, data)
    assert finding == Finding("PERSON", 4, 7, 0.5, "s")
    assert text[4:7] == "M\u200br"


def test_every_recognizer_of_presidio_is_used():
    """A recognizer that Presidio has and the table forgot would be a silent gap."""
    predefined = import_presidio()
    from presidio_analyzer import PatternRecognizer  # noqa: PLC0415 (after the guarded import)

    ours = {use.recognizer for use in USES}
    theirs = {
        name
        for name in dir(predefined)
        if isinstance(getattr(predefined, name), type)
        and issubclass(getattr(predefined, name), PatternRecognizer)
    }
    assert theirs - ours == set()
    assert {use.entity_type for use in USES} <= set(ENTITY_TYPES)
    assert len(build_registry()) > len(USES)


def test_rules_load_once_and_alike():
    """Ids are unique, types are of the vocabulary, and the digest is of the files."""
    rules, digest = load_rules()
    assert len({r.id for r in rules}) == len(rules)
    assert load_rules()[1] == digest
    assert {r.entity_type for r in rules} <= set(ENTITY_TYPES)


BAD_RULES = [
    {"id": "x", "type": "NOBODY", "pattern": "a", "score": 1.0},
    {"id": "x", "type": "PERSON", "pattern": "(?=a)", "score": 1.0},
    {"id": "x", "type": "PERSON", "pattern": "a", "score": 1.0, "chek": "luhn"},
    {"id": "x", "type": "PERSON", "pattern": "a", "score": 1.0, "check": "lunh"},
    {"id": "x", "type": "PERSON", "pattern": "<<NONE>>", "score": 1.0},
]


@pytest.mark.parametrize("row", BAD_RULES)
def test_a_rule_with_a_mistake_is_refused(row):
    """A recognizer that would silently do nothing is an error at start."""
    with pytest.raises(SettingsError):
        load._rule(row, {}, frozenset())


def test_importing_the_detector_leaves_the_downloader_out():
    """In a fresh interpreter a detector loads no part of spaCy's command line, nor at import."""
    code = (
        "import sys\n"
        "from gateway.pii.presidio.detector import PresidioDetector\n"
        "assert 'presidio_analyzer' not in sys.modules\n"
        "assert PresidioDetector().detect(['Mr. Smith'])[0]\n"
        "assert not [m for m in sys.modules if m.startswith(('spacy.cli', 'weasel'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
