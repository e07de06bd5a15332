"""Who may erase and hold, and what they may not do by accident or by half."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit import blind
from audit.auditorlist import load_registry, save_registry
from audit.auditors import Registry
from audit.erase import Request, erase
from audit.errors import ScopeError
from audit.keys import generate_auditor, load_private
from audit.ledger import AUDITORS_FILE, Options, init_home
from audit.recipients import Scope
from audit.record import Entry, parse
from audit.replay import ERASED
from audit.retention import expire, holds, refresh_holds, release_hold, set_hold
from audit.seal import open_entry
from audit.subjects import Search, Subject, bodies
from tests.auditkit import Home, intent, make_home, outcome, rid

INDEXED = Options(index=True)
GROUND = "17(1)(a)"


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home")


def values(home):
    """The values that the auditor still reads, by record."""
    found = {}
    with home.ledger() as ledger, ledger.reading() as reader:
        search = Search(ledger.keys.key, home.private)
        for index, _, opened in search.opened(bodies(reader)):
            found[index] = {text for part in opened.values for text in part["values"].values()}
    return found


def erased(home, name, *also, **more):
    with home.ledger(INDEXED) as ledger:
        return erase(ledger, home.private, Request(Subject(name, also), GROUND, **more))


def put(home, *entries):
    with home.ledger() as ledger:
        return [ledger.submit(entry).result().index for entry in entries]


def about(number, subject, **groups):
    """A request about a subject; each group is a data subject's values."""
    held = {group: {f"<{group}_1>": text} for group, text in groups.items()}
    return intent(number, subject=subject, values=held)


# --- who ----------------------------------------------------------------------------------------


def test_a_key_that_nobody_registered_neither_erases_nor_holds_nor_releases(home):
    """Any pair of keys opens nothing here, and so it must not decide what is kept."""
    put(home, about(1, "S 1", PERSON_1="Aurelio Fontanez"))
    stranger = load_private(generate_auditor("stranger")[1])
    with home.ledger() as ledger:
        hold = set_hold(ledger, home.private, "dispute", subject="S 1")
        size = ledger.submit(Entry("boot")).result().index
        for act in (
            lambda: erase(ledger, stranger, Request(Subject("S 2"), GROUND)),
            lambda: set_hold(ledger, stranger, "mine", subject="S 2"),
            lambda: release_hold(ledger, stranger, hold.id, "gone"),
            lambda: refresh_holds(ledger, stranger),
        ):
            with pytest.raises(ScopeError, match="no auditor of this log"):
                act()
        assert [each.id for each in holds(ledger, home.private)] == [hold.id]
        assert ledger.submit(Entry("boot")).result().index == size + 1


def test_an_auditor_of_narrower_scope_does_not_either(tmp_path):
    """What they cannot read may be held, or kept by law, or the rest of whom they erase."""
    (wide, wide_pem), (narrow, narrow_pem) = (generate_auditor(name) for name in ("wide", "narrow"))
    narrow = replace(narrow, scope=Scope(roles=frozenset({"clinician", "auditor"})))
    init_home(tmp_path / "home", [wide, narrow])
    home = Home(tmp_path / "home", load_private(wide_pem))
    put(home, about(1, "S 1", PERSON_1="Aurelio Fontanez"))
    private = load_private(narrow_pem)
    with home.ledger() as ledger:
        hold = set_hold(ledger, home.private, "dispute", subject="S 9")
        for act in (
            lambda: erase(ledger, private, Request(Subject("S 1"), GROUND)),
            lambda: set_hold(ledger, private, "mine", subject="S 1"),
            lambda: release_hold(ledger, private, hold.id, "gone"),
            lambda: refresh_holds(ledger, private),
        ):
            with pytest.raises(ScopeError, match="may read everything"):
                act()
    assert values(home)[0] == {"Aurelio Fontanez"}


def test_records_say_which_auditor_it_was(home):
    """Holds and erasures name the auditor's key, sealed."""
    put(home, about(1, "S 1"))
    with home.ledger() as ledger:
        hold = set_hold(ledger, home.private, "dispute", subject="S 9")
        release_hold(ledger, home.private, hold.id, "settled")
    erased(home, "S 1")
    told = {}
    with home.ledger() as ledger, ledger.reading() as reader:
        for row in reader.rows():
            record = parse(row.body)
            opened = open_entry(record, ledger.keys.key, home.private)
            told[record.header.event] = opened.sealed.get("auditor")
    assert told["hold.set"] == told["hold.release"] == told[ERASED]
    assert told[ERASED]


# --- by half ------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    """A home whose second auditor came later: older records do not open to them."""
    home = make_home(tmp_path / "home")
    put(home, about(1, "S 1", PERSON_1="Aurelio Fontanez"), outcome(1))
    return home


def second(home):
    """Register another auditor beside the first, as if it had been so from the start."""
    listed = home.path / AUDITORS_FILE
    auditor, pem = generate_auditor("second")
    known = load_registry(listed).auditors.values()
    save_registry(listed, Registry.of([*known, auditor]))
    return load_private(pem)


