"""Properties of the log: any tree, any texts, any bytes."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, SignedReceipt, SigningKey, open_note
from audit.errors import AuditError, FormatError, NoteError, ProofError, RecordError
from audit.export import open_evidence
from audit.keys import generate_auditor, load_private
from audit.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from audit.record import READABLE, Entry, check_features, parse
from audit.seal import Position, Sealer, open_entry, pad, padded_length, unpad
from audit.verify import verify
from audit.verify_standalone import verdict
from tests.auditkit import seeded

KEY = SigningKey("log.example/1", bytes(range(32)))
AUDITOR, PEM = generate_auditor("auditor")
PRIVATE = load_private(PEM)
# Whatever JSON from a client can hold: lone surrogates and control characters included.
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
NAMES = st.from_regex(r"\A[a-z]{1,8}\Z")


def mth(leaves):
    """RFC 6962 §2.1 as it is written: the reference for what merkle.py computes cleverly."""
    import hashlib  # noqa: PLC0415 - only the reference needs it

    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256().digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + mth(leaves[:split]) + mth(leaves[split:])).digest()


def grown(size):
    frontier, nodes, leaves = Frontier(), {}, []
    for index in range(size):
        leaves.append(leaf_hash(b"%d" % index))
        nodes[0, index] = leaves[-1]
        nodes |= {(level, i): value for level, i, value in frontier.append(leaves[-1])}
    return frontier, (lambda level, index: nodes[level, index]), leaves


@given(st.data(), st.integers(1, 70))
@settings(max_examples=60)
def test_every_proof_of_every_tree_verifies_and_no_neighbour_does(data, size):
    """Roots follow the recursion of the RFC; proofs hold for their place and for no other."""
    frontier, node, leaves = grown(size)
    assert frontier.root() == mth(leaves)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    proof = inclusion_proof(index, size, node)
    verify_inclusion(leaves[index], index, size, proof, frontier.root())
    for other in {0, size - 1, index + 1} - {index, size}:
        with pytest.raises(ProofError):
            verify_inclusion(leaves[index], other, size, proof, frontier.root())
    path = consistency_proof(old, size, node)
    verify_consistency(old, size, mth(leaves[:old]), frontier.root(), path)
    with pytest.raises(ProofError):
        verify_consistency(old, size, leaf_hash(b"x"), frontier.root(), path)


@given(st.binary(max_size=5000))
def test_padding_comes_off_exactly_and_tells_little(data):
    """Padmé: what was padded comes back; at most 12 % more above 256 bytes, and few lengths."""
    padded = pad(data)
    assert unpad(padded) == data
    framed = len(data) + 4
    assert len(padded) == padded_length(framed)
    assert framed <= len(padded) <= max(256, framed * 1.12)
    assert padded_length(len(padded)) == len(padded)


@given(
    sealed=st.dictionaries(
        TEXTS, st.one_of(TEXTS, st.integers(), st.floats(allow_nan=False, allow_infinity=False))
    ),
    texts=st.dictionaries(NAMES, TEXTS, max_size=3),
    values=st.dictionaries(TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=2), max_size=3),
    subject=st.none() | TEXTS,
)
@settings(max_examples=60)
def test_whatever_is_sealed_comes_back_and_shows_nowhere(sealed, texts, values, subject):
    """Any strings a request can hold are opened as they went in; the record stays canonical."""
    sealer, kept = Sealer([AUDITOR], seeded(1)), {}
    entry = Entry("deidentify", sealed=sealed, texts=texts, values=values, subject=subject)
    entry.check()
    place = Position("log.example/1", "0" * 32, 1, "2026-03-01T09:30Z", "2032-03", "now")
    done = sealer.begin().seal(entry, place)
    kept |= {key.id: key.key for key in done.keys}
    assert rfc8785.dumps(json.loads(done.body)) == done.body
    opened = open_entry(parse(done.body), kept.get, PRIVATE)
    assert opened.sealed == sealed
    assert opened.text.get("texts", {}) == texts
    assert opened.text.get("subject") == subject
    assert {group["group"]: group["values"] for group in opened.values} == values
    for text in (*texts.values(), *sealed):
        raw = text.encode("utf-8", "surrogatepass")
        assert len(raw) < 12 or raw not in done.body


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*READABLE, "note"]), JSONS, max_size=3))
@settings(max_examples=60)
def test_any_features_pass_or_raise_our_error(features):
    """No shape of a value makes the check itself fail."""
    try:
        check_features(features)
    except RecordError:
        return
    assert features.keys() <= READABLE.keys()


@given(st.binary() | JSONS.map(lambda value: json.dumps(value).encode("utf-8", "replace")))
def test_any_bytes_are_a_record_or_a_format_error(body):
    """Bytes from a hostile log never raise anything else."""
    with pytest.raises(FormatError):
        parse(body)


@given(st.binary() | TEXTS | st.text().map(lambda text: KEY.sign_note(text + "\n")))
def test_any_note_opens_or_raises_a_note_error(note):
    """Notes of every kind, signed ones with hostile texts among them."""
    for opener in (open_note, Checkpoint.open, SignedReceipt.open):
        try:
            opener(note, KEY.public)
        except NoteError:
            continue
        assert opener is open_note


@given(st.dictionaries(
    st.sampled_from(["manifest.json", "records.log", "checkpoints.json"]),
    st.binary(max_size=200) | JSONS.map(lambda value: json.dumps(value).encode()),
))  # fmt: skip
@settings(max_examples=80)
def test_any_files_get_a_verdict_that_is_not_good(files):
    """A folder of anything at all ends both verifiers in 20 or 40, and in the same."""
    with TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        try:
            with open_evidence(Path(folder)) as evidence:
                code = int(verify(evidence).code)
        except AuditError as failed:
            code = 40 if isinstance(failed, FormatError) else 20
        assert code in (20, 40)
        assert verdict(folder)[0] == code
