"""Witnesses: they cosign what extends the head they hold, and nothing else."""

from __future__ import annotations

import json
import stat

import pytest
from typer.testing import CliRunner

from audit.chain import Chain
from audit.checkpoint import Checkpoint, SigningKey, VerifyingKey
from audit.cli import app
from audit.cosignature import WitnessKey, cosigners, merge
from audit.errors import FormatError, MissingError, NoteError, WitnessError
from audit.merkle import Frontier, leaf_hash
from audit.record import Entry
from audit.witness import Request, Witness, generate, load_private, request
from tests.auditkit import START, append_requests, make_home

LOG = SigningKey("log.example/1", bytes(range(32)))
# https://c2sp.org/tlog-cosignature: the example of the specification.
C2SP_NOTE = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/"
    "Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs"
    "X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


def leaves(count, salt=b""):
    return [leaf_hash(salt + bytes([n])) for n in range(count)]


def root(hashes):
    tree = Frontier()
    for leaf in hashes:
        tree.add(leaf)
    return tree.root()


def asked(old, hashes, signer=LOG):
    """A request over a tree of these leaves, from a witness that holds ``old`` of them."""
    head = Checkpoint(signer.name, len(hashes), root(hashes)).sign(signer)

    def node(level, index):
        return root(hashes[index << level : (index + 1) << level])

    return request(old, head.note, Chain(signer.public), node)


@pytest.fixture
def witness(tmp_path):
    key, pem = generate("witness.example/1")
    Witness.create(tmp_path / "state", key.name)
    return key, Witness(load_private(pem), tmp_path / "state")


def cosign(witness, wanted, vkey=None):
    return witness[1].cosign(wanted, vkey, START)


def test_a_head_that_grows_is_cosigned(witness):
    """First with the log's key, then by the proof alone; the line is valid and says when."""
    note = cosign(witness, asked(0, leaves(3)), LOG.public.vkey())
    assert witness[0].time_of(note) == int(START.timestamp())
    assert Checkpoint.open(note, LOG.public).size == 3
    note = cosign(witness, asked(3, leaves(7)))
    assert cosigners(note, [witness[0]]) == ("witness.example/1",)
    assert cosign(witness, asked(3, leaves(7))).startswith("log.example/1\n7\n")


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (asked(0, leaves(3)), "5 were cosigned before"),
        (asked(0, leaves(5, b"x")), "the log was forked"),
        (asked(5, [*leaves(4), *leaves(3, b"x")]), "does not extend the 5 records"),
        (asked(5, leaves(7, b"x")), "does not extend the 5 records"),
        (asked(4, leaves(7)), "export with --since 5"),
        (asked(0, leaves(7)), "export with --since 5"),
        (asked(0, leaves(7), SigningKey("log.example/2", bytes(32))), "this log is new here"),
        (asked(0, leaves(7), SigningKey("log.example/1", bytes(32))), "no signature"),
    ],
)
def test_whatever_does_not_extend_the_held_head_is_refused(witness, tmp_path, wanted, words):
    """Rolled back, forked, rewritten, another log or key: plain words, no line, state as before."""
    cosign(witness, asked(0, leaves(5)), LOG.public.vkey())
    before = (tmp_path / "state").read_bytes()
    with pytest.raises((WitnessError, NoteError), match=words):
        cosign(witness, wanted)
    assert (tmp_path / "state").read_bytes() == before


def test_a_log_is_held_to_the_key_of_its_first_head(witness):
    """A second key for a known log is refused, whoever names it."""
    cosign(witness, asked(0, leaves(5)), LOG.public.vkey())
    other = SigningKey("log.example/1", bytes(32))
    with pytest.raises(WitnessError, match="another key"):
        cosign(witness, asked(5, leaves(6), other), other.public.vkey())


@pytest.mark.parametrize("damage", [None, b"", b"{}", b'{"v":1,"name":"w","logs":{"a":1}}'])
def test_a_witness_without_its_memory_signs_nothing(witness, tmp_path, damage):
    """A state that is gone or damaged is no empty state: a fork could be cosigned."""
    (tmp_path / "state").unlink()
    if damage is not None:
        (tmp_path / "state").write_bytes(damage)
    with pytest.raises(MissingError):
        cosign(witness, asked(0, leaves(3)), LOG.public.vkey())


@pytest.mark.parametrize(
    "data",
    [b"", b"old 1", b"old -1\n\nx", b"old 01\n\nx", b"new 1\n\nx", b"old 1\nAA=\n\nx", b"\xff\n\n",
     b"old 1\n" + b"AA==\n" * 64 + b"\nx"],
)  # fmt: skip
def test_garbage_is_no_request(data):
    """Any bytes give a request or our error."""
    with pytest.raises(FormatError):
        Request.parse(data)


def test_a_request_crosses_as_text():
    """What is written is read again; it is the body of tlog-witness."""
    wanted = asked(3, leaves(7))
    assert Request.parse(wanted.text().encode()) == wanted
    assert wanted.text().startswith("old 3\n")


