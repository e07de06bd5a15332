"""An auditor at the real gateway, with curl and httpx: what arrives, and what does not."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import sqlite3
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from audit.checkpoint import Checkpoint, VerifyingKey
from audit.ledger import Ledger
from audit.merkle import verify_consistency
from tests import running
from tests.auditkit import intent
from tests.running import Gateway
from tests.simulator import Upstream

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

RECORDS = 1500
LETTER = "word " * 1600
CUT_SHORT = 18  # curl: "Partial file"
EXPORT = "/audit/v1/export?format=bundle"


def filled(home: Path, upstream: Upstream) -> Gateway:
    """A gateway whose log is larger than what sockets keep for a client that does not read."""
    keys = running.make_home(home, running.upstream_settings(upstream.url))
    ledger = Ledger.open(home, clock=lambda: datetime.now(UTC))
    waiting = [ledger.submit(intent(n, texts={"prompt": LETTER})) for n in range(RECORDS)]
    waiting[-1].result()
    ledger.close()
    return running.start(home, keys)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, upstream: Upstream) -> Iterator[Gateway]:
    one = filled(tmp_path_factory.mktemp("auditor") / "home", upstream)
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture
def client(gateway) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {gateway.keys['auditor']}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=60) as one:
        yield one


def curl(gateway: Gateway, folder: Path, *words: str) -> int:
    """Run curl as docs/ops/audit-api.md has it: the key stands in a file."""
    config = folder / "auditor.curl"
    config.write_text(f'header = "Authorization: Bearer {gateway.keys["auditor"]}"\n')
    done = subprocess.run(
        ["curl", "-fsS", "-K", str(config), *words],
        check=False,
        capture_output=True,
        timeout=100,
    )
    return done.returncode


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


@needs_curl
def test_an_auditor_fetches_a_bundle_with_curl_and_verifies_it(gateway, tmp_path):
    """Anchored to a checkpoint that was fetched, and kept, before."""
    kept, bundle = tmp_path / "kept.txt", tmp_path / "log.zip"
    assert curl(gateway, tmp_path, f"{gateway.url}/audit/v1/checkpoint", "-o", str(kept)) == 0
    assert curl(gateway, tmp_path, f"{gateway.url}{EXPORT}", "-o", str(bundle)) == 0
    words = ["verify", str(bundle), "--checkpoint", str(kept), "-o", "json"]
    verdict = json.loads(running.cli(gateway.home, *words, module="audit"))
    assert verdict["code"] == 0
    assert verdict["records"] > RECORDS
    alone = tmp_path / "alone"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(alone)
    done = subprocess.run(
        ["python3", str(alone / "verify_standalone.py"), str(bundle), "--checkpoint", str(kept)],
        check=False,
        capture_output=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_who_holds_the_key_chooses_by_what_is_sealed(gateway, client, tmp_path):
    """What the gateway refuses is done on the auditor's machine, with the bundle it gave."""
    refused = client.get("/audit/v1/export?format=jsonl&principal=ward-7")
    assert refused.status_code == 400
    bundle, out = tmp_path / "log.zip", tmp_path / "ward-7.jsonl"
    bundle.write_bytes(client.get(EXPORT).content)
    key, store = gateway.home / "demo-auditor.pem", gateway.home / "keystore.db"
    words = ["export", str(bundle), "--format", "jsonl", "--principal", "ward-7", "--out", str(out)]
    running.cli(gateway.home, *words, "--key", str(key), "--keystore", str(store), module="audit")
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(found) == RECORDS
    assert {record["sealed"]["principal"] for record in found} == {"ward-7"}


@needs_curl
def test_curl_saves_an_export_under_its_own_name(gateway, tmp_path):
    """``-OJ`` takes the name that the gateway gives: of how many records the log was."""
    words = ["-OJ", "--output-dir", str(tmp_path), f"{gateway.url}/audit/v1/export?format=jsonl"]
    assert curl(gateway, tmp_path, *words) == 0
    (file,) = tmp_path.glob("*.jsonl")
    size = int(re.fullmatch(r"cloister-([0-9]+)\.jsonl", file.name)[1])
    indices = [json.loads(line)["index"] for line in file.read_text().splitlines()]
    assert indices == list(range(size))


