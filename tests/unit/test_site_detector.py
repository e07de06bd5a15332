"""A site's own knowledge at work: what its lists find, spare and must not spare."""

from __future__ import annotations

import pytest

from gateway.app import build_detector, protector
from gateway.clock import utc_now
from gateway.domain import Finding
from gateway.errors import DataFileError
from gateway.pii.site.allow import spare
from gateway.pii.site.detector import check, try_out
from gateway.pii.site.files import load_site
from gateway.pii.site.words import Case, WordList, Words
from gateway.settings import RECOGNIZERS_DIR, Settings

FILE = """\
name: quorvex
version: 2.1
patterns:
  - id: visit
    type: MEDICAL_RECORD
    pattern: '\\bQX-[0-9]{6}\\b'
    score: 0.9
lists:
  - id: staff
    type: PERSON
    score: 0.9
    file: staff.txt
deny:
  - id: projects
    type: ID_NUMBER
    entries: [Heron, Blue Kestrel]
allow:
  - id: own
    entries: [Quorvex Hospital, Zantrex, 617-555-0100, 123-45-6788, 4111 1111 1111 1111]
cases:
  - text: 'He has [[MEDICAL_RECORD|QX-123456]], from [[PERSON|Lindqvistova, Bo]].'
  - text: 'Project [[ID_NUMBER|heron]] is late.'
  - text: 'Zantrex 20 mg twice daily'
"""
STAFF = "Bo Lindqvistova\nHope\nAnn-Sofie D'Arquoise\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder = home / RECOGNIZERS_DIR
    folder.mkdir(mode=0o700)
    for name, text in (("quorvex.yaml", FILE), ("staff.txt", STAFF)):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o600)
    return home


@pytest.fixture(scope="module")
def site(home):
    return load_site(home / RECOGNIZERS_DIR)


@pytest.fixture(scope="module")
def detector(site):
    return build_detector(Settings(), site)


def by_lists(site, text):
    """What the lists alone find, the longest of a place first."""
    (words,) = [r for r in site.recognizers if isinstance(r, Words)]
    data = text.encode()
    hits = [c for c in words.find(data) if c is not None]
    return [(c.entity_type, data[c.start : c.end].decode()) for c in hits]


# text -> what the lists find in it
FINDS = {
    "seen by Bo Lindqvistova": [("PERSON", "Bo Lindqvistova")],
    "seen by Lindqvistova, Bo, and Lindqvistova Bo": [("PERSON", "Lindqvistova, Bo")],
    "BO LINDQVISTOVA'S list; bo-lindqvistova": [
        ("PERSON", "BO LINDQVISTOVA"),
        ("PERSON", "bo-lindqvistova"),
    ],
    "the Lindqvistovas; Bo Lindqvistovas": [("PERSON", "Bo Lindqvistova")],
    "ask ann sofie d'arquoise now": [("PERSON", "ann sofie d'arquoise")],
    "\u00fcber Bo Lindqvistova \u00fcber Hope": [("PERSON", "Bo Lindqvistova"), ("PERSON", "Hope")],
    "we hope that": [],
    "nurse Hope went home": [("PERSON", "Hope")],
    "xBo Lindqvistova9 abo Lindqvistova": [],
    "Bo. Then Lindqvistova; Bo\n\nLindqvistova": [],
    "the blue-kestrel file, Herons": [("ID_NUMBER", "blue-kestrel"), ("ID_NUMBER", "Heron")],
    "": [],
}


@pytest.mark.parametrize(("text", "expected"), FINDS.items(), ids=range(len(FINDS)))
def test_what_the_lists_name_is_found_in_its_place(site, text, expected):
    """Any case where no ordinary word is meant, whole words, no genitive, names in both orders."""
    assert by_lists(site, text) == expected


# text, type and place of a finding -> what is left of it
SPARED = [
    ("at Quorvex Hospital today", "PERSON", "Quorvex", []),
    ("at QUORVEX HOSPITAL's door", "ORGANIZATION", "QUORVEX HOSPITAL's", []),
    ("at Quorvex today", "PERSON", "Quorvex", ["Quorvex"]),
    ("took Zantrex daily", "PERSON", "Zantrex", []),
    ("Mr. Zantrex came", "PERSON", "Mr. Zantrex", ["Mr. Zantrex"]),
    ("Ann Quorvex Hospital came", "PERSON", "Ann Quorvex", ["Ann Quorvex"]),
    ("Quorvex Hospital, Lowmere", "LOCATION", "Quorvex Hospital, Lowmere", ["Lowmere"]),
    ("the Lowmere Quorvex Hospital", "ORGANIZATION", "Lowmere Quorvex Hospital", ["Lowmere"]),
    ("Zantrex Trust", "ORGANIZATION", "Zantrex Trust", ["Zantrex Trust"]),
    ("call 617-555-0100", "PHONE_NUMBER", "617-555-0100", []),
    ("ssn 123-45-6788", "US_SSN", "123-45-6788", ["123-45-6788"]),
    ("x 4111 1111 1111 1111", "ID_NUMBER", "4111 1111 1111 1111", ["4111 1111 1111 1111"]),
    ("key Zantrex", "SECRET", "Zantrex", ["Zantrex"]),
    ("at Quor\u200bvex Hospital", "ORGANIZATION", "Quor\u200bvex Hospital", []),
]


