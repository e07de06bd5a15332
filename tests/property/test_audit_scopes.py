"""Scopes: who is out of scope opens nothing, and who is in scope opens all (§4.7)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.auditors import Registry, Request, auditor_json, parse_auditor
from audit.errors import FormatError, KeyStoreError, MissingError, SealError
from audit.keys import generate_auditor, load_private
from audit.recipients import ANY, Auditor, Scope
from audit.record import Entry, parse
from audit.seal import Position, Sealer, open_entry
from tests.auditkit import seeded

ROLES = ["clinician", "lawyer", "researcher"]
MATTERS = ["m-1", "m-2", "m-3"]
PAIRS = [generate_auditor(name, hybrid=name == "b") for name in "abc"]
PRIVATES = [load_private(pem) for _, pem in PAIRS]
PLACE = Position("log.example/1", "0" * 32, 1, "2026-03-01T09:30Z", "2032-03", "now")


def some(names):
    return st.just(frozenset({ANY})) | st.frozensets(st.sampled_from(names), min_size=1)


SCOPES = st.builds(Scope, some(ROLES), some(MATTERS))


@given(
    scopes=st.lists(SCOPES, min_size=3, max_size=3),
    role=st.none() | st.sampled_from(ROLES),
    matter=st.none() | st.sampled_from(MATTERS),
    values=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_in_scope_opens_all_and_out_of_scope_nothing(scopes, role, matter, values):
    """For every role, matter and set of scopes; and no length tells who is in scope."""
    auditors = [
        Auditor(one.name, one.public, scope) for (one, _), scope in zip(PAIRS, scopes, strict=True)
    ]
    features = {} if role is None else {"role": role}
    entry = Entry(
        "deidentify",
        features=features,
        sealed={"matter": matter, "principal": "ward-7"},
        texts={"prompt": "text"},
        values={f"P{n}": {f"<P{n}>": f"value {n}"} for n in range(values)},
    )
    fits = [
        (ANY in scope.roles or role in scope.roles)
        and (ANY in scope.matters or matter in scope.matters)
        for scope in scopes
    ]
    sealer = Sealer(auditors, seeded(1))
    if not any(fits):
        with pytest.raises(SealError):
            sealer.begin().seal(entry, PLACE)
        return
    done = sealer.begin().seal(entry, PLACE)
    kept = {key.id: key.key for key in done.keys}
    record = parse(done.body)
    for fit, private in zip(fits, PRIVATES, strict=True):
        if fit:
            opened = open_entry(record, kept.get, private)
            assert opened.sealed == entry.sealed
            assert opened.text["texts"] == {"prompt": "text"}
            assert len(opened.values) == values
        else:
            with pytest.raises(MissingError):
                open_entry(record, kept.get, private)
    shapes = {tuple((who, len(wrap)) for who, wrap in part.wraps) for part in record.parts}
    assert len(shapes) == 1


@given(one=SCOPES, other=SCOPES, role=st.sampled_from(ROLES), matter=st.sampled_from(MATTERS))
def test_a_scope_that_includes_another_covers_all_of_it(one, other, role, matter):
    """What widening is checked with agrees with what sealing goes by."""
    if one.includes(other) and other.covers(role, matter):
        assert one.covers(role, matter)


@given(scope=SCOPES, since=st.text(max_size=20))
def test_an_entry_of_the_list_comes_back(scope, since):
    """Through JSON, as the file keeps it."""
    auditor = Auditor("a", PAIRS[0][0].public, scope, PAIRS[0][0].signer, since)
    assert parse_auditor(json.loads(json.dumps(auditor_json(auditor)))) == auditor


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("add"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["v", "act", "auditor", "signatures", "registry", "minute", "name"]),
            inner,
            max_size=7,
        )
    ),
    max_leaves=12,
)


@given(ANYTHING)
@settings(max_examples=60)
def test_any_json_is_a_request_or_our_error(value):
    """And no request without signatures changes anything."""
    try:
        asked = Request.parse(value)
    except FormatError:
        return
    with pytest.raises(KeyStoreError):
        Registry.of([PAIRS[0][0]]).apply(asked)
