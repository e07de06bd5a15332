"""Forwarding and alerts: at least once, over restarts and dead sinks; at and under a threshold."""

from __future__ import annotations

import json
import socket
import stat
from collections import Counter
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from audit.alerts import RAISED, Cause, Thresholds, Watched
from audit.cli import app
from audit.export import open_evidence
from audit.keys import KeyStore
from audit.record import Entry, parse
from audit.seal import open_entry
from audit.storage.place import LEDGER_FILE
from audit.store import LedgerStore
from audit.watch import BATCH, FileSink, Forwarder, Line, Rounds, SyslogSink, message
from tests.auditkit import intent, make_home, outcome, quick_folder, rid


@pytest.fixture
def home():
    with quick_folder() as folder:
        yield make_home(folder / "home")


@contextmanager
def forwarder(home, sink, told=None):
    store = LedgerStore(home.path / LEDGER_FILE, readonly=True)
    try:
        yield Forwarder(
            store.reading,
            sink,
            home.path / "watch.json",
            lambda event, count: told.append((event, count)) if told is not None else None,
        )
    finally:
        store.close()


@contextmanager
def listener(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(5)
        yield sock


def indexes(path):
    return [json.loads(each)["index"] for each in path.read_text("ascii").splitlines()]


# --- forwarding -------------------------------------------------------------------------------


def test_what_is_sent_on_is_the_readable_part(home):
    """One line a record, in order, of the header alone: nothing sealed, no identity."""
    home.fill(3)
    out = home.path / "out.log"
    with forwarder(home, FileSink(out)) as it:
        assert it.step() == 7
        assert it.step() == 0
    assert indexes(out) == list(range(7))
    text = out.read_text("ascii")
    assert "ward-7" not in text
    assert "Zebulon" not in text
    assert '"purpose":"treatment"' in text
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert stat.S_IMODE((home.path / "watch.json").stat().st_mode) == 0o600


def test_it_goes_on_after_a_restart_where_it_was(home):
    """Another process with the same state sends what came since, and nothing twice."""
    out = home.path / "out.log"
    home.fill(2)
    with forwarder(home, FileSink(out)) as it:
        it.step()
    home.fill(2)
    with forwarder(home, FileSink(out)) as it:
        assert it.step() == 5
    assert indexes(out) == list(range(10))


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"next": -1}', b'{"next": "9", "log": ""}'])
def test_a_damaged_state_sends_again_rather_than_never(home, state):
    """At least once: what cannot be read counts as nothing sent."""
    home.fill(1)
    (home.path / "watch.json").write_bytes(state)
    with forwarder(home, FileSink(home.path / "out.log")) as it:
        assert it.step() == 3


def test_a_dead_syslog_holds_up_no_append_and_loses_nothing(home):
    """No socket there, then one: everything arrives in order, and both moments are told."""
    told = []
    where = home.path / "log"
    with forwarder(home, SyslogSink(str(where)), told) as it:
        home.fill(2)
        assert it.step() == it.step() == 0
        home.fill(1)
        with listener(where) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            assert it.step() == 8
            got = [sock.recv(65536).decode("ascii") for _ in range(8)]
    assert told == [("forwarding_stopped", 5), ("forwarding_resumed", 8)]
    assert [json.loads("{" + each.partition("{")[2])["index"] for each in got] == list(range(8))
    assert got[1].startswith("<109>1 2026-03-01T09:30:00Z - cloister - intent - {")


def test_a_syslog_that_dies_in_the_middle_gets_the_batch_again(home):
    """A batch that was not taken as a whole is sent as a whole: at least once."""
    home.fill(2)

    class Failing:
        """Takes two lines and fails, once."""

        def __init__(self) -> None:
            self.got: list[int] = []
            self.fails = 1

        def send(self, lines: list[Line]) -> None:
            for number, each in enumerate(lines):
                if number == 2 and self.fails:
                    self.fails -= 1
                    raise OSError
                self.got.append(each.index)

    sink = Failing()
    with forwarder(home, sink) as it:
        assert it.step() == 0
        assert it.step() == 5
    assert sink.got == [0, 1, 0, 1, 2, 3, 4]


