"""Subjects: found, reported, erased, held, expired. Real files; the auditor's key outside them."""

from __future__ import annotations

import json
import shutil

import pytest

from audit import blind
from audit.accounting import Kind, as_html, as_text, report
from audit.erase import LEGAL_CLAIMS, LEGAL_OBLIGATION, Request, erase, plan
from audit.errors import MissingError, RecordError
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.ledger import Options
from audit.record import Entry, parse
from audit.replay import ERASED, tag
from audit.retention import (
    Expirer,
    expire,
    holds,
    refresh_holds,
    release_hold,
    set_hold,
    trust_clock,
)
from audit.seal import open_entry
from audit.subjects import Search, Subject, bodies, index_keys, look_up
from audit.verify import Code, verify
from tests.auditkit import intent, make_home, outcome, rid

INDEXED = Options(index=True)
ONE, TWO = "MRN 00-17", "MRN 00-18"


def asked(number, subject, **changes):
    """A request about a subject: an intent and its outcome, which name nobody in the open."""
    fields = {
        "subject": subject,
        "sealed": {"principal": "ward-7", "matter": changes.pop("matter", None)},
    }
    return [intent(number, **(fields | changes)), Entry(
        "outcome", rid(number), {"status": 200, "finish": "stop"}, {"principal": "ward-7"},
        {"answer": f"Seen, visit {number}."}, subject=subject,
    )]  # fmt: skip


def append(ledger, *entries):
    return [future.result().index for future in [ledger.submit(entry) for entry in entries]]


@pytest.fixture
def home(tmp_path):
    """Records 0 to 7: a key of the index, two requests about ONE, one about TWO, one of nobody."""
    made = make_home(tmp_path / "home")
    with made.ledger(INDEXED) as ledger:
        append(ledger, Entry("boot"))
        append(ledger, *asked(1, ONE, matter="A-1"), *asked(2, TWO), *asked(3, "mrn 0017"))
        append(ledger, intent(4), outcome(4))
    return made


def opened(home, index):
    with home.ledger() as ledger, ledger.reading() as reader:
        return open_entry(parse(reader.row(index).body), ledger.keys.key, home.private)


def readable(home, keystore=None):
    """Every text that opens, by record."""
    keys = KeyStore.open(keystore or home.path / "keystore.db", readonly=True)
    texts = {}
    with open_evidence(home.path) as evidence:
        for item in evidence.items():
            try:
                done = open_entry(parse(item.body), keys.key, home.private)
            except MissingError:
                continue
            texts[item.index] = [*done.text.get("texts", {}).values(), *(
                v for g in done.values for v in g["values"].values()
            )]  # fmt: skip
    keys.close()
    return texts


def about(home, identifier, *also):
    with home.ledger() as ledger, ledger.reading() as reader:
        search = Search(ledger.keys.key, home.private)
        return list(search.of_subject(bodies(reader), Subject(identifier, also))), search


def verdict(home):
    with open_evidence(home.path) as evidence:
        return verify(evidence)


def erased(home, identifier, *also):
    with home.ledger(INDEXED) as ledger:
        request = Request(Subject(identifier, also), "17(1)(a)", "case 9")
        return erase(ledger, home.private, request)


# --- the index --------------------------------------------------------------------------------


def test_the_index_finds_a_subject_in_any_spelling_over_all_days(home):
    """Each day has a key of its own; the auditor asks under all of them."""
    for day in (1, 2):
        home.clock.forward(days=1)
        with home.ledger(INDEXED) as ledger:
            append(ledger, *asked(10 + day, ONE))
    with home.ledger() as ledger, ledger.reading() as reader:
        keys, _ = index_keys(reader, ledger.keys.key, home.private)
        assert len(set(keys)) == 3
        found, _ = look_up(reader, ledger.keys.key, home.private, blind.SUBJECT, "mrn-0017")
        assert found == tuple(h.index for h in about(home, ONE)[0])
        assert len(found) == 8
        matter, _ = look_up(reader, ledger.keys.key, home.private, blind.MATTER, "a 1")
        assert matter == (2,)
        assert look_up(reader, ledger.keys.key, home.private, blind.SUBJECT, "A-1") == ((), 0)


def test_what_lies_on_disk_tests_no_name(home):
    """No file of the home holds a key of the index, that of the running day included."""
    with home.ledger(INDEXED) as ledger:
        append(ledger, *asked(5, ONE))
        with ledger.reading() as reader:
            keys, _ = index_keys(reader, ledger.keys.key, home.private)
        assert len(keys) == 2
        for path in home.path.iterdir():
            data = path.read_bytes()
            assert not [k for k in keys if k in data or k.hex().encode() in data], path.name