@pytest.mark.parametrize(("text", "kind", "span", "left"), SPARED, ids=range(len(SPARED)))
def test_an_allowed_entry_is_spared_where_it_stands_whole(site, text, kind, span, left):
    """What stands inside the entry goes; longer names, sound numbers and secrets stay."""
    start = text.index(span)
    finding = Finding(kind, start, start + len(span), 0.9, "ner")
    assert [text[f.start : f.end] for f in spare(text, [finding], site.allowed)] == left


@pytest.mark.parametrize("source", ["site-deny:a/b", "a+checksum"])
def test_what_is_denied_or_sound_is_never_spared(site, source):
    """Strictest wins."""
    finding = Finding("PERSON", 0, 7, 1.0, source)
    assert spare("Zantrex", [finding], site.allowed) == (finding,)


def test_a_denied_entry_is_of_its_type_whatever_else_is_found_there(detector):
    """A person of that name is masked as what the deny list says; the rest stays a finding."""
    text = "Mrs. Heron, SSN 078-05-1120"
    (findings,) = detector.detect([text])
    assert ("ID_NUMBER", "Heron") in [(f.entity_type, text[f.start : f.end]) for f in findings]
    assert any(text[f.start : f.end] == "078-05-1120" for f in findings)


def test_lists_read_what_is_disguised(detector):
    """Offsets are those of the text as it was written."""
    text = "for Bo\u200b Lindqvistova"
    (findings,) = detector.detect([text])
    assert [(f.start, f.end) for f in findings] == [(4, len(text))]


def test_the_digest_is_the_sites_own(detector):
    """A record tells which files were in force."""
    assert detector.digest != detector._detector.digest
    assert len(detector.digest) == 64
    assert detector.entity_types >= {"PERSON", "ID_NUMBER"}


def test_its_own_cases_hold(site, detector):
    """The file above is right, so nothing is said."""
    assert try_out(site.files[0], detector) == []
    check(site, detector)


CASES = {
    # cases of the file -> words of a fault
    "- text: 'He has [[PERSON|QX]]-123456 now'": "7 to 9 are not found as PERSON",
    "- text: 'He has [[PASSPORT|QX-123456]] now'": "7 to 16 are not found as PASSPORT, but as",
    "- text: 'He has QX-123456 now'": "are not marked so",
    "- text: 'nothing'": "no case shows what 'visit' is for",
}


@pytest.mark.parametrize(("cases", "fault"), CASES.items(), ids=range(len(CASES)))
def test_a_case_that_fails_is_told_without_its_text(tmp_path, detector, cases, fault):
    """Its place and offsets are named, nothing of the text."""
    site = load_site(write(tmp_path, cases))
    with pytest.raises(DataFileError) as caught:
        check(site, detector)
    assert fault in caught.value.message
    assert str(tmp_path) in caught.value.where
    assert "QX" not in caught.value.message


def test_a_case_that_fails_keeps_the_gateway_from_starting(tmp_path):
    """What masks is not built."""
    write(tmp_path, next(iter(CASES)))
    with pytest.raises(DataFileError, match="not found as PERSON"):
        protector(Settings(), tmp_path, utc_now)


def write(home, cases):
    folder = home / RECOGNIZERS_DIR
    folder.mkdir(mode=0o700)
    path = folder / "a.yaml"
    path.write_text(f"{FILE[: FILE.index('lists:')]}cases:\n  {cases}\n")
    path.chmod(0o600)
    return folder


def test_ten_thousand_entries_are_found_in_their_places():
    """However long the list, each entry is found at its place and nothing else is."""
    entries = tuple(f"Word{i:05d}x Tail{i:05d}x" for i in range(10_000))
    lists = Words([WordList("site:a/b", "PERSON", 0.9, entries, Case.ANY)])
    text = "a Word00017x Tail00017x b word09999x-tail09999x c Word00017x Tail00018x"
    hits = [c for c in lists.find(text.encode()) if c is not None]
    assert [text[c.start : c.end] for c in hits] == [
        "Word00017x Tail00017x",
        "word09999x-tail09999x",
    ]
