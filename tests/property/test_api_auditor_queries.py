"""Any query at the auditor's addresses is answered as published, or refused without quoting it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote, quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from litestar.testing import TestClient

from audit import paging, streaming
from audit.export import views
from audit.formats.lines import jsonl
from audit.formats.view import Selection
from audit.merkle import verify_consistency, verify_inclusion
from audit.verify import Item
from gateway.api.auditor.accept import prefers_json
from gateway.api.auditor.query import Query, export, listing
from gateway.errors import RequestError
from tests.auditkit import rid
from tests.office import office

PLANTED = "Ottoline078051120"
ADDRESSES = ("records", "records/3", "checkpoint", "proof", "export")
NAMES = ("from", "to", "event", "rid", "cursor", "limit", "sealed", "size", "index", "first",
         "second", "format", "principal", "subject", PLANTED)  # fmt: skip
VALUES = ("", "0", "1", "7", "11", "12", "-1", "9" * 40, "true", "false", "intent", "boot",
          "2026-03-01", "2026-03-01T09:30Z", "2026-13-01", rid(1), "3.11", "11.11", "0.99",
          *streaming.kinds(), PLANTED)  # fmt: skip

_values = st.sampled_from(VALUES) | st.text(max_size=8) | st.just(f"{PLANTED}\0")
_pairs = st.lists(st.tuples(st.sampled_from(NAMES) | st.just(PLANTED), _values), max_size=4)
_queries = _pairs.map(
    lambda pairs: "&".join(f"{quote(n)}={quote(v.encode('utf-8', 'replace'))}" for n, v in pairs)
) | st.binary(max_size=20).map(lambda raw: quote_from_bytes(raw, safe="=&;+%"))


@pytest.fixture(scope="module")
def desk():
    with TemporaryDirectory() as folder, office(Path(folder)) as one:
        one.sign()
        yield one


@pytest.fixture(scope="module")
def client(desk):
    with TestClient(desk.house.app) as client:
        client.headers.update(desk.house.headers("auditor"))
        yield client


@given(address=st.sampled_from(ADDRESSES), query=_queries)
@example(address="export", query="format=jsonl")
@example(address="records", query="sealed=true&limit=1&cursor=3.11")
@example(address="proof", query="first=1&second=11")
@hypothesis_settings(max_examples=300)
def test_any_query_is_answered_or_refused(client, address, query):
    """200, or our shape of a 400 or 404; never the words that were sent."""
    answer = client.get(f"/audit/v1/{address}?{query}")
    if answer.status_code == 200:
        assert "principal" not in query
        assert "subject" not in query
        return
    assert answer.status_code in {400, 404}, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert PLANTED not in answer.text
    assert error["param"] is None or error["param"] in NAMES[:-1]


@given(raw=st.binary(max_size=60))
@hypothesis_settings(max_examples=300)
def test_any_bytes_are_a_query_or_our_error(raw):
    """Nothing else is raised, and the error carries nothing of them."""
    readers = (listing, lambda query: export(query, streaming.kinds()), lambda q: Query(q, NAMES))
    for refusal in (_refusal(read, raw) for read in readers):
        if refusal is not None:
            assert refusal.__suppress_context__ or refusal.__context__ is None
            assert refusal.param is None or refusal.param in NAMES


def _refusal(read: Callable[[bytes], object], raw: bytes) -> RequestError | None:
    try:
        read(raw)
    except RequestError as error:
        return error
    return None


@given(accept=st.text(max_size=60) | st.text(st.sampled_from("application/jsontexplq=.;, 01")))
@hypothesis_settings(max_examples=300)
def test_any_accept_header_chooses(accept):
    """Garbage asks for nothing: the note is given."""
    assert not prefers_json(accept) or "application/json" in accept.lower()


@given(limits=st.lists(st.integers(1, 5), min_size=1, max_size=30), more=st.integers(0, 2))
@hypothesis_settings(max_examples=25)
def test_any_pages_together_are_the_log(client, desk, limits, more):
    """Whatever their lengths, and whatever is appended between them."""
    page = client.get(f"/audit/v1/records?limit={limits[0]}").json()
    size, found, turn = page["size"], page["records"], 0
    while page["next_cursor"]:
        turn += 1
        if turn <= more:  # asking for sealed parts appends a record
            client.get("/audit/v1/records?sealed=true&limit=1")
        limit = limits[turn % len(limits)]
        page = client.get(f"/audit/v1/records?limit={limit}&cursor={page['next_cursor']}").json()
        assert page["size"] == size
        found += page["records"]
    rows = desk.rows()[:size]
    headers = [json.loads(row.body)["header"] for row in rows]
    assert [record["header"] for record in found] == headers


@given(data=st.data())
@hypothesis_settings(max_examples=60)
def test_any_proof_that_is_given_proves(client, desk, data):
    """For any record in any tree, and for any tree against a larger one."""
    leaves = [row.leaf for row in desk.rows()]
    signed = client.get("/audit/v1/proof?index=0").json()["size"]
    size = data.draw(st.integers(1, signed))
    index, first = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    shown = client.get(f"/audit/v1/proof?index={index}&size={size}").json()
    root = base64.b64decode(shown["root_hash"])
    verify_inclusion(leaves[index], index, size, _hashes(shown), root)
    shown = client.get(f"/audit/v1/proof?first={first}&second={size}").json()
    old = base64.b64decode(shown["first_root_hash"])
    verify_consistency(first, size, old, root, _hashes(shown))


def _hashes(shown) -> list[bytes]:
    return [base64.b64decode(text) for text in shown["hashes"]]


@given(
    held=st.integers(1, 5000),
    size=st.integers(1, 11),
    event=st.sampled_from([None, "intent", "outcome", "none"]),
)
@hypothesis_settings(max_examples=40)
def test_an_export_does_not_depend_on_its_pages(desk, held, size, event):
    """However much of the log is held at once, the bytes are those of the whole."""
    selection = Selection(event=event)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "_PAGE_BYTES", held)
        pieces = list(streaming.pieces(desk.desk.reading, "jsonl", size, selection))
    items = [Item(row.index, row.body, row.leaf, row.receipt) for row in desk.rows()[:size]]
    assert b"".join(pieces).decode() == "".join(map(jsonl, views(items, selection)))