def test_more_than_a_batch_is_sent_in_one_step(home):
    """Catching up does not take a second for each batch."""
    with home.ledger() as ledger:
        futures = [ledger.submit(Entry("outcome", rid(i))) for i in range(BATCH + 5)]
        for future in futures:
            future.result()
    with forwarder(home, FileSink(home.path / "out.log")) as it:
        assert it.step() == BATCH + 5
    assert indexes(home.path / "out.log") == list(range(BATCH + 5))


def test_a_file_is_rotated_and_no_line_is_cut(home):
    """Old files are numbered, at most so many; every line of every file is whole."""
    home.fill(40)
    out = home.path / "out.log"
    with forwarder(home, FileSink(out, most=4096, keep=3)) as it:
        it.step()
    files = sorted(home.path.glob("out.log*"))
    assert [file.name for file in files] == ["out.log", "out.log.1", "out.log.2", "out.log.3"]
    assert all(file.stat().st_size <= 4096 for file in files)
    kept = [index for file in (*reversed(files[1:]), out) for index in indexes(file)]
    assert kept == list(range(kept[0], 81))


def test_an_alert_is_an_alert_for_syslog_too():
    """Severity 1 of facility 13; a record otherwise is a notice."""
    assert message(Line(RAISED, "2026-03-01T09:30Z", "{}", 1)).startswith(b"<105>1 ")
    assert message(Line("intent", "2026-03-01T09:30Z", "{}", 1)).startswith(b"<109>1 ")


def test_what_is_appended_at_the_end_is_sent_before_the_thread_ends(home):
    """Closing does the work once more, then lets go."""
    done = []
    with forwarder(home, FileSink(home.path / "out.log")) as it:
        rounds = Rounds(it.step, lambda: done.append(True), seconds=60)
        rounds.start()
        home.fill(1)
        rounds.close()
        rounds.close()
    assert done == [True]
    assert indexes(home.path / "out.log") == [0, 1, 2]


def test_the_command_sends_what_is_new_and_fails_where_nothing_is_taken(home):
    """From a process of its own, with a state of its own; one sink, named."""
    home.fill(1)
    out, state = home.path / "out.log", home.path / "sent.json"
    command = ["forward", str(home.path), "--state", str(state)]
    done = CliRunner().invoke(app, [*command, "--file", str(out)])
    assert (done.exit_code, done.stdout) == (0, "3 records sent\n")
    assert CliRunner().invoke(app, [*command, "--file", str(out)]).stdout == "0 records sent\n"
    assert CliRunner().invoke(app, command).exit_code == 2
    state.unlink()
    dead = CliRunner().invoke(app, [*command, "--syslog", str(home.path / "nobody")])
    assert (dead.exit_code, "takes nothing" in dead.stderr) == (1, True)


# --- alerts -----------------------------------------------------------------------------------


def alerts(home):
    """The causes of the alerts on record, and what is sealed in each."""
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    found = []
    with open_evidence(home.path) as evidence:
        for item in evidence.items():
            record = parse(item.body)
            if record.header.event == RAISED:
                opened = open_entry(record, keys.key, home.private)
                found.append((record.header.features, opened.sealed))
    keys.close()
    return found


def ask(number, principal="ward-7", subject=None, **features):
    return intent(
        number,
        subject=subject,
        sealed={"principal": principal},
        features={"role": "clinician", "purpose": "treatment", **features},
        values={},
    )


