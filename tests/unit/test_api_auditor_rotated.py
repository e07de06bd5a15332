"""The auditor's addresses over a log whose key was rotated, before and while they are asked."""

from __future__ import annotations

import base64
import json
import zipfile

import pytest
from litestar.testing import AsyncTestClient

from audit.chain import Chain
from audit.checkpoint import Checkpoint
from audit.errors import NoteError
from audit.export import open_evidence, views, write_records
from audit.formats.lines import WRITERS
from audit.formats.view import Selection
from audit.merkle import verify_consistency, verify_inclusion
from audit.record import parse
from audit.rotate import rotate_signing
from audit.verify import verify
from tests.auditkit import outcome
from tests.conformance.test_audit_verifiers import standalone
from tests.office import office

V1 = "/audit/v1"


@pytest.fixture
def desk(tmp_path):
    """Eleven records under the first key, the rotation, and two under the second."""
    with office(tmp_path) as one:
        one.sign()
        rotate_signing(one.home.path, clock=one.home.clock)
        for number in (98, 99):
            one.ledger.submit(outcome(number)).result()
        one.sign()
        yield one


@pytest.fixture
async def client(desk):
    async with AsyncTestClient(desk.house.app, base_url=f"http://testserver.local{V1}") as client:
        client.headers.update(desk.house.headers("auditor"))
        yield client


def chain(desk) -> Chain:
    with desk.ledger.reading() as reader:
        return Chain.stored(reader)


async def shown(client, query=""):
    answer = await client.get(f"/checkpoint{query}", headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_checkpoint_is_shown_with_the_keys_up_to_it(client, desk):
    """Each note opens with the key it is shown with; that of the rotation with both."""
    first, second = (key.vkey() for _, key in chain(desk).keys)
    keys = [{"from": 0, "vkey": first}, {"from": 12, "vkey": second}]
    for query, size, vkey, known in (
        ("?size=11", 11, first, keys[:1]), ("?size=12", 12, second, keys),
        ("?size=14", 14, second, keys), ("", 14, second, keys),
    ):  # fmt: skip
        found = await shown(client, query)
        assert (found["size"], found["vkey"], found["keys"]) == (size, vkey, known)
        assert (await client.get(f"/checkpoint{query}")).text == found["note"]
        assert chain(desk).open(found["note"]).size == size
    old = chain(desk).first
    assert Checkpoint.open((await shown(client, "?size=12"))["note"], old).size == 12
    with pytest.raises(NoteError):
        Checkpoint.open((await shown(client))["note"], old)


async def test_who_knows_the_first_key_follows_the_log_by_what_is_served(client, desk):
    """With nothing but these addresses: the checkpoint where each key begins names it."""
    told = (await shown(client))["keys"]
    notes = [(await client.get(f"/checkpoint?size={key['from']}")).text for key in told[1:]]
    assert Chain.follow(told[0]["vkey"], notes) == chain(desk)


async def test_records_of_both_times_carry_receipts_and_proofs_that_hold(client, desk):
    """The receipt by the key of its place; every proof under one newest checkpoint."""
    listed = (await client.get("/records?limit=100")).json()["records"]
    assert [record["index"] for record in listed] == list(range(14))
    assert listed[11]["header"]["event"] == "key.rotated"
    for record in listed:
        receipt = chain(desk).receipt(record["receipt"])
        leaf = base64.b64decode(record["leaf_hash"])
        assert (receipt.index, receipt.leaf_hash) == (record["index"], leaf)
        proof = (await client.get(f"/records/{record['index']}")).json()["proof"]
        head = chain(desk).open(proof["checkpoint"])
        hashes = [base64.b64decode(text) for text in proof["hashes"]]
        verify_inclusion(leaf, record["index"], head.size, hashes, head.root)


async def test_the_log_grows_over_the_rotation(client, desk):
    """From any tree to any other, whichever key signed them."""
    for first in range(1, 15):
        for second in range(first, 15):
            proof = (await client.get(f"/proof?first={first}&second={second}")).json()
            old, new, *path = (
                base64.b64decode(text)
                for text in (
                    proof["first_root_hash"], proof["second_root_hash"], *proof["hashes"],
                )
            )  # fmt: skip
            verify_consistency(first, second, old, new, path)
            if second in (11, 12, 14):
                assert chain(desk).open(proof["checkpoint"]).root == new


async def test_a_rotation_between_two_answers_is_taken_up(client, desk):
    """Nothing is restarted, and a listing that was begun goes on under its own size."""
    page = (await client.get("/records?limit=5")).json()
    rotate_signing(desk.home.path, clock=desk.home.clock)
    rest = (await client.get(f"/records?limit=99&cursor={page['next_cursor']}")).json()
    assert [record["index"] for record in rest["records"]] == list(range(5, 14))
    assert [key["from"] for key in (await shown(client))["keys"]] == [0, 12, 15]


@pytest.mark.parametrize("kind", WRITERS)
async def test_each_format_tells_of_the_rotation(client, desk, tmp_path, kind):
    """As the command writes it, and the new key stands in it where the format has features."""
    answer = await client.get(f"/export?format={kind}&event=key.rotated")
    assert answer.status_code == 200
    with open_evidence(desk.home.path / "ledger.db") as evidence:
        chosen = views(evidence.items(), Selection(event="key.rotated"))
        assert write_records(tmp_path / "out", kind, chosen) == 1
    assert answer.content == (tmp_path / "out").read_bytes()
    assert b"rotated" in answer.content
    if kind in ("jsonl", "ocsf"):
        assert chain(desk).current.public.hex() in answer.text


@pytest.mark.parametrize(
    ("query", "chosen"),
    [("", None), ("&event=outcome", 7), ("&event=key.rotated", 1), ("&event=boot", 1)],
)
async def test_bundles_of_all_and_of_some_records_verify(client, desk, tmp_path, query, chosen):
    """Under the first key in the manifest, against what was kept of each time."""
    old = (await client.get("/checkpoint?size=11")).text.encode()
    answer = await client.get(f"/export?format=bundle{query}")
    out = tmp_path / "log.zip"
    out.write_bytes(answer.content)
    with zipfile.ZipFile(out) as archive:
        assert json.loads(archive.read("manifest.json"))["vkey"] == chain(desk).first.vkey()
    newest = desk.ledger.checkpoint().encode()
    with open_evidence(out) as evidence:
        report = verify(evidence, kept=[old, newest], known=chain(desk).current)
        found = [parse(item.body).header.event for item in evidence.items()]
    assert (report.code, report.chosen) == (0, chosen), report.words
    assert [start for start, _ in report.keys] == [0, 12]
    assert len(found) == (chosen or report.records)
    assert standalone(str(out), [old, newest])[0] == 0


async def test_a_damaged_list_of_keys_is_said_and_nothing_is_shown(client, desk):
    """A checkpoint that cannot be judged is not handed on as if it were good."""
    with desk.ledger._store.writing() as writer:
        writer.set_fact("rotations", b"[]")
    for address in ("/checkpoint", "/records", "/proof?index=0"):
        assert (await client.get(address)).status_code == 503