def test_an_erasure_that_cannot_read_all_says_so_before_it_destroys(two):
    """A later auditor does not open older records: only who insists goes on."""
    later = second(two)
    put(two, about(2, "S 1", PERSON_1="Aurelio Fontanez"))
    with two.ledger(INDEXED) as ledger:
        with pytest.raises(ScopeError, match="2 records do not open"):
            erase(ledger, later, Request(Subject("S 1"), GROUND))
        assert erase(ledger, later, Request(Subject("S 1"), GROUND, partial=True)).unreadable == 2
    assert values(two)[2] == set()


def test_a_hold_only_grows_when_it_is_refreshed_by_who_reads_less(two):
    """What it covered it covers, and nothing expires that it may be on."""
    with two.ledger() as ledger:
        hold = set_hold(ledger, two.private, "dispute", subject="S 1")
        known = ledger.keys.note(f"hold:{hold.id}")
    later = second(two)
    put(two, about(2, "S 1"))
    with two.ledger() as ledger:
        assert refresh_holds(ledger, later) == 1
        assert ledger.keys.note(f"hold:{hold.id}") == known  # the hold itself does not open
        own = set_hold(ledger, later, "mine", subject="S 1")
        assert own.unreadable == 3
        two.clock.forward(days=366 * 8)
        assert expire(ledger).destroyed == 0
    assert values(two)[0] == {"Aurelio Fontanez"}


def test_what_comes_in_while_the_log_is_read_goes_too(home):
    """It is sealed under a key that the erasure names: its values must go with its text."""
    put(home, about(1, "S 1", PERSON_1="Aurelio Fontanez"))
    with home.ledger(INDEXED) as ledger:
        ledger.submit(about(2, "S 1", PERSON_1="Aurelio Fontanez")).result()
        submit = ledger.submit

        def racing(entry, **more):
            if entry.event == ERASED and not raced:
                raced.append(submit(about(3, "S 1", PERSON_1="Aurelio Fontanez")).result().index)
                # A report on a request of before, by a process that has forgotten whom it is about.
                report = Entry("detection.reported", rid(1), {"role": "clinician"}, {},
                               {"report.text": "Aurelio Fontanez"})  # fmt: skip
                raced.append(submit(report).result().index)
            return submit(entry, **more)

        raced = []
        ledger.submit = racing
        done = erase(ledger, home.private, Request(Subject("S 1"), GROUND))
    assert set(raced) <= set(done.erased)
    assert values(home)[raced[0]] == set()
    assert erased(home, "S 1").erased == ()


# --- more, or less, than was meant --------------------------------------------------------------


def test_a_hold_keeps_its_records_from_an_erasure_of_somebody_else(home):
    """Values of another person in a held record stay, and the answer says so."""
    put(
        home,
        about(1, "S 1", PERSON_1="Aurelio Fontanez"),
        about(2, "S 2", PERSON_1="Aurelio Fontanez"),
    )
    with home.ledger(INDEXED) as ledger:
        set_hold(ledger, home.private, "dispute", subject="S 1")
    done = erased(home, "nobody", "Aurelio Fontanez")
    assert (done.erased, done.held, done.refusal) == ((1,), (0,), None)
    assert values(home)[0] == {"Aurelio Fontanez"}
    assert values(home)[1] == set()


def test_a_number_that_matches_spares_no_name(home):
    """Everybody's numbers stand in one group: where theirs is in it the name goes all the same."""
    put(home, about(1, "58203417", PERSON_1="Aurelio Fontanez", OTHER="58203417"))
    erased(home, "58203417")
    assert values(home)[0] == set()


def test_a_name_that_matches_spares_the_others(home):
    """Where one person's group is theirs the other people's stay; numbers may be theirs and go."""
    put(home, about(1, "S 1", PERSON_1="Aurelio Fontanez", PERSON_2="Bea Quark", OTHER="555 0199"))
    erased(home, "S 1", "Aurelio Fontanez")
    assert values(home)[0] == {"Bea Quark"}


def test_a_report_on_a_receipt_goes_with_its_request(home):
    """Also where the gateway did not remember whom the request was about."""
    report = Entry("detection.reported", rid(1), {"role": "clinician"}, {},
                   {"report.text": "Aurelio Fontanez"})  # fmt: skip
    put(home, about(1, "S 1"), outcome(1), report, outcome(2))
    assert 2 in erased(home, "S 1").erased


def test_values_that_contain_a_name_are_told(home):
    """A title or a second name in a value does not match; a person has to look."""
    put(
        home,
        about(1, "S 9", PERSON_1="Mr. Aurelio Fontanez"),
        about(2, "S 8", PERSON_1="Bea Quark"),
    )
    done = erased(home, "S 1", "Aurelio Fontanez")
    assert (done.erased, done.near) == ((), (0,))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("MRN 00-17", "mrn0017", True),
        ("\uff4d\uff52\uff4e 17", "MRN-17", True),
        ("राम", "रमा", False),
        ("กิน", "กาน", False),
        ("Ångström", "ångström", True),
    ],
)
def test_spellings_are_one_where_they_differ_by_case_or_punctuation_only(one, other, same):
    """Vowel signs are letters' own: without them two people would be one."""
    assert (blind.normalised(one) == blind.normalised(other)) is same