def test_a_cosignature_is_bound_to_head_time_and_name(witness):
    """A bit changed in the time or the signature, or another text, and it does not verify."""
    note = cosign(witness, asked(0, leaves(3)), LOG.public.vkey())
    key = witness[0]
    assert WitnessKey.parse(key.vkey()) == key
    text, _, lines = note.partition("\n\n")
    forged = text.replace("\n3\n", "\n4\n") + "\n\n" + lines
    with pytest.raises(NoteError):
        key.time_of(forged)
    for place in (6, 20):
        line = lines.splitlines()[1]
        name, encoded = line[2:].split(" ")
        other = "A" if encoded[place + 4] != "A" else "B"
        bad = f"\u2014 {name} {encoded[: place + 4]}{other}{encoded[place + 5 :]}\n"
        with pytest.raises(NoteError):
            key.time_of(f"{text}\n\n{lines.splitlines()[0]}\n{bad}")
    assert cosigners(note, [generate("witness.example/1")[0]]) == ()


def test_a_log_key_is_no_witness_key_and_the_other_way_round(witness):
    """The types of signed-note keep signatures of heads and cosignatures apart."""
    with pytest.raises(NoteError):
        WitnessKey.parse(LOG.public.vkey())
    with pytest.raises(NoteError):
        VerifyingKey.parse(witness[0].vkey())


def test_only_new_lines_of_named_witnesses_are_merged(witness):
    """Lines of strangers stay out of the ledger; the same line is not kept twice."""
    wanted = asked(0, leaves(3))
    note = cosign(witness, wanted, LOG.public.vkey())
    stranger = SigningKey("x", bytes(32)).sign_note("x\n").rpartition("\n\n")[2]
    merged, added = merge(wanted.note, note + stranger, [witness[0]])
    assert (merged, added) == (note, 1)
    assert merge(merged, note, [witness[0]]) == (merged, 0)
    with pytest.raises(NoteError):
        merge(asked(0, leaves(4)).note, note, [witness[0]])


def run(*arguments, **options):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)


def test_a_head_goes_over_the_gap_and_comes_back(tmp_path):
    """Export, cosign, import, verify: the anchor is the witness; too few are no anchor."""
    home, key = make_home(tmp_path / "home"), tmp_path / "w"
    home.fill(2)
    assert run("witness", "keygen", "--out", key, "--name", "witness.example/1").exit_code == 0
    assert stat.S_IMODE(key.stat().st_mode) == stat.S_IMODE((tmp_path / "w.state").stat().st_mode)
    assert run("witness", "keygen", "--out", key, "--name", "witness.example/1").exit_code == 1
    other = generate("witness.example/2")[0].vkey()
    vkey = json.loads(json.dumps(VerifyingKey.parse(_vkey(home.path)).vkey()))
    for since, records in ((0, 5), (5, 8)):
        done = run("checkpoint", "export", home.path, "--since", since, "--out", tmp_path / "asked")
        assert done.exit_code == 0, done.output
        log = ["--log", vkey] if not since else []
        done = run("checkpoint", "cosign", tmp_path / "asked", "--key", key, *log,
                   "--out", tmp_path / "cosigned")  # fmt: skip
        assert done.exit_code == 0, done.output
        done = run("checkpoint", "import", home.path, "--from", tmp_path / "cosigned",
                   "--witness", tmp_path / "w.pub")  # fmt: skip
        assert f"1 cosignature kept with the checkpoint of {records}" in done.stdout
        with home.ledger() as ledger:
            ledger.submit(Entry("boot")).result()
            append_requests(ledger, 1)
    assert run("verify", home.path).exit_code == 10
    done = run("verify", home.path, "--witness", tmp_path / "w.pub")
    assert (done.exit_code, "the first 8" in done.stdout) == (0, True), done.output
    two = ["--witness", tmp_path / "w.pub", "--witness", other]
    done = run("verify", home.path, *two)
    assert (done.exit_code, "and 1 did" in done.stdout) == (10, True)
    assert run("verify", home.path, *two, "--threshold", 1).exit_code == 0
    assert run("verify", home.path, *two, "--threshold", 3).exit_code == 2
    assert run("export", home.path, "--out", tmp_path / "bundle.zip").exit_code == 0
    assert run("verify", tmp_path / "bundle.zip", "--witness", tmp_path / "w.pub").exit_code == 0
    with home.ledger() as ledger:
        assert ledger.writable


def _vkey(home):
    from audit.export import open_evidence  # noqa: PLC0415 - once

    with open_evidence(home) as evidence:
        return evidence.vkey()


def test_a_head_fits_a_qr_code(tmp_path):
    """As a picture and in a terminal; the picture's name says what it is."""
    home = make_home(tmp_path / "home")
    home.fill(2)
    done = run("checkpoint", "export", home.path, "--qr", tmp_path / "head.svg")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "head.svg").read_bytes().startswith(b"<?xml")
    run("checkpoint", "export", home.path, "--qr", tmp_path / "head.png")
    assert (tmp_path / "head.png").read_bytes().startswith(b"\x89PNG")
    assert "\u2588" in run("checkpoint", "export", home.path, "--qr", "-").stdout
    assert run("checkpoint", "export", home.path, "--qr", tmp_path / "x.gif").exit_code == 2


def test_the_plain_command_still_prints_the_newest_checkpoint(tmp_path):
    """``auditlog checkpoint HOME`` is what auditors keep."""
    home = make_home(tmp_path / "home")
    home.fill(1)
    done = run("checkpoint", home.path)
    assert Checkpoint.open(done.stdout, VerifyingKey.parse(_vkey(home.path))).size == 3
    assert "import" in run("checkpoint", "--help").stdout


def test_the_note_of_the_specification_is_read(witness):
    """Lines of witnesses that nobody named are left alone."""
    assert cosigners(C2SP_NOTE, [witness[0]]) == ()