@pytest.mark.parametrize(("distinct", "raised"), [(2, 0), (3, 1), (9, 1)])
def test_distinct_subjects_under_at_and_over_the_threshold(home, distinct, raised):
    """Once a day, when the threshold is reached; the same subject again does not count."""
    with home.ledger() as ledger:
        watched = Watched(ledger, home.clock, Thresholds(subjects=3))
        for number in range(distinct * 2):
            watched.submit(ask(number, subject=f"s-{number % distinct}")).result()
    found = alerts(home)
    assert len(found) == raised
    if raised:
        features, sealed = found[0]
        assert features == {"rules": [Cause.SUBJECTS], "count": "2-4", "role": "clinician"}
        told = {"principal": "ward-7", "day": "2026-03-01", "count": 3, "threshold": 3}
        assert sealed == told


def test_each_principal_and_each_day_counts_alone(home):
    """Two of one and two of another reach no three; yesterday's do not count today."""
    with home.ledger() as ledger:
        watched = Watched(ledger, home.clock, Thresholds(denials=3))
        for number in range(4):
            watched.submit(ask(number, f"ward-{number % 2}", decision="denied")).result()
        home.clock.forward(days=1)
        watched.submit(ask(4, "ward-0", decision="denied")).result()
    assert alerts(home) == []


def test_an_alert_comes_again_on_the_next_day(home):
    """Once per cause and day, and for each principal."""
    with home.ledger() as ledger:
        watched = Watched(ledger, home.clock, Thresholds(denials=2))
        for day in range(2):
            for number in range(4):
                watched.submit(ask(day * 4 + number, decision="denied")).result()
            home.clock.forward(days=1)
    assert [sealed["day"] for _, sealed in alerts(home)] == ["2026-03-01", "2026-03-02"]


def test_another_attempt_is_no_other_denial_or_subject(home):
    """Each attempt has its intent; a request counts once."""
    with home.ledger() as ledger:
        watched = Watched(ledger, home.clock, Thresholds(denials=2))
        watched.submit(ask(1, decision="denied", attempt=1)).result()
        watched.submit(ask(1, decision="denied", attempt=2)).result()
    assert alerts(home) == []


def test_breaking_glass_and_open_intents_are_told(home):
    """Each with its own threshold; open intents are nobody's, and are told once a day."""
    with home.ledger() as ledger:
        ledger.submit(intent(1)).result()
        ledger.submit(intent(2)).result()
        ledger.submit(outcome(2)).result()
    with home.ledger() as ledger:
        watched = Watched(ledger, home.clock, Thresholds(break_glass=1, open_intents=1))
        watched.check_open(ledger.open_intents())
        watched.check_open(ledger.open_intents())
        watched.submit(Entry("break-glass.opened", sealed={"principal": "ward-7"})).result()
    found = alerts(home)
    assert Counter(cause for features, _ in found for cause in features["rules"]) == {
        Cause.OPEN_INTENTS: 1,
        Cause.BREAK_GLASS: 1,
    }
    assert found[0][1]["principal"] is None


def test_zero_raises_none(home):
    """A threshold of 0 switches its kind off."""
    with home.ledger() as ledger:
        watched = Watched(ledger, home.clock, Thresholds())
        watched.submit(ask(1, subject="s", decision="denied")).result()
        watched.submit(Entry("break-glass.opened", sealed={"principal": "w"})).result()
        watched.check_open(ledger.open_intents())
    assert alerts(home) == []


def test_an_alert_names_nobody_in_the_open(home):
    """Neither in the record's readable part nor in a repr of what counts."""
    with home.ledger() as ledger:
        watched = Watched(ledger, home.clock, Thresholds(subjects=1))
        watched.submit(ask(1, "Quark", subject="Zebulon")).result()
        assert "Quark" not in repr(watched._day)
        assert "Zebulon" not in repr(watched._day)
    out = home.path / "out.log"
    with forwarder(home, FileSink(out)) as it:
        it.step()
    assert Cause.SUBJECTS in out.read_text("ascii")
    assert "Quark" not in out.read_text("ascii")
