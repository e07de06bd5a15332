"""Forged ciphertexts, wraps and lists: nothing opens that was not sealed so, in any field.

The tree tells that a record was changed; here somebody who may rewrite the tree, too, moves what
is sealed about. Each part and wrap is bound to its place (audit-format.md §4.2, §4.4).
"""

from __future__ import annotations

import base64
import copy
import json
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.auditorlist import load_registry
from audit.errors import AuditError, FormatError, KeyStoreError, MissingError, SealError
from audit.keys import KeyStore, generate_auditor, load_private
from audit.ledger import Ledger, init_home
from audit.record import Entry, parse
from audit.seal import Position, Sealer, open_entry
from tests.auditkit import HandClock, quick_folder, seeded

PAIRS = [generate_auditor(name) for name in ("first", "second")]
FIRST, SECOND = (load_private(pem) for _, pem in PAIRS)
IDS = [auditor.id for auditor, _ in PAIRS]


@cache
def sealed():
    """Four records in two turns, about two subjects, and the key store that opens them."""
    sealer, kept, bodies = Sealer([auditor for auditor, _ in PAIRS], seeded(7)), {}, []
    for number in range(4):
        if number % 2 == 0:
            batch = sealer.begin()
        entry = Entry(
            "intent",
            f"{number:032x}",
            {"role": "clinician"},
            {"principal": f"ward-{number}"},
            {"prompt": f"visit {number}", "note": "as before"},
            values={group: {"<P>": f"{group} {number}"} for group in ("PERSON_1", "PERSON_2")},
            subject=f"MRN {number % 2}",
        )
        place = Position("log.example/1", "0" * 32, number, "2026-03-01T09:30Z", "2032-03", "now")
        done = batch.seal(entry, place)
        kept |= {key.id: key.key for key in done.keys}
        bodies.append(done.body)
    return tuple(bodies), kept


def opened(body, private=FIRST):
    return open_entry(parse(body), sealed()[1].get, private)


def record(number):
    return json.loads(sealed()[0][number])


PARTS, RECORDS = st.integers(0, 3), st.integers(0, 3)


def test_what_is_sealed_here_opens_for_both():
    """The forgeries below start from records that open whole."""
    for body in sealed()[0]:
        for private in (FIRST, SECOND):
            found = opened(body, private)
            assert (found.erased, len(found.values), len(found.text["texts"])) == (0, 2, 2)


@given(RECORDS, PARTS, RECORDS, PARTS, st.sampled_from(["part", "c", "w", "wrap"]))
@settings(max_examples=150)
def test_nothing_sealed_opens_in_another_place(mine, part, theirs, other, what):
    """Parts, ciphertexts and wraps, of the same record, turn and subject or of others."""
    value, source = record(mine), record(theirs)["parts"][other]
    same = (mine, part) == (theirs, other)
    target = value["parts"][part]
    match what:
        case "part":
            value["parts"][part] = source
        case "wrap":
            target["w"][IDS[0]] = source["w"][IDS[0]]
        case field:
            target[field] = source[field]
    forged = rfc8785.dumps(value)
    if same:
        assert opened(forged).erased == 0
        return
    with pytest.raises((SealError, MissingError)):
        opened(forged)


@given(RECORDS, PARTS)
def test_the_wrap_of_one_auditor_is_none_of_another(number, part):
    """Exchanged, or copied: neither opens; the other auditor's own still does."""
    value = record(number)
    wraps = value["parts"][part]["w"]
    wraps[IDS[0]] = wraps[IDS[1]]
    forged = rfc8785.dumps(value)
    with pytest.raises(SealError):
        opened(forged)
    assert opened(forged, SECOND).erased == 0