def test_record_numbers_are_indexed_and_stand_nowhere(home):
    """An identifier beside the subject finds the record and is in no sealed part."""
    with home.ledger(INDEXED) as ledger:
        (_, index) = append(ledger, Entry("boot"), intent(7, identifiers=["Case 4711"]))
        with ledger.reading() as reader:
            found, _ = look_up(reader, ledger.keys.key, home.private, blind.SUBJECT, "case-4711")
    assert len(found) == 1
    assert found[0] == index
    assert "4711" not in str(opened(home, found[0]))


def test_a_pseudonym_ties_the_records_of_a_subject_for_auditors(home):
    """Sealed, random per process: one for a subject, another for another, none in the open."""
    whos = {index: opened(home, index).who for index in (2, 3, 4, 5)}
    assert whos[2] == whos[3] != whos[4] == whos[5]
    assert whos[2].encode() not in (home.path / "ledger.db").read_bytes()
    with home.ledger(INDEXED) as ledger:
        index = append(ledger, *asked(9, ONE))[0]
    assert opened(home, index).who not in whos.values()


# --- erasure ----------------------------------------------------------------------------------


def test_erasure_takes_one_subject_and_nothing_else(home):
    """Texts and values of ONE are gone, those of others stay, every leaf and the verdict too."""
    before, leaves = readable(home), [i.body for i in _items(home)]
    mine = {h.index for h in about(home, ONE)[0]}
    assert mine == {2, 3, 6, 7}
    done = erased(home, ONE)
    assert set(done.erased) == mine
    assert done.refusal is None
    after = readable(home)
    for index in mine:
        assert before[index]
        assert after[index] == []
    assert {i: t for i, t in after.items() if i in before and i not in mine} == {
        i: t for i, t in before.items() if i not in mine
    }
    assert [i.body for i in _items(home)][: len(leaves)] == leaves
    assert verdict(home).code is Code.UNANCHORED
    assert about(home, ONE)[0] == []
    with home.ledger() as ledger, ledger.reading() as reader:
        assert look_up(reader, ledger.keys.key, home.private, blind.SUBJECT, ONE) == ((), 0)
        assert look_up(reader, ledger.keys.key, home.private, blind.SUBJECT, TWO) == ((4, 5), 0)


def _items(home):
    with open_evidence(home.path) as evidence:
        return list(evidence.items())


def test_the_record_of_an_erasure_names_nobody_and_tells_the_exports(home):
    """Art. 19: exports made before; the list of records that name several; no identifier."""
    both = {"PERSON_1": {"<PERSON_1>": "Q. Z."}, "PERSON_2": {"<PERSON_2>": "R. Y."}}
    with home.ledger(INDEXED) as ledger:
        export, shared = append(ledger, Entry("export.made"), *asked(8, ONE, values=both)[:1])
    done = erased(home, ONE, "q z")
    assert (done.exports, done.several) == ((export,), (shared,))
    assert readable(home)[shared] == ["R. Y."]
    record = opened(home, done.records[0])
    assert record.sealed["records"] == list(done.erased)
    assert (record.sealed["several"], record.sealed["exports"]) == ([shared], [export])
    assert "17" not in str(record.sealed["reference"])
    header = parse(_items(home)[done.records[0]].body).header
    tags = header.features["erased"]
    assert len(tags) in (4, 8, 16, 32)
    assert header.rid is not None


def test_values_in_the_records_of_others_go_where_they_are_named(home):
    """A name given beside the identifier erases its group elsewhere; the request's text stays."""
    done = erased(home, "nobody-9", "zebulon quark 2")
    assert done.several == done.erased == (4,)
    texts = readable(home)
    assert texts[4] == ["<PERSON_1> was seen, visit 2."]


def test_a_running_gateway_takes_new_keys_after_an_erasure(home):
    """What comes after the erasure of a subject is sealed under a key that exists."""
    with home.ledger(INDEXED) as running:
        append(running, *asked(5, ONE))
        assert erased(home, ONE).keys > 0
        index = append(running, *asked(6, ONE))[0]
    assert readable(home)[index] != []


