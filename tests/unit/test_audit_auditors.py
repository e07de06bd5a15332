"""The registry of auditors: four eyes for every change, and nothing that was not signed (§7.7)."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from audit.auditorlist import load_registry, save_registry
from audit.auditors import (
    ADD,
    REMOVE,
    SIGNER,
    WIDEN,
    Registry,
    Request,
    auditor_json,
    parse_auditor,
)
from audit.cli import app
from audit.errors import FormatError, KeyStoreError, LedgerError, MissingError, SealError
from audit.keys import (
    KeyStore,
    auditor_line,
    generate_auditor,
    generate_signer,
    load_private,
    load_signing,
    parse_auditor_line,
)
from audit.ledger import Ledger, init_home
from audit.recipients import EVERYTHING, Auditor, Scope
from audit.record import Entry, parse
from audit.seal import open_entry
from audit.store import LedgerStore
from tests.auditkit import HandClock, intent, quick_folder

MINUTE = "2026-03-01T09:30Z"
WARD = Scope(frozenset({"clinician"}), frozenset({"m-1"}))


@pytest.fixture
def folder():
    with quick_folder() as path:
        yield path


class People:
    """An auditor, a second person, and one who would like to be an auditor."""

    def __init__(self):
        self.first, pem = generate_auditor("first")
        self.first_key = load_signing(pem)
        self.first_private = load_private(pem)
        self.signer, pem = generate_signer("second")
        self.signer_key = load_signing(pem)
        self.new, self.new_pem = generate_auditor("new")

    def registry(self):
        empty = Registry.of([self.first])
        asked = Request(SIGNER, empty.digest, self.signer, MINUTE)
        return empty.apply(asked.sign(self.first_key))

    def agreed(self, registry, act, auditor):
        asked = Request(act, registry.digest, auditor, MINUTE)
        return registry.apply(asked.sign(self.first_key).sign(self.signer_key))


@pytest.fixture(scope="module")
def people():
    return People()


def write(path, registry):
    path.write_text(json.dumps(registry.to_json()))


def test_two_people_add_widen_and_remove_an_auditor(people, folder):
    """What both signed is in force, and is worked out again from the file."""
    small = replace(people.new, scope=WARD)
    registry = people.agreed(people.registry(), ADD, small)
    assert registry.auditors["new"].scope == WARD
    registry = people.agreed(registry, WIDEN, replace(small, scope=EVERYTHING))
    assert registry.auditors["new"].scope.everything
    write(folder / "auditors.json", registry)
    assert load_registry(folder / "auditors.json") == registry
    registry = people.agreed(registry, REMOVE, registry.auditors["new"])
    assert list(registry.auditors) == ["first"]


@pytest.mark.parametrize("act", [ADD, WIDEN, REMOVE, SIGNER])
@pytest.mark.parametrize("who", ["nobody", "auditor", "signer", "stranger", "themselves"])
def test_less_than_two_people_change_nothing(people, act, who):
    """Each signature alone, and those of strangers and of the person it is about, are too few."""
    registry = people.agreed(people.registry(), ADD, replace(people.new, scope=WARD))
    other, other_pem = generate_auditor("other")
    about = {
        ADD: other,
        WIDEN: people.new,
        REMOVE: registry.auditors["new"],
        SIGNER: generate_signer("third")[0],
    }[act]
    asked = Request(act, registry.digest, about, MINUTE)
    keys = {
        "nobody": [],
        "auditor": [people.first_key],
        "signer": [people.signer_key],
        "stranger": [load_signing(other_pem), people.signer_key],
        "themselves": [load_signing(people.new_pem), people.signer_key],
    }[who]
    for key in keys:
        asked = asked.sign(key)
    with pytest.raises(KeyStoreError, match="lacks the signature"):
        registry.apply(asked)
    registry.apply(asked.sign(people.first_key).sign(people.signer_key))


def test_a_scoped_auditor_grants_no_more_than_they_have(people):
    """Who reads one ward cannot let another read everything."""
    registry = people.agreed(people.registry(), ADD, replace(people.new, scope=WARD))
    key = load_signing(people.new_pem)
    third = generate_auditor("third")[0]
    for scope, allowed in ((EVERYTHING, False), (WARD, True)):
        asked = Request(ADD, registry.digest, replace(third, scope=scope), MINUTE)
        asked = asked.sign(key).sign(people.signer_key)
        if allowed:
            assert "third" in registry.apply(asked).auditors
        else:
            with pytest.raises(KeyStoreError):
                registry.apply(asked)


def test_a_request_is_used_once_and_not_changed(people):
    """It names the state that it changes, and what was signed is what counts."""
    registry = people.registry()
    asked = Request(ADD, registry.digest, replace(people.new, scope=WARD), MINUTE)
    asked = asked.sign(people.first_key).sign(people.signer_key)
    with pytest.raises(KeyStoreError, match="lacks the signature"):
        registry.apply(replace(asked, auditor=people.new))
    after = registry.apply(asked)
    with pytest.raises(KeyStoreError, match="another state"):
        after.apply(asked)


def test_somebody_who_reads_everything_is_always_left(people):
    """Else there would be records that nobody could ever read."""
    registry = people.agreed(people.registry(), ADD, people.new)
    asked = Request(REMOVE, registry.digest, registry.auditors["first"], MINUTE)
    asked = asked.sign(load_signing(people.new_pem)).sign(people.signer_key)
    registry = registry.apply(asked)
    assert list(registry.auditors) == ["new"]
    small = Registry.of([replace(people.new, scope=WARD), people.first])
    asked = Request(REMOVE, small.digest, people.first, MINUTE)
    with pytest.raises(KeyStoreError):
        small.apply(asked.sign(load_signing(people.new_pem)))


def test_nobody_is_both_people(people):
    """A name or a key that stands in the list already cannot be there again."""
    registry = people.registry()
    double = Auditor("second", people.new.public, signer=people.new.signer)
    same_key = Auditor("alias", people.new.public, signer=people.signer.signer)
    for auditor in (double, same_key, people.first):
        asked = Request(ADD, registry.digest, auditor, MINUTE)
        with pytest.raises(KeyStoreError):
            registry.apply(asked.sign(people.first_key).sign(people.signer_key))


@pytest.mark.parametrize("how", ["added", "widened", "unsigned", "dropped", "version", "garbage"])
def test_an_edited_list_stops_the_ledger(people, folder, how):
    """Who writes into the file becomes no auditor: nothing is sealed until it is mended."""
    init_home(folder / "home", [people.first])
    path = folder / "home" / "auditors.json"
    registry = people.agreed(people.registry(), ADD, replace(people.new, scope=WARD))
    value = registry.to_json()
    if how == "added":
        stranger = generate_auditor("stranger")[0]
        value["auditors"].append(Registry.of([stranger]).to_json()["auditors"][0])
    elif how == "widened":
        del value["auditors"][1]["roles"], value["applied"][1]["auditor"]["roles"]
    elif how == "unsigned":
        value["applied"][1]["signatures"].popitem()
    elif how == "dropped":
        del value["applied"][0]
    elif how == "version":
        value["v"] = 3
    path.write_text("{" if how == "garbage" else json.dumps(value))
    with pytest.raises(KeyStoreError):
        Ledger.open(folder / "home", clock=HandClock())


def test_a_list_of_the_older_form_is_read(people, folder):
    """Everybody on it may read everything."""
    listed = Registry.of([replace(people.first, signer=b"")]).to_json()["auditors"]
    (folder / "auditors.json").write_text(json.dumps({"v": 1, "auditors": listed}))
    (auditor,) = load_registry(folder / "auditors.json").auditors.values()
    assert (auditor.name, auditor.scope) == ("first", EVERYTHING)


def test_a_line_of_the_older_form_is_read(people):
    """A public key from before signatures has none, and reads all the same."""
    line = auditor_line(replace(people.first, signer=b""))
    assert line.startswith("cloister-auditor/1 first ")
    assert parse_auditor_line(line).signer == b""
    assert parse_auditor_line(auditor_line(people.first)) == people.first
    with pytest.raises(FormatError):
        parse_auditor_line(line.replace("first", "second person"))


def test_init_adds_no_auditor_to_those_there_are(people, folder):
    """An operator alone registers nobody later; the same ones again change nothing."""
    init_home(folder / "home", [people.first])
    init_home(folder / "home", [people.first])
    with pytest.raises(KeyStoreError, match="auditors request"):
        init_home(folder / "home", [people.new])


def test_an_auditor_from_before_signatures_is_given_a_key_to_sign_with(people, folder):
    """Once: it is taken while nothing was signed, and then not exchanged any more."""
    home, key = folder / "home", folder / "first.pem"
    pem = generate_auditor("older")[1]
    key.write_bytes(pem)
    line = run("auditors", "public", "--key", key, "--name", "older").stdout
    whole = parse_auditor_line(line)
    assert whole.signer == load_signing(pem).public_key().public_bytes_raw()
    init_home(home, [replace(whole, signer=b"")])
    assert load_registry(home / "auditors.json").auditors["older"].signer == b""
    init_home(home, [whole])
    assert load_registry(home / "auditors.json").auditors["older"] == whole
    with pytest.raises(KeyStoreError):
        init_home(home, [replace(whole, signer=people.first.signer)])


def _open(home, index, private):
    store = LedgerStore(home / "ledger.db", readonly=True)
    keys = KeyStore.open(home / "keystore.db", readonly=True)
    try:
        with store.reading() as reader:
            return open_entry(parse(reader.row(index).body), keys.key, private)
    finally:
        keys.close()
        store.close()


def test_a_running_ledger_seals_to_who_is_an_auditor_now(people, folder):
    """Added and removed while it runs; what was sealed before stays as it was."""
    home = folder / "home"
    init_home(home, [people.first])
    path, new = home / "auditors.json", load_private(people.new_pem)
    write(path, people.registry())
    ledger = Ledger.open(home, clock=HandClock())
    ledger.submit(intent(0)).result()
    registry = people.agreed(people.registry(), ADD, people.new)
    write(path, registry)
    ledger.submit(intent(1)).result()
    write(path, people.agreed(registry, REMOVE, registry.auditors["new"]))
    ledger.submit(intent(2)).result()
    ledger.close()
    for index in (0, 2):
        with pytest.raises(MissingError):
            _open(home, index, new)
    for index in range(3):
        assert _open(home, index, people.first_private).sealed["principal"] == "ward-7"
    assert _open(home, 1, new).sealed["principal"] == "ward-7"


def test_nobody_signs_with_a_key_that_anybody_signs_for(people):
    """A key of small order (§5.7) is no auditor's and no second person's."""
    anybody = bytes([1]) + bytes(31)
    for auditor, signer in ((replace(people.first, signer=anybody), False),
                            (Auditor("second", b"", signer=anybody), True)):  # fmt: skip
        with pytest.raises(FormatError):
            parse_auditor(auditor_json(auditor), signer=signer)


def test_a_running_ledger_takes_no_other_list(people, folder):
    """A list that does not go on from the one it knows stops it, though it is in good form."""
    home = folder / "home"
    init_home(home, [people.first])
    path = home / "auditors.json"
    ledger = Ledger.open(home, clock=HandClock())
    ledger.submit(intent(0)).result()
    before = path.read_bytes()
    write(path, Registry.of([people.first, people.new]))
    with pytest.raises(LedgerError):
        ledger.submit(intent(1)).result()
    path.write_bytes(before)
    assert ledger.submit(intent(2)).result().index == 1
    ledger.close()


def test_a_running_ledger_takes_no_other_key_to_sign_with(people, folder):
    """Whoever exchanged the key of an auditor of the first list could agree to anything."""
    home = folder / "home"
    init_home(home, [people.first])
    path, thief = home / "auditors.json", load_signing(people.new_pem)
    ledger = Ledger.open(home, clock=HandClock())
    exchanged = Registry.of([replace(people.first, signer=people.new.signer)])
    asked = Request(SIGNER, exchanged.digest, people.signer, MINUTE)
    write(path, exchanged.apply(asked.sign(thief)))
    with pytest.raises(LedgerError):
        ledger.submit(intent(0)).result()
    ledger.close()


def test_hybrid_and_classic_auditors_read_one_log(people, folder):
    """Each with their own suite; the wrap says which, and one's key opens nothing of the other."""
    auditor, pem = generate_auditor("hybrid", b"a phrase", hybrid=True)
    private = load_private(pem, b"a phrase")
    with pytest.raises(SealError):
        load_private(pem, b"another")
    assert auditor.id.endswith("/mlkem768-x25519")
    assert parse_auditor_line(auditor_line(auditor)) == auditor
    init_home(folder / "home", [people.first, auditor])
    ledger = Ledger.open(folder / "home", clock=HandClock())
    body = ledger.submit(intent(1))
    body.result()
    ledger.submit(Entry("boot")).result()
    ledger.close()
    for key in (private, people.first_private):
        assert _open(folder / "home", 0, key).sealed["principal"] == "ward-7"
    with pytest.raises(MissingError):
        _open(folder / "home", 0, load_private(generate_auditor("x", hybrid=True)[1]))


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