@given(RECORDS, PARTS, RECORDS, st.data())
@settings(max_examples=60)
def test_a_turn_of_another_record_opens_nothing(mine, part, theirs, data):
    """Who holds the key store's keys exchanges what HPKE sealed inside a wrap: still bound."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - forged once

    from audit.seal import _wrap_info, context  # noqa: PLC0415
    from audit.seal import hashlib as hashes  # noqa: PLC0415

    if mine // 2 == theirs // 2:
        theirs = (mine + 2) % 4  # of the other turn
    keys = sealed()[1]

    def inner(number, ordinal):
        body = sealed()[0][number]
        found = parse(body)
        ids = [bytes.fromhex(found.header.key), *[i for i, _ in opened(body).keys]]
        bound = context(found.bound, found.parts[ordinal].name, ordinal)
        info = _wrap_info(hashes.sha256(bound).digest(), IDS[0])
        under, wrap = AESGCM(keys[ids[ordinal]]), dict(found.parts[ordinal].wraps)[IDS[0]]
        return under, info, under.decrypt(wrap[:12], wrap[12:], info)

    under, info, mine_inner = inner(mine, part)
    _, _, their_inner = inner(theirs, data.draw(PARTS))
    turn = 32 + 48  # enc and the sealed key of the turn
    forged = their_inner[:turn] + mine_inner[turn:]
    value = record(mine)
    wrap = bytes(12) + under.encrypt(bytes(12), forged, info)
    value["parts"][part]["w"][IDS[0]] = base64.b64encode(wrap).decode()
    with pytest.raises(SealError):
        opened(rfc8785.dumps(value))


@given(RECORDS, st.data())
@settings(max_examples=150)
def test_a_bit_changed_anywhere_in_a_record_does_not_open_as_another(number, data):
    """Either it is no record any more, or does not open, or an auditor reads what was sealed."""
    body = sealed()[0][number]
    place = data.draw(st.integers(0, len(body) - 1))
    mask = 1 << data.draw(st.integers(0, 7))
    forged = body[:place] + bytes([body[place] ^ mask]) + body[place + 1 :]
    try:
        found = opened(forged)
    except (FormatError, SealError, MissingError):
        return
    # Only the other auditor's wraps, and decoys, are read by nobody here.
    assert found == opened(body)


SMALL = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False)
WORDS = st.text(max_size=6) | st.sampled_from(["AA==", "00" * 16, "*", "cloister/1"])
NAMED = st.text(max_size=4)
ANY = st.recursive(
    SMALL | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMED, inner, max_size=3),
    max_leaves=4,
)


def paths(value, so_far=()):
    """Where something stands in a JSON value: each a way of names and positions."""
    yield so_far
    steps = enumerate(value) if isinstance(value, list) else ()
    for step, inner in value.items() if isinstance(value, dict) else steps:
        yield from paths(inner, (*so_far, step))


def replaced(data, value):
    """A value with one thing in it replaced, dropped or doubled."""
    value = copy.deepcopy(value)
    way = data.draw(st.sampled_from([way for way in paths(value) if way]))
    at = value
    for step in way[:-1]:
        at = at[step]
    match data.draw(st.sampled_from(["replace", "drop", "double"])):
        case "replace":
            at[way[-1]] = data.draw(ANY)
        case "drop":
            del at[way[-1]]
        case "double" if isinstance(at, list):
            at.append(at[way[-1]])
        case _:
            at["more"] = at[way[-1]] if isinstance(at, dict) else None
    return value


@given(RECORDS, st.data())
@settings(max_examples=200)
def test_garbage_in_any_field_of_a_record_is_an_error_of_ours(number, data):
    """Reading and opening end in our error, or in what was sealed."""
    value = replaced(data, record(number))
    forged = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        found = opened(forged.encode("utf-8", "surrogatepass"))
    except AuditError:
        return
    assert found.sealed == {"principal": f"ward-{number}"}


@cache
def listed():
    with TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        init_home(home, [auditor for auditor, _ in PAIRS])
        return json.loads((home / "auditors.json").read_text("utf-8"))


@given(st.data())
@settings(max_examples=150)
def test_garbage_in_the_list_of_auditors_is_refused_or_changes_nothing(data):
    """No edit registers anybody: what loads has the keys that were there, or fewer."""
    value = replaced(data, listed())
    with TemporaryDirectory() as folder:
        path = Path(folder) / "auditors.json"
        path.write_text(json.dumps(value), "utf-8")
        try:
            found = load_registry(path)
        except (KeyStoreError, FormatError):
            return
    assert {auditor.id for auditor in found.auditors.values()} <= set(IDS)


GARBAGE = SMALL | st.integers() | st.text(max_size=8) | st.binary(max_size=80)


@given(st.sampled_from(["secrets", "keys"]), GARBAGE, st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_garbage_in_a_row_of_the_key_store_is_an_error_of_ours(table, garbage, data):
    """A ledger over such a key store opens and appends, or raises one of our errors."""
    with quick_folder() as folder:
        home = folder / "home"
        init_home(home, [PAIRS[0][0]])
        ledger = Ledger.open(home, clock=HandClock())
        ledger.submit(Entry("boot")).result()
        ledger.close()
        with closing(sqlite3.connect(home / "keystore.db")) as database, database:
            column = data.draw(
                st.sampled_from(["value"] if table == "secrets" else ["key", "month"])
            )
            which = "name" if table == "secrets" else "id"
            rows = [row[0] for row in database.execute(f"select {which} from {table}")]  # noqa: S608
            try:
                database.execute(
                    f"update {table} set {column} = ? where {which} = ?",  # noqa: S608
                    (garbage, data.draw(st.sampled_from(rows))),
                )
            except (sqlite3.IntegrityError, OverflowError):
                return
        try:
            ledger = Ledger.open(home, clock=HandClock())
        except AuditError:
            return
        try:
            assert ledger.submit(Entry("boot")).result().index == 1
        finally:
            ledger.close()
        keys = KeyStore.open(home / "keystore.db", readonly=True)
        try:
            for key_id in list(keys.ids()):
                key = keys.key(key_id)
                assert key is None or isinstance(key, bytes)
        except KeyStoreError:
            pass
        finally:
            keys.close()
