"""The auditor's addresses over a real ledger: what is listed, proven, handed out and refused."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import runpy
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from litestar.testing import AsyncTestClient

from audit import paging, streaming
from audit.bundle import export_bundle
from audit.checkpoint import Checkpoint, SignedReceipt
from audit.errors import MissingError
from audit.export import open_evidence, views, write_records
from audit.formats.lines import WRITERS
from audit.formats.view import Selection
from audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from audit.record import parse
from audit.verify import verify
from gateway.api.auditor import routes
from gateway.api.auditor.accept import prefers_json
from gateway.api.auditor.export import ExportStream, Stepped, file_name, media_type
from gateway.api.metrics import ROUTES
from gateway.domain import Principal, Purpose, Role
from tests.auditkit import intent, outcome, rid
from tests.fakes import House
from tests.office import office

V1 = "/audit/v1"
PLANTED = "Ottoline-078051120"
ADDRESSES = ("/records", "/records/0", "/checkpoint", "/proof?index=0", "/export?format=jsonl")


@pytest.fixture
def desk(tmp_path):
    with office(tmp_path) as one:
        yield one


@pytest.fixture
async def client(desk):
    async with AsyncTestClient(desk.house.app, base_url=f"http://testserver.local{V1}") as client:
        client.headers.update(desk.house.headers("auditor"))
        yield client


def error_of(answer, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def unbase64(texts) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


# --- records ---------------------------------------------------------------------------------


async def test_a_listing_shows_each_record_once_and_no_sealed_part(client, desk):
    """Pages of three hold what is stored, in order, with the log's signed word for each."""
    desk.sign()
    key, rows, query, found = desk.vkey(), desk.rows(), "limit=3", []
    while query:
        page = (await client.get(f"/records?{query}")).json()
        assert page["object"] == "list"
        assert page["size"] == len(rows)
        assert len(page["records"]) <= 3
        found += page["records"]
        cursor = page["next_cursor"]
        query = cursor and f"limit=3&cursor={cursor}"
    assert [record["index"] for record in found] == list(range(11))
    for shown, row in zip(found, rows, strict=True):
        assert set(shown) == {"index", "header", "leaf_hash", "receipt"}
        assert shown["header"] == json.loads(row.body)["header"]
        assert base64.b64decode(shown["leaf_hash"]) == leaf_hash(row.body)
        assert SignedReceipt.open(shown["receipt"], key).index == row.index
    assert desk.rows() == rows  # reading what is readable leaves no record


async def test_a_listing_is_about_the_log_as_it_was_at_its_first_page(client, desk):
    """What is appended and signed in between is in another listing."""
    desk.sign()
    first = (await client.get("/records?limit=10")).json()
    desk.ledger.submit(intent(77)).result()
    desk.sign()
    last = (await client.get(f"/records?cursor={first['next_cursor']}")).json()
    assert [record["index"] for record in last["records"]] == [10]
    assert (last["size"], last["next_cursor"]) == (11, None)
    assert (await client.get("/records")).json()["size"] == 12


async def test_records_are_chosen_by_event_time_and_receipt(client, desk):
    """Both minutes are part of the span; a receipt's id is taken with and without its owner."""
    desk.home.clock.forward(days=1)
    desk.ledger.submit(intent(77)).result()
    desk.sign()

    async def indices(query: str) -> list[int]:
        answer = await client.get(f"/records?{query}")
        assert answer.status_code == 200, answer.text
        return [record["index"] for record in answer.json()["records"]]

    assert await indices("event=boot") == [0]
    assert await indices("event=intent") == [1, 3, 5, 7, 9, 11]
    assert await indices("from=2026-03-02") == [11]
    assert await indices("to=2026-03-01T09:30Z") == list(range(11))
    assert await indices("to=2026-03-01T09:29") == []
    assert await indices("from=2026-03-01&to=2026-03-01&event=outcome") == [2, 4, 6, 8, 10]
    assert await indices(f"rid={rid(1)}") == [3, 4]
    assert await indices(f"rid={rid(1)}-{'0' * 16}&event=outcome") == [4]
    assert await indices(f"rid={rid(1)}&limit=1") == [3]
    assert await indices(f"rid={rid(1)}&limit=1&cursor=4.12") == [4]
    assert await indices(f"rid={rid(4711)}") == []