def test_the_commands_make_sign_and_apply_a_request(folder):
    """From key pairs to a scoped auditor, with each step on record."""
    home = folder / "home"
    for name, more in (("one", ()), ("two", ("--signer",)), ("three", ("--hybrid",))):
        run("keygen", "--out", folder / name, "--name", name, *more)
    init_home(home, [parse_auditor_line((folder / "one.pub").read_text())])
    asked = folder / "signer.json"
    run("auditors", "request", home, "--act", "signer", "--key", folder / "two.pub", "--out", asked)
    run("auditors", "apply", home, "--file", asked, code=1)
    run("auditors", "sign", asked, "--key", folder / "one")
    run("auditors", "apply", home, "--file", asked)
    asked = folder / "add.json"
    run(
        "auditors", "request", home, "--act", "add", "--key", folder / "three.pub",
        "--role", "clinician", "--matter", "m-1", "--out", asked,
    )  # fmt: skip
    run("auditors", "sign", asked, "--key", folder / "one")
    assert "second person" in run("auditors", "apply", home, "--file", asked, code=1).stderr
    assert "roles clinician; matters m-1" in run(
        "auditors", "sign", asked, "--key", folder / "two"
    ).stdout  # fmt: skip
    run("auditors", "apply", home, "--file", asked)
    listed = run("auditors", "list", home).stdout
    assert "auditor  one" in listed
    assert "roles clinician; matters m-1" in listed
    assert "signer   two" in listed
    first = load_private((folder / "one").read_bytes())
    act = _open(home, 1, first).sealed["request"]
    assert (act["act"], act["auditor"]["name"], len(act["signatures"])) == ("add", "three", 2)
    asked = folder / "remove.json"
    run("auditors", "request", home, "--act", "remove", "--name", "three", "--out", asked)
    for key in ("one", "two"):
        run("auditors", "sign", asked, "--key", folder / key)
    run("auditors", "apply", home, "--file", asked)
    assert "three" not in run("auditors", "list", home).stdout


def test_changes_that_are_applied_at_once_do_not_undo_each_other(people, folder):
    """Of requests for one state of the list, one is applied and on record; others are refused."""
    home, registry = folder / "home", people.registry()
    init_home(home, [people.first])
    save_registry(home / "auditors.json", registry)
    running = []
    for number in range(5):
        auditor, _ = generate_auditor(f"new-{number}")
        asked = Request(ADD, registry.digest, auditor, MINUTE)
        asked = asked.sign(people.first_key).sign(people.signer_key)
        (folder / f"{number}.json").write_text(json.dumps(asked.to_json()))
        command = [sys.executable, "-m", "audit", "auditors", "apply", str(home)]
        command += ["--file", str(folder / f"{number}.json")]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    said = [process.communicate()[1].decode() for process in running]
    done = [number for number, process in enumerate(running) if process.returncode == 0]
    assert len(done) == 1, said
    assert sum("another state of the list" in words for words in said) == 4
    assert set(load_registry(home / "auditors.json").auditors) == {"first", f"new-{done[0]}"}
    store = LedgerStore(home / "ledger.db", readonly=True)
    with store.reading() as reader:
        events = [parse(row.body).header.event for row in reader.rows()]
    store.close()
    assert events == ["auditor.added"]
