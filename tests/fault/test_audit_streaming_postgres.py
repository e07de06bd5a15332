"""An export of a log on a PostgreSQL server holds no transaction while its client waits."""

from __future__ import annotations

import json
import secrets

import pytest
from litestar.testing import AsyncTestClient

from audit import paging, streaming
from audit.export import open_evidence
from audit.formats.view import Selection
from audit.verify import verify
from tests import postgres
from tests.auditkit import intent
from tests.office import office

pytestmark = pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"


@pytest.fixture(scope="module")
def server():
    with postgres.running() as running:
        yield running


@pytest.fixture
def desk(server, tmp_path):
    postgres.settle(tmp_path / "ward", server.fresh(f"d{secrets.token_hex(8)}"))
    with office(tmp_path) as one:
        one.sign()
        yield one


def test_between_two_pieces_no_transaction_is_open(server, desk, monkeypatch):
    """A page for each record, and each in a snapshot of its own."""
    monkeypatch.setattr(paging, "_PAGE_BYTES", 1)
    found = []
    for piece in streaming.pieces(desk.desk.reading, "jsonl", 11, Selection()):
        desk.ledger.submit(intent(77)).result()
        assert server.sql(OPEN) == "0"
        found += [json.loads(line)["index"] for line in piece.splitlines()]
    assert found == list(range(11))
    with desk.ledger.reading() as reader:
        reader.last()
        assert server.sql(OPEN) == "1"  # what the loop above would say


async def test_the_addresses_are_the_same(desk, tmp_path):
    """Records, proofs, checkpoints and a bundle that verifies."""
    async with AsyncTestClient(desk.house.app) as client:
        client.headers.update(desk.house.headers("auditor"))
        for address in ("records?event=intent", "records/3", "proof?index=4", "proof?first=5"):
            assert (await client.get(f"/audit/v1/{address}")).status_code == 200
        kept = await client.get("/audit/v1/checkpoint")
        bundle = await client.get("/audit/v1/export?format=bundle")
    out = tmp_path / "log.zip"
    out.write_bytes(bundle.content)
    with open_evidence(out) as evidence:
        report = verify(evidence, kept=[kept.content])
    assert (report.code, report.records) == (0, 12)