async def test_a_receipt_that_was_just_given_is_found(client, desk):
    """No checkpoint is over it yet: one is signed."""
    desk.sign()
    desk.ledger.submit(intent(77)).result()
    page = (await client.get(f"/records?rid={rid(77)}")).json()
    assert [record["index"] for record in page["records"]] == [11]


async def test_sealed_parts_leave_as_stored_and_after_that_is_on_record(client, desk):
    """The bytes are those of the leaf; the record of it names key and filters, sealed."""
    desk.sign()
    answer = await client.get(f"/records?sealed=true&rid={rid(2)}")
    made = desk.records()[-1]
    assert made.header.event == "export.made"
    assert dict(made.header.features) == {"role": "auditor"}
    assert answer.headers["x-receipt-id"].startswith(f"{made.header.rid}-")
    sealed = desk.opened(made).sealed
    key = desk.house.keys["auditor"].record.id
    told = {"from": None, "to": None, "event": None, "rid": rid(2), "cursor": None, "limit": 100}
    assert sealed["principal"] == "auditor"
    assert sealed["key"] == key
    assert sealed["format"] == "records"
    assert sealed["filters"] == told
    for shown in answer.json()["records"]:
        body = base64.b64decode(shown["record"])
        assert body == desk.rows()[shown["index"]].body
        assert desk.opened(parse(body)).text["texts"]


async def test_a_record_has_its_proof_also_before_the_next_checkpoint(client, desk):
    """What is not under a checkpoint yet gets one."""
    assert desk.ledger.checkpoint() is None
    for index in (10, 0):
        answer = await client.get(f"/records/{index}")
        assert "x-receipt-id" not in answer.headers
        shown = answer.json()
        assert "record" not in shown
        proof = shown["proof"]
        head = Checkpoint.open(proof["checkpoint"], desk.vkey())
        assert head.size == proof["size"] == 11
        leaf = leaf_hash(desk.rows()[index].body)
        assert base64.b64decode(shown["leaf_hash"]) == leaf
        verify_inclusion(leaf, index, head.size, unbase64(proof["hashes"]), head.root)


async def test_one_record_with_its_sealed_parts(client, desk):
    """On record, as a listing of them is."""
    answer = await client.get("/records/3?sealed=true")
    assert base64.b64decode(answer.json()["record"]) == desk.rows()[3].body
    made = desk.records()[-1]
    assert answer.headers["x-receipt-id"].startswith(f"{made.header.rid}-")
    sealed = desk.opened(made).sealed
    assert (sealed["format"], sealed["filters"]) == ("record", {"index": 3})


@pytest.mark.parametrize("index", ["11", "999999", "01", "-1", "1.0", "x", "%31%00", "9" * 30])
async def test_a_record_that_is_not_there_is_404(client, index):
    """Whatever the reason."""
    assert error_of(await client.get(f"/records/{index}"), 404)["code"] == "not_found"


# --- checkpoints and proofs ------------------------------------------------------------------