def test_a_restored_key_store_replays_before_it_opens(home, tmp_path):
    """A copy of before the erasure loses the keys again as soon as the ledger opens it."""
    shutil.copy(home.path / "keystore.db", tmp_path / "old.db")
    done = erased(home, ONE)
    assert readable(home, tmp_path / "old.db")[done.erased[0]] != []
    for name in ("keystore.db", "keystore.db-wal", "keystore.db-shm"):
        (home.path / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.db", home.path / "keystore.db")
    with home.ledger():
        pass
    texts = readable(home)
    assert [texts[index] for index in done.erased] == [[], [], [], []]
    assert texts[4] != []
    tags = set(parse(_items(home)[done.records[0]].body).header.features["erased"])
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    assert tags.isdisjoint(map(tag, keys.ids()))
    keys.close()


def test_a_restored_database_stays_unreadable(home, tmp_path):
    """The ledger of before the erasure, put back beside the key store, opens nothing of ONE."""
    shutil.copytree(home.path, tmp_path / "old")
    done = erased(home, ONE)
    shutil.copy(home.path / "keystore.db", tmp_path / "old" / "keystore.db")
    old = type(home)(tmp_path / "old", home.private, home.clock)
    texts = readable(old)
    assert [texts[index] for index in done.erased] == [[], [], [], []]
    assert texts[4] != []


def test_a_key_store_is_not_misled_by_a_ledger_that_was_rolled_back(home, tmp_path):
    """What it has replayed counts for that ledger only: another one's erasures are replayed."""
    shutil.copytree(home.path, tmp_path / "old")
    append_then_erase(home, 3)
    with home.ledger():
        pass  # replayed: the key store remembers an erasure at a later position
    for name in ("keystore.db", "keystore.db-wal", "keystore.db-shm"):
        (tmp_path / "old" / name).unlink(missing_ok=True)
    shutil.copy(home.path / "keystore.db", tmp_path / "old" / "keystore.db")
    old = type(home)(tmp_path / "old", home.private, home.clock)
    shutil.copy(old.path / "keystore.db", tmp_path / "copy.db")
    done = erased(old, TWO)
    assert done.keys > 0
    shutil.copy(tmp_path / "copy.db", old.path / "keystore.db")
    with old.ledger():
        pass
    texts = readable(old)
    assert [texts[index] for index in done.erased] == [[], []]


def append_then_erase(home, count):
    with home.ledger(INDEXED) as ledger:
        append(ledger, *(intent(20 + number) for number in range(count)))
    assert erased(home, ONE).keys > 0


def test_a_dry_run_changes_nothing(home):
    """Planning tells keys and records and leaves ledger and key store as they were."""
    before = readable(home)
    with home.ledger() as ledger:
        made = plan(ledger, home.private, Subject(ONE))
    assert (made.records, len(made.tokens) > 0, made.refusal) == ((2, 3, 6, 7), True, None)
    assert readable(home) == before


def test_a_ground_has_to_be_one_of_the_regulation(home):
    """Empty and unknown grounds are refused before anything is read."""
    with home.ledger() as ledger:
        for ground in ("", "17(1)(g)", "because"):
            with pytest.raises(RecordError):
                erase(ledger, home.private, Request(Subject(ONE), ground))


def test_a_floor_refuses_until_it_has_passed(home):
    """Art. 17(3)(b): records that the law keeps stay; the refusal is on record; later they go."""
    with home.ledger(INDEXED) as ledger:
        index = append(ledger, *asked(5, ONE, floor_months=3))[0]
    before = readable(home)
    done = erased(home, ONE)
    assert (done.refusal.exception, done.refusal.records) == (LEGAL_OBLIGATION, (index,))
    refused = opened(home, done.records[0])
    assert refused.sealed["exception"] == LEGAL_OBLIGATION
    assert "2026-06" in refused.text["texts"]["refusal"]
    assert {i: t for i, t in readable(home).items() if i in before} == before
    home.clock.forward(days=130)
    assert erased(home, ONE).refusal is None
    assert readable(home)[index] == []


# --- holds and expiry -------------------------------------------------------------------------


@pytest.mark.parametrize("held", [{"subject": "mrn 00 17"}, {"matter": "a1"}])
def test_a_hold_refuses_erasure_and_outlives_expiry(home, held):
    """Art. 17(3)(e), on a subject or a matter; what it covers stays when the month has passed."""
    with home.ledger(INDEXED) as ledger:
        hold = set_hold(ledger, home.private, "dispute", **held)
    assert erased(home, ONE).refusal.exception == LEGAL_CLAIMS
    assert erased(home, TWO).refusal is None
    home.clock.forward(days=366 * 7)
    with home.ledger() as ledger:
        assert holds(ledger, home.private)[0].reason == "dispute"
        first = expire(ledger)
        assert (first.destroyed, first.waiting) == (0, True)  # keys may have come since the hold
        assert refresh_holds(ledger, home.private) == 0
        second = expire(ledger)
    assert second.destroyed > 0
    assert second.held > 0
    texts = readable(home)
    assert texts[2] != []
    assert 8 not in texts
    with home.ledger() as ledger:
        release_hold(ledger, home.private, hold.id, "settled")
        assert expire(ledger).destroyed == second.held
        assert holds(ledger, home.private) == ()
        with pytest.raises(MissingError):
            release_hold(ledger, home.private, hold.id, "twice")
    assert 2 not in readable(home)
    assert verdict(home).code is Code.UNANCHORED


def test_a_hold_is_on_a_subject_or_a_matter(home):
    """Neither and both are refused."""
    with home.ledger() as ledger:
        for held in ({}, {"subject": ONE, "matter": "A-1"}):
            with pytest.raises(RecordError):
                set_hold(ledger, home.private, "why", **held)


def test_a_key_store_of_before_a_hold_expires_nothing(home, tmp_path):
    """Restored, it does not know what the hold covers: an auditor has to tell it again."""
    shutil.copy(home.path / "keystore.db", tmp_path / "old.db")
    with home.ledger() as ledger:
        set_hold(ledger, home.private, "dispute", subject=ONE)
    shutil.copy(tmp_path / "old.db", home.path / "keystore.db")
    home.clock.forward(days=366 * 7)
    with home.ledger() as ledger:
        assert expire(ledger) == type(expire(ledger))(0, "2033-03", waiting=True)


def test_expiry_destroys_keys_of_past_months_and_no_leaf(home):
    """Nothing before the month is over; then the keys go, with the index, and it is on record."""
    count = len(_items(home))
    with home.ledger(INDEXED) as ledger:
        assert expire(ledger).destroyed == 0
        append(ledger, *asked(5, TWO, retain_months=1)[:1])
    assert len(_items(home)) == count + 2  # a key of the index and the intent: no empty expiry
    home.clock.forward(days=75)
    with home.ledger(INDEXED) as ledger:
        done = expire(ledger)
        assert done.destroyed >= 3
        assert expire(ledger).destroyed == 0
    header = parse(_items(home)[-1].body).header
    assert (header.event, header.features["through"]) == ("keys.expired", "2026-04")
    assert count + 1 not in readable(home)
    assert readable(home)[4] != []
    assert verdict(home).code is Code.UNANCHORED


def test_a_clock_that_jumped_expires_nothing(home):
    """Years after the newest record, or faster than time passes: a person has to say so."""
    passed = [0.0]
    home.clock.forward(days=366 * 7)
    with home.ledger() as ledger:
        assert Expirer(ledger, lambda: passed[0]).run() is None
        ledger.submit(Entry("boot")).result()
        expirer = Expirer(ledger, lambda: passed[0])
        assert expirer.run() is None  # not by the next start, whose newest record is our own
        trust_clock(ledger)
        assert expirer.run().destroyed > 0
        passed[0] += 86_400
        home.clock.forward(days=400)
        assert expirer.run() is None
        home.clock.forward(days=-399)
        assert expirer.run() is None
        trust_clock(ledger)
        assert expirer.run() is not None


# --- reports ----------------------------------------------------------------------------------


def test_the_accounting_leaves_out_what_the_rule_leaves_out(home):
    """45 CFR 164.528: no treatment, payment, operations; nothing older than six years."""
    features = {"role": "researcher", "purpose": "research", "decision": "allowed"}
    with home.ledger(INDEXED) as ledger:
        research = append(ledger, *asked(5, ONE, features=features))[0]
        append(ledger, *asked(6, ONE, features={**features, "decision": "denied"}))
        append(ledger, *asked(7, ONE, features={**features, "purpose": "payment"}))
    found, search = about(home, ONE)
    made = report(Kind.HIPAA528, found, search, home.clock())
    assert [row["record"] for row in made["records"]] == [research]
    assert made["used_by"] == ["ward-7"]
    home.clock.forward(days=365.25 * 6 + 2)
    assert report(Kind.HIPAA528, found, search, home.clock())["records"] == []


def test_the_access_report_has_three_forms(home):
    """JSON, text and HTML say the same; texts only where a copy is asked for, escaped."""
    text = "<script>alert(1)</script>\x1b[2J"
    with home.ledger(INDEXED) as ledger:
        append(ledger, *asked(5, ONE, texts={"prompt": text}))
    found, search = about(home, ONE)
    made = report(Kind.GDPR15, found, search, home.clock(), copy=True)
    assert json.loads(json.dumps(made)) == made
    assert len(made["records"]) == 6
    shown, page = as_text(made), as_html(made)
    assert "\x1b" not in shown + page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "alert" not in as_text(report(Kind.GDPR15, found, search, home.clock()))
    assert ERASED not in shown