def test_the_log_extends_what_was_kept(gateway, client):
    """A consistency proof over HTTP leads from one signed note to the next."""
    key = VerifyingKey.parse(
        client.get("/audit/v1/checkpoint", headers={"Accept": "application/json"}).json()["vkey"]
    )
    old = Checkpoint.open(client.get("/audit/v1/checkpoint").text, key)
    asked = {"messages": [{"role": "user", "content": "Hello."}]}
    headers = {"Authorization": f"Bearer {gateway.keys['clinician']}"}
    answer = client.post("/v1/chat/completions", json=asked, headers=headers)
    receipt = answer.headers["x-receipt-id"]
    shown = client.get("/audit/v1/records", params={"rid": receipt}).json()
    assert [r["header"]["event"] for r in shown["records"]] == ["intent", "outcome"]
    proof = client.get("/audit/v1/proof", params={"first": old.size}).json()
    new = Checkpoint.open(proof["checkpoint"], key)
    assert new.size > old.size
    path = [base64.b64decode(text) for text in proof["hashes"]]
    verify_consistency(old.size, new.size, old.root, new.root, path)


@contextmanager
def held(gateway: Gateway, address: str = EXPORT) -> Iterator[socket.socket]:
    """An export that has begun, at a client that does not read on."""
    request = (
        f"GET {address} HTTP/1.1\r\nHost: gateway\r\n"
        f"Authorization: Bearer {gateway.keys['auditor']}\r\n\r\n"
    )
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(30)
        one.connect(("127.0.0.1", gateway.port))
        one.sendall(request.encode())
        assert one.recv(64).startswith(b"HTTP/1.1 200")
        yield one


def test_who_reads_slowly_holds_nobody_up(gateway, client):
    """Others are answered, records are appended, and the write-ahead log can be emptied."""
    headers = {"Authorization": f"Bearer {gateway.keys['clinician']}"}
    asked = {"messages": [{"role": "user", "content": "Hello."}]}
    with held(gateway):
        for _ in range(3):
            answer = client.post("/v1/chat/completions", json=asked, headers=headers)
            assert answer.status_code == 200
        with sqlite3.connect(gateway.home / "ledger.db", timeout=5) as database:
            busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        database.close()
        assert busy == 0
        assert client.get("/audit/v1/records?limit=1").status_code == 200
        assert client.get("/audit/v1/export?format=csv").status_code == 429  # it still runs


def test_a_key_has_one_export_and_who_leaves_gives_its_place_back(gateway, client):
    """429 while it runs; a moment after the client has gone the next one begins."""
    with held(gateway):
        answer = client.get("/audit/v1/export?format=csv")
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "busy"
    deadline = time.monotonic() + 20
    while (answer := client.get("/audit/v1/export?format=csv&event=boot")).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.status_code == 200


@needs_curl
def test_an_export_that_fails_half_way_fails_at_the_client(gateway, client, tmp_path):
    """Nobody takes a part for all of it: curl says so, and httpx."""
    path = gateway.home / "ledger.db"
    with _damaged(path, RECORDS - 10):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/audit/v1/export?format=jsonl")
        out = tmp_path / "log.zip"
        assert curl(gateway, tmp_path, f"{gateway.url}{EXPORT}", "-o", str(out)) == CUT_SHORT
        assert out.stat().st_size > 0
    assert client.get("/audit/v1/export?format=jsonl").status_code == 200
    log = gateway.log.read_text()
    assert '"event": "export_cut"' in log
    assert "Traceback" not in log


@contextmanager
def _damaged(path: Path, index: int) -> Iterator[None]:
    """A record that is none, for a while."""
    database = sqlite3.connect(path, timeout=10, isolation_level=None)
    (body,) = database.execute("SELECT body FROM records WHERE idx = ?", (index,)).fetchone()
    database.execute("UPDATE records SET body = 'damaged' WHERE idx = ?", (index,))
    try:
        yield
    finally:
        database.execute("UPDATE records SET body = ? WHERE idx = ?", (body, index))
        database.close()


@pytest.mark.slow
def test_a_gateway_stops_although_somebody_exports(tmp_path, upstream):
    """The grace that answers have is all that an export has, and the log is whole."""
    one = filled(tmp_path / "home", upstream)
    with held(one):
        one.stop(timeout_s=30)
    assert '"event": "gateway_stopped"' in one.log.read_text()
    assert "Traceback" not in one.log.read_text()
    words = ["verify", str(one.home), "-o", "json"]
    verdict = json.loads(running.cli(one.home, *words, module="audit", check=False))
    assert verdict["code"] == 10
    assert verdict["records"] == RECORDS + 3  # set-up, start, and the export that was cut off


def test_the_gateways_memory_does_not_grow_with_an_export(gateway, client):
    """More than 10 MiB pass through a few."""
    client.get("/audit/v1/export?format=csv")  # what is loaded once is loaded by now
    before = _peak(gateway)
    with client.stream("GET", EXPORT) as answer:
        passed = sum(len(piece) for piece in answer.iter_raw())
    assert passed > 10 << 20
    assert _peak(gateway) - before < 6 << 10


def _peak(gateway: Gateway) -> int:
    """The process' peak memory in KiB."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1])