async def test_a_checkpoint_is_the_note_that_was_signed(client, desk):
    """Text for readers of notes, JSON for who asks for it; one of an earlier size by its size."""
    desk.sign()
    desk.ledger.submit(outcome(99)).result()
    desk.sign()
    newest = await client.get("/checkpoint")
    assert newest.headers["content-type"] == "text/plain; charset=utf-8"
    assert newest.text == desk.ledger.checkpoint()
    assert Checkpoint.open(newest.text, desk.vkey()).size == 12
    older = await client.get("/checkpoint?size=11")
    assert Checkpoint.open(older.text, desk.vkey()).size == 11
    shown = await client.get("/checkpoint?size=11", headers={"Accept": "application/json"})
    assert shown.headers["content-type"] == "application/json"
    head = Checkpoint.open(older.text, desk.vkey())
    assert shown.json() == {
        "origin": desk.ledger.origin,
        "size": 11,
        "root_hash": base64.b64encode(head.root).decode(),
        "vkey": desk.vkey().vkey(),
        "note": older.text,
        "keys": [{"from": 0, "vkey": desk.vkey().vkey()}],
    }
    for size in ("10", "13"):
        assert error_of(await client.get(f"/checkpoint?size={size}"), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/*", False),
        ("text/plain", False),
        ("application/json", True),
        ("Application/JSON", True),
        ("text/html, application/json;q=0.9, */*;q=0.8", True),
        ("application/json;q=0.5, text/plain", False),
        ("text/plain;q=0.5, application/json;q=0.6", True),
        ("application/json;q=0", False),
        ("application/json; charset=utf-8; q=0.000", False),
        (";;,=,q=1", False),
    ],
)
def test_which_form_a_client_would_rather_have(accept, json_wanted):
    """By name and quality; in doubt the note."""
    assert prefers_json(accept) is json_wanted


async def test_every_inclusion_proof_proves(client, desk):
    """For each record in each tree up to what is signed."""
    desk.sign()
    leaves = [row.leaf for row in desk.rows()]
    for size in range(1, 12):
        for index in range(size):
            shown = (await client.get(f"/proof?index={index}&size={size}")).json()
            root, path = base64.b64decode(shown["root_hash"]), unbase64(shown["hashes"])
            verify_inclusion(leaves[index], index, size, path, root)
            assert (shown["checkpoint"] is not None) == (size == 11)
    newest = (await client.get("/proof?index=4")).json()
    head = Checkpoint.open(newest["checkpoint"], desk.vkey())
    assert (newest["size"], base64.b64decode(newest["root_hash"])) == (11, head.root)


async def test_every_consistency_proof_proves(client, desk):
    """For each tree against each larger one."""
    desk.sign()
    for second in range(1, 12):
        for first in range(1, second + 1):
            shown = (await client.get(f"/proof?first={first}&second={second}")).json()
            old, new = unbase64([shown["first_root_hash"], shown["second_root_hash"]])
            verify_consistency(first, second, old, new, unbase64(shown["hashes"]))
    newest = (await client.get("/proof?first=7")).json()
    assert newest["second"] == 11
    assert Checkpoint.open(newest["checkpoint"], desk.vkey()).size == 11


async def test_a_log_that_contradicts_itself_proves_nothing(client, desk):
    """A changed node and a record that is gone are 503, not a proof that fails elsewhere."""
    desk.sign()
    path = desk.home.path / "ledger.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE records SET leaf = zeroblob(32) WHERE idx = 4")
        database.execute("DELETE FROM records WHERE idx = 9")
    database.close()
    for address in ("/proof?index=5", "/proof?first=5", "/records/5", "/records/9"):
        assert error_of(await client.get(address), 503)["code"] == "ledger_unavailable"
    shown = (await client.get("/records/4")).json()  # hashed anew: what is stored beside it lies
    assert base64.b64decode(shown["leaf_hash"]) == leaf_hash(desk.rows()[4].body)


