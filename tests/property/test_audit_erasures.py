"""Erasure for any subjects: what is theirs goes, what is others' stays, and proofs hold."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.blind import SUBJECT, normalised, token
from audit.erase import Request, erase
from audit.errors import MissingError
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.ledger import Options
from audit.record import Entry, parse
from audit.seal import open_entry
from audit.subjects import Subject, look_up
from audit.verify import Code, verify
from tests.auditkit import intent, make_home, quick_folder

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=12)
SUBJECTS = st.sampled_from(["MRN 1", "mrn-1", "MRN 2", "\u017b\u00f3\u0142w", "\ud800", "--"])


def readable(home):
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    found = {}
    with open_evidence(home.path) as evidence:
        for item in evidence.items():
            record = parse(item.body)
            if record.header.event == "intent":
                try:
                    opened = open_entry(record, keys.key, home.private)
                except MissingError:
                    continue
                found[item.index] = bool(opened.text.get("texts")), len(opened.values)
        code = verify(evidence).code
    keys.close()
    return found, code


@given(st.lists(SUBJECTS, min_size=1, max_size=6), SUBJECTS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_subject_goes_and_the_others_stay(subjects, erased):
    """By any spelling, whatever else is on record; the index then knows exactly the others."""
    with quick_folder() as folder:
        home = make_home(folder / "home")
        with home.ledger(Options(index=True)) as ledger:
            ledger.submit(Entry("boot")).result()
            entries = [intent(n, subject=subject) for n, subject in enumerate(subjects)]
            places = [ledger.submit(entry).result().index for entry in entries]
            before, _ = readable(home)
            done = erase(ledger, home.private, Request(Subject(erased), "17(1)(d)"))
            mine = {
                place
                for place, subject in zip(places, subjects, strict=True)
                if normalised(subject) == normalised(erased)
            }
            with ledger.reading() as reader:
                for subject in set(subjects):
                    indexed, _ = look_up(reader, ledger.keys.key, home.private, SUBJECT, subject)
                    same = {
                        place
                        for place, other in zip(places, subjects, strict=True)
                        if normalised(other) == normalised(subject)
                    }
                    assert set(indexed) == same - mine
        after, code = readable(home)
        assert set(done.erased) == mine
        assert code is Code.UNANCHORED
        for place in places:
            assert after[place] == ((False, 0) if place in mine else before[place])


@given(TEXTS, TEXTS, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_tokens_are_equal_for_equal_identifiers_under_one_key_only(one, other, key, later):
    """Normalising is stable; a token says nothing across kinds or days."""
    assert normalised(normalised(one)) == normalised(one)
    assert token(key, SUBJECT, one) == token(key, SUBJECT, normalised(one))
    assert (token(key, SUBJECT, one) == token(key, SUBJECT, other)) == (
        normalised(one) == normalised(other)
    )
    assert token(key, SUBJECT, one) != token(key, "matter", one)
    assert key == later or token(key, SUBJECT, one) != token(later, SUBJECT, one)
