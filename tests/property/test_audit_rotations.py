"""Rotations anywhere in a log's life: it verifies, and all that was ever kept still anchors it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.bundle import export_bundle
from audit.chain import Chain, next_key
from audit.checkpoint import Checkpoint, SigningKey
from audit.errors import NoteError
from audit.rotate import rotate_signing
from audit.verify import Code
from tests.auditkit import intent, make_home, quick_folder
from tests.conformance.test_audit_verifiers import judge, standalone

STEPS = st.lists(st.sampled_from(["append", "rotate", "open", "publish"]), min_size=1, max_size=9)
NAME = "log.example/1"
KEYS = [SigningKey(NAME, bytes([n]) * 32) for n in range(4)]


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_whatever_is_done_between_rotations_the_log_is_one_chain(steps):
    """Checkpoints and receipts of every time hold under the chain of keys at the end."""
    with quick_folder() as folder:
        home = make_home(folder / "home")
        kept, receipts, ledger = [], [], None
        for number, step in enumerate(["append", *steps, "append"]):
            if step == "rotate":
                kept.append(rotate_signing(home.path, clock=home.clock).checkpoint.encode())
                continue
            if step == "open" and ledger is not None:
                ledger.__exit__(None, None, None)
                ledger = None
            if ledger is None:
                ledger = home.ledger()
                opened = ledger.__enter__()
            if step == "append":
                receipts.append(opened.submit(intent(number)).result().receipt.note.encode())
            opened.publish().result()
            kept.append(opened.checkpoint().encode())
        ledger.__exit__(None, None, None)
        export_bundle(home.path / "ledger.db", folder / "bundle")
        report = judge(folder / "bundle", kept, receipts)
        assert report.code is Code.ANCHORED, report.words
        assert len(report.keys) == 1 + steps.count("rotate")
        assert standalone(str(folder / "bundle"), kept, receipts)[0] == 0


@given(
    signers=st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True),
    named=st.sampled_from(KEYS),
    known=st.integers(1, 3),
)
def test_a_chain_grows_only_by_a_new_key_that_both_signed(signers, named, known):
    """Whoever else signs and whatever is named: the chain is longer by that key, or it raises."""
    later = tuple((size, key.public) for size, key in enumerate(KEYS[1:known], start=1))
    chain = Chain(KEYS[0].public, later)
    head = Checkpoint(NAME, 9, bytes(32), more=(next_key(named.public),)).sign(*signers)
    right = named not in KEYS[:known] and {named, KEYS[known - 1]} <= set(signers)
    try:
        found = chain.extended(head.note)
    except NoteError:
        assert not right
    else:
        assert right
        assert found.later == (*later, (9, named.public))
        assert (found.at(8), found.at(9)) == (chain.current, named.public)


@given(st.binary(max_size=80), st.sampled_from(["", "next-key ", "next-key " + NAME + "+"]))
def test_any_extension_line_gives_a_chain_or_our_error(line, begin):
    """Garbage behind the root of a checkpoint neither crashes nor makes a key."""
    text = begin + line.decode("latin-1").translate(dict.fromkeys(range(32), "x"))
    more = (text or "x",)
    head = Checkpoint(NAME, 9, bytes(32), more=more).sign(KEYS[0], KEYS[1])
    chain = Chain(KEYS[0].public)
    try:
        found = chain.extended(head.note)
    except NoteError:
        assert text.startswith("next-key ")
    else:
        assert found == chain
        assert not text.startswith("next-key ")