# --- exports ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
async def test_an_export_is_what_the_command_writes(client, desk, tmp_path, kind):
    """The same bytes, up to the checkpoint that is over the record of the export."""
    desk.home.clock.forward(days=1)
    desk.ledger.submit(intent(77)).result()
    for query, selection in (
        ("", Selection()),
        ("&event=intent", Selection(event="intent")),
        ("&from=2026-03-02&to=2026-03-02T23:59Z", Selection("2026-03-02T00:00Z")),
    ):
        answer = await client.get(f"/export?format={kind}{query}")
        made, size = desk.records()[-1].header, len(desk.rows())
        assert answer.status_code == 200
        assert answer.headers["x-tree-size"] == str(size)
        assert Checkpoint.open(desk.ledger.checkpoint(), desk.vkey()).size == size
        assert answer.headers["x-receipt-id"].startswith(f"{made.rid}-")
        named = f'attachment; filename="{file_name(kind, size)}"'
        assert answer.headers["content-disposition"] == named
        assert answer.headers["content-type"].partition(";")[0] == media_type(kind)
        out = tmp_path / f"{size}.{kind}"
        with open_evidence(desk.home.path / "ledger.db") as evidence:
            write_records(out, kind, views(evidence.items(), selection))
        assert answer.content == out.read_bytes()


async def test_a_bundle_verifies_and_is_what_the_command_writes(client, desk, tmp_path):
    """Also by the stand-alone verifier; its last record is that of the export."""
    answer = await client.get("/export?format=bundle")
    assert answer.headers["content-type"] == "application/zip"
    zipped, folder = tmp_path / "log.zip", tmp_path / "folder"
    zipped.write_bytes(answer.content)
    export_bundle(desk.home.path / "ledger.db", folder)
    with zipfile.ZipFile(zipped) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {file.name: file.read_bytes() for file in folder.iterdir()}
    with open_evidence(zipped) as evidence:
        assert verify(evidence).code == 10
        assert verify(evidence, kept=[desk.ledger.checkpoint().encode()]).code == 0
        last = list(evidence.items())[-1]
    assert parse(last.body).header.event == "export.made"
    alone = runpy.run_path(str(Path(streaming.__file__).with_name("verify_standalone.py")))
    assert alone["verdict"](str(zipped))[0] == 10


async def test_a_partial_bundle_is_chosen_by_what_is_readable(client, desk, tmp_path):
    """Each record in it is proven to be in the log; none chosen is 404, not an empty proof."""
    answer = await client.get("/export?format=bundle&event=intent")
    out = tmp_path / "some.zip"
    out.write_bytes(answer.content)
    with open_evidence(out) as evidence:
        assert verify(evidence, kept=[desk.ledger.checkpoint().encode()]).code == 0
        assert [item.index for item in evidence.items()] == [1, 3, 5, 7, 9]
    answer = await client.get("/export?format=bundle&event=none")
    assert error_of(answer, 404)["code"] == "not_found"
    assert "x-receipt-id" in answer.headers


async def test_parquet_has_a_row_for_each_record(client, desk):
    """Written while it is read: a file that cannot be rewound."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is an extra")
    answer = await client.get("/export?format=parquet&event=outcome")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    table = parquet.read_table(io.BytesIO(answer.content))
    assert table.column("index").to_pylist() == [2, 4, 6, 8, 10]


async def test_an_export_is_on_record_with_who_asked_for_what(client, desk):
    """Key and filters are sealed; the role is readable."""
    await client.get("/export?format=csv&from=2026-03-01&event=intent")
    made = desk.records()[-1]
    assert (made.header.event, dict(made.header.features)) == ("export.made", {"role": "auditor"})
    sealed = desk.opened(made).sealed
    assert sealed["principal"] == "auditor"
    assert sealed["key"] == desk.house.keys["auditor"].record.id
    assert (sealed["format"], sealed["opened"]) == ("csv", False)
    assert sealed["filters"] == {"from": "2026-03-01T00:00Z", "to": None, "event": "intent"}
    with desk.ledger.reading() as reader:
        assert reader.acts("export.made") == (len(desk.rows()) - 1,)


async def test_what_cannot_be_put_on_record_does_not_leave(client, desk):
    """The ledger takes nothing: 503 and not a byte of it, and the key's place is free again."""
    desk.sign()
    desk.ledger.close()
    for address in ("/export?format=jsonl", "/records?sealed=true", "/records/1?sealed=true"):
        for _ in range(2):
            error = error_of(await client.get(address), 503)
            assert error["code"] == "ledger_unavailable"


