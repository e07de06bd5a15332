"""Witnesses and rotations of a log's key: they follow from head to head (§5.9)."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from audit.chain import next_key
from audit.checkpoint import Checkpoint, SigningKey
from audit.errors import WitnessError
from audit.keys import KeyStore
from audit.merkle import Frontier
from audit.store import LedgerStore
from audit.witness import Request, Witness, generate, load_private, request
from tests.auditkit import START, make_home
from tests.unit.test_audit_rotation import chain, rotate, run


@pytest.fixture
def home(tmp_path):
    return make_home(tmp_path / "home")


def over_the_gap(home, folder, since, *log):
    """Export, cosign and import a head; what the three said, and the exit codes."""
    done = [
        run("checkpoint", "export", home.path, "--since", since, "--out", folder / "asked"),
        run("checkpoint", "cosign", folder / "asked", "--key", folder / "w", *log,
            "--out", folder / "cosigned"),
        run("checkpoint", "import", home.path, "--from", folder / "cosigned",
            "--witness", folder / "w.pub"),
    ]  # fmt: skip
    return [one.exit_code for one in done], "".join(one.output for one in done)


def test_a_witness_follows_the_log_from_key_to_key(home, tmp_path):
    """It holds the new key once it has cosigned the head that names it, and the old one no more."""
    run("witness", "keygen", "--out", tmp_path / "w", "--name", "witness.example/1")
    home.fill(1)
    first = chain(home).first
    assert over_the_gap(home, tmp_path, 0, "--log", first.vkey())[0] == [0, 0, 0]
    done = rotate(home)
    home.fill(1)
    codes, said = over_the_gap(home, tmp_path, 3)
    assert codes == [0, 0, 0], said
    assert f"afterwards export --since {done.size}" in said
    codes, said = over_the_gap(home, tmp_path, done.size)
    assert codes == [0, 0, 0], said
    assert "checkpoint of 7 records" in said
    state = json.loads((tmp_path / "w.state").read_text())
    assert state["logs"][first.name]["vkey"] == done.key.vkey()
    assert state["logs"][first.name]["former"] == [first.vkey()]
    verified = run("verify", home.path, "--witness", tmp_path / "w.pub")
    assert (verified.exit_code, "the first 7" in verified.stdout) == (0, True), verified.output
    again = run("checkpoint", "cosign", tmp_path / "asked", "--key", tmp_path / "w")
    assert again.exit_code == 0, again.output


def test_a_witness_that_missed_the_rotation_refuses_the_new_key(home, tmp_path):
    """It takes no key but from a head that the key it holds has signed."""
    run("witness", "keygen", "--out", tmp_path / "w", "--name", "witness.example/1")
    home.fill(1)
    over_the_gap(home, tmp_path, 0, "--log", chain(home).first.vkey())
    done = rotate(home)
    home.fill(1)
    run("checkpoint", "export", home.path, "--since", done.size, "--out", tmp_path / "asked")
    refused = run("checkpoint", "cosign", tmp_path / "asked", "--key", tmp_path / "w")
    assert (refused.exit_code, "no signature of the log's key" in refused.output) == (1, True)


def test_a_new_witness_begins_with_the_key_in_use(home, tmp_path):
    """Also where the newest head is the one that names it."""
    run("witness", "keygen", "--out", tmp_path / "w", "--name", "witness.example/1")
    home.fill(1)
    done = rotate(home)
    codes, said = over_the_gap(home, tmp_path, 0, "--log", done.key.vkey())
    assert codes == [0, 0, 0], said
    home.fill(1)
    codes, said = over_the_gap(home, tmp_path, done.size)
    assert codes == [0, 0, 0], said
    drawn = run("checkpoint", "export", home.path, "--since", done.size, "--qr", tmp_path / "q.svg")
    assert drawn.exit_code == 0, drawn.output


def test_a_head_that_names_a_key_crosses_as_a_qr_code_with_both_signatures(home):
    """Lines of strangers are left out, those of the log's two keys are not."""
    home.fill(1)
    done = rotate(home)
    stranger = SigningKey("x", bytes(32)).sign_note("x\n").rpartition("\n\n")[2]
    small = Request(0, (), done.checkpoint + stranger).small(chain(home))
    assert small.note == done.checkpoint


def test_a_log_that_goes_back_to_an_older_key_is_cosigned_no_more(home, tmp_path):
    """Who stole an old key and the one in use gets no line of a witness for the old one."""
    home.fill(1)
    with closing(KeyStore.open(home.path / "keystore.db", readonly=True)) as keys:
        old = keys.signing_key
    rotate(home)
    with closing(KeyStore.open(home.path / "keystore.db", readonly=True)) as keys:
        new = keys.signing_key
    witness, pem = generate("witness.example/1")
    Witness.create(tmp_path / "state", witness.name)
    holder = Witness(load_private(pem), tmp_path / "state")
    note = rows_note(home, 4)
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        holder.cosign(request(0, note[0], chain(home), reader.node), old.public.vkey(), START)
        holder.cosign(request(3, note[1], chain(home), reader.node), None, START)
        tree = Frontier.load(4, reader.node)
    tree.add(bytes(32))
    back = Checkpoint(old.name, 5, tree.root(), more=(next_key(old.public),)).sign(new, old)
    proof = (tree.hashes[1],)
    with pytest.raises(WitnessError, match="goes back to a key"):
        holder.cosign(Request(4, proof, back.note), None, START)


def rows_note(home, size):
    """The checkpoints up to a size, oldest first."""
    store = LedgerStore(home.path / "ledger.db", readonly=True)
    with closing(store), store.reading() as reader:
        return [note for n, note in reader.checkpoints() if n <= size]