def test_between_two_pieces_no_snapshot_is_open(desk, monkeypatch):
    """The write-ahead log can be emptied while an export waits for its client."""
    monkeypatch.setattr(paging, "_PAGE_BYTES", 1)
    emptied = "PRAGMA wal_checkpoint(TRUNCATE)"
    with closing(sqlite3.connect(desk.home.path / "ledger.db")) as database:
        pieces = list(streaming.pieces(desk.desk.reading, "jsonl", 11, Selection()))
        assert len(pieces) == 12
        for _ in streaming.pieces(desk.desk.reading, "jsonl", 11, Selection()):
            desk.ledger.submit(intent(77)).result()
            assert database.execute(emptied).fetchone()[0] == 0
        with desk.ledger.reading() as reader:
            reader.last()
            desk.ledger.submit(intent(78)).result()
            database.execute("PRAGMA busy_timeout = 1")
            assert database.execute(emptied).fetchone()[0] == 1  # what the loop above would say


def test_a_page_ends_with_the_bytes_it_may_hold(desk, monkeypatch):
    """Large records come a few at a time, and each comes."""
    monkeypatch.setattr(paging, "_PAGE_BYTES", 1)
    assert [[row.index for row in page] for page in paging.pages(desk.desk.reading, 3)] == [
        [0], [1], [2],
    ]  # fmt: skip


def test_a_log_that_ends_too_early_is_no_export(desk):
    """Fewer records than the tree has are an error, not the end."""
    pieces = streaming.pieces(desk.desk.reading, "jsonl", 99, Selection())
    with pytest.raises(MissingError):
        list(pieces)


async def test_an_export_that_cannot_begin_is_told_so(client, desk):
    """Not by an answer that is cut off; the error names the record that was made."""
    desk.sign()
    with closing(sqlite3.connect(desk.home.path / "ledger.db")) as database, database:
        database.execute("UPDATE records SET body = 'damaged' WHERE idx = 0")
    for _ in range(2):  # the key's place is free again
        answer = await client.get("/export?format=bundle")
        assert error_of(answer, 503)["code"] == "ledger_unavailable"
        assert "x-receipt-id" in answer.headers


async def _no_disconnect() -> dict[str, object]:
    await asyncio.sleep(3600)
    return {"type": "http.disconnect"}


def stream(desk, pieces, told: list[object], stall_s: float = 60.0) -> ExportStream:
    return ExportStream(
        Stepped(pieces, desk.desk.exporting),
        close=lambda: told.append("closed"),
        failed=told.append,
        media_type="text/csv",
        headers={},
        stall_s=stall_s,
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [(MissingError("gone"), "ledger_unavailable"), (ValueError(PLANTED), "internal_error")],
)
async def test_an_export_that_breaks_is_cut_off(desk, capfd, error, code):
    """The last event of a body is missing, so that no client takes it for whole."""

    def breaking():
        yield b"one"
        raise error

    told, sent = [], []

    async def send(event):
        sent.append(event)

    await stream(desk, breaking(), told)({}, _no_disconnect, send)
    assert [event.get("more_body") for event in sent] == [None, True]
    assert told == [code, "closed"]
    assert PLANTED not in "".join(capfd.readouterr())


async def test_a_client_that_takes_nothing_is_left(desk):
    """After the time it has; its place is free."""
    told, begun = [], 0

    async def send(event):
        nonlocal begun
        begun += 1
        if event["type"] == "http.response.body":
            await asyncio.sleep(3600)

    await stream(desk, iter([b"one", b"two"]), told, stall_s=0.05)({}, _no_disconnect, send)
    assert begun == 2
    assert told == ["request_timeout", "closed"]


async def test_a_client_that_leaves_ends_the_making(desk):
    """The generator is closed; nothing is made for nobody."""
    told, gone = [], asyncio.Event()
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def endless():
        try:
            while True:
                yield b"more"
        finally:
            loop.call_soon_threadsafe(closed.set)

    async def receive():
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(event):
        gone.set()
        await asyncio.sleep(0)

    await stream(desk, endless(), told)({}, receive, send)
    await asyncio.wait_for(closed.wait(), 5)
    assert told == ["closed"]


async def test_a_key_has_one_export_at_a_time(client, desk):
    """Another key has its own; the place is free again at the end."""
    other = desk.house.issue("auditor-2", Role.AUDITOR, Purpose.OPERATIONS)
    granted, purpose = desk.house.keys["auditor"].record.id, Purpose.OPERATIONS
    holder = Principal("auditor", Role.AUDITOR, frozenset({purpose}), purpose, key_id=granted)
    end = desk.desk.begin_export(holder)
    before = len(desk.rows())
    answer = await client.get("/export?format=csv")
    assert error_of(answer, 429)["code"] == "busy"
    assert int(answer.headers["retry-after"]) > 1
    assert len(desk.rows()) == before
    headers = {"Authorization": f"Bearer {other.secret}"}
    assert (await client.get("/export?format=csv", headers=headers)).status_code == 200
    end()
    for _ in range(2):
        assert (await client.get("/export?format=csv")).status_code == 200


async def test_four_exports_run_at_once(client, desk):
    """Of whoever; the fifth is told to come again."""
    purpose = Purpose.OPERATIONS
    for number in range(4):
        holder = Principal(f"a{number}", Role.AUDITOR, frozenset({purpose}), purpose)
        end = desk.desk.begin_export(holder)
    assert error_of(await client.get("/export?format=csv"), 429)["code"] == "busy"
    end()
    assert (await client.get("/export?format=csv")).status_code == 200


# --- who may, and what is refused ------------------------------------------------------------


@pytest.mark.parametrize("address", ADDRESSES)
async def test_other_roles_are_refused_on_record(client, desk, address):
    """403 with a receipt; the record names the principal, sealed."""
    for who, role in (("dr-quill", "clinician"), ("admin", "admin")):
        answer = await client.get(address, headers=desk.house.headers(who))
        assert error_of(answer, 403)["code"] == "permission_denied"
        denied = desk.records()[-1]
        assert denied.header.event == "auth.denied"
        assert dict(denied.header.features) == {"role": role, "error": "permission_denied"}
        assert answer.headers["x-receipt-id"].startswith(f"{denied.header.rid}-")
        assert desk.opened(denied).sealed["principal"] == who


@pytest.mark.parametrize("address", ADDRESSES)
async def test_without_a_key_there_is_nothing(client, desk, address):
    """401 in the same words, and summed like any other."""
    rows = desk.rows()
    answer = await client.get(address, headers={"Authorization": "Bearer clk_no"})
    assert error_of(answer, 401)["code"] == "invalid_api_key"
    assert desk.rows() == rows
    await desk.house.failures.flush()
    assert desk.house.recorded == [{"unknown": 1}]


async def test_a_refusal_that_cannot_be_put_on_record_is_503(client, desk):
    """As everywhere: who is refused unrecorded could try unseen."""
    desk.ledger.close()
    answer = await client.get("/records", headers=desk.house.headers("admin"))
    assert error_of(answer, 503)["code"] == "ledger_unavailable"


REFUSED = {
    "/records?limit=0": "limit",
    "/records?limit=1001": "limit",
    "/records?limit=+1": "limit",
    "/records?limit=01": "limit",
    "/records?from=yesterday": "from",
    "/records?from=2026-02-30": "from",
    "/records?from=2026-03-02&to=2026-03-01": "to",
    "/records?event=Intent": "event",
    "/records?event=a%00b": "event",
    "/records?rid=r1": "rid",
    "/records?cursor=12.11": "cursor",
    "/records?cursor=0.12": "cursor",
    "/records?cursor=1": "cursor",
    "/records?sealed=yes": "sealed",
    "/records?limit=1&limit=1": "limit",
    "/records?from=": "from",
    f"/records?{PLANTED}=1": None,
    "/records?size=3": None,
    "/records?limit": None,
    "/records?limit=%ff": None,
    "/records?&": None,
    "/records/1?limit=3": None,
    "/checkpoint?size=-1": "size",
    "/checkpoint?size=1e3": "size",
    "/proof": None,
    "/proof?size=3": None,
    "/proof?index=1&first=1": None,
    "/proof?index=1&second=1": None,
    "/proof?first=1&size=3": None,
    "/proof?index=11": "index",
    "/proof?index=3&size=3": "index",
    "/proof?index=0&size=0": "size",
    "/proof?index=0&size=12": "size",
    "/proof?first=0": "first",
    "/proof?first=3&second=2": "first",
    "/proof?first=12&second=12": "second",
    "/export": "format",
    "/export?format=xlsx": "format",
    "/export?format=CSV": "format",
    "/export?format=csv&limit=3": None,
    "/export?format=csv&rid=3": None,
}


@pytest.mark.parametrize("address", REFUSED)
async def test_what_is_not_asked_as_published_is_refused(client, desk, address):
    """With the parameter's name, and nothing of the value, before anything is put on record."""
    desk.sign()
    rows = desk.rows()
    answer = await client.get(address)
    error = error_of(answer, 400)
    assert error["param"] == REFUSED[address]
    assert PLANTED not in answer.text
    assert desk.rows() == rows


@pytest.mark.parametrize("name", ["principal", "subject"])
@pytest.mark.parametrize("address", ["/records?", "/export?format=csv&"])
async def test_what_is_sealed_cannot_be_asked_for(client, address, name):
    """The answer says why, and what to use instead."""
    answer = await client.get(f"{address}{name}={PLANTED}")
    error = error_of(answer, 400)
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert "no auditor's private key" in error["message"]
    assert f"auditlog export --{name}" in error["message"]
    assert PLANTED not in answer.text


async def test_only_get_is_served(client):
    """Nothing of the log is written over HTTP."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await client.request(method, "/records")
        assert error_of(answer, 405)["code"] == "method_not_allowed"


async def test_every_address_has_a_guard_and_a_name_in_the_metrics(desk):
    """A new one cannot forget either."""
    paths = [route for route in desk.house.app.routes if route.path.startswith(V1)]
    assert len(paths) == 5
    for route in paths:
        for handler in route.route_handlers:
            if handler.http_methods != {"OPTIONS"}:
                assert len(handler.resolve_guards()) == 2, route.path
                assert handler.opt["route"] in ROUTES


async def test_every_address_and_parameter_is_documented(desk, root):
    """In the table of addresses, and on the page about them."""
    spec = (root / "docs" / "spec" / "http.md").read_text("utf-8")
    page = (root / "docs" / "ops" / "audit-api.md").read_text("utf-8")
    for route in desk.house.app.routes:
        if route.path.startswith(V1):
            (name,) = [h.opt["route"] for h in route.route_handlers if "route" in h.opt]
            assert f"`{name}`" in page
            assert f"{name.removeprefix(V1)}`" in spec
    formats = (root / "docs" / "ops" / "export.md").read_text("utf-8")
    for kind in streaming.kinds():
        assert f"`{kind}`" in formats
    assert routes.SIZE_HEADER in page


async def test_without_a_desk_there_are_no_such_addresses(tmp_path):
    """An application that has no ledger does not pretend to."""
    house = House(tmp_path / "keys.json")
    async with AsyncTestClient(house.app) as client:
        answer = await client.get(f"{V1}/records", headers=house.headers("auditor"))
    assert answer.status_code == 404


async def test_csv_has_a_line_for_each_record(client):
    """A reader of RFC 4180 finds as many as the tree has."""
    answer = await client.get("/export?format=csv")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(line["index"]) for line in lines] == list(range(12))
