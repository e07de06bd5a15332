"""The log's key is exchanged beside a real gateway, which goes on without a restart (§7.8)."""

from __future__ import annotations

import json

import httpx

from audit.checkpoint import SignedReceipt, VerifyingKey
from audit.errors import NoteError
from tests import running
from tests.simulator import Upstream


def ask(gateway: running.Gateway) -> str:
    """Ask something; the id of its receipt."""
    done = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "auto", "messages": [{"role": "user", "content": "A visit was planned."}]},
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=30,
        trust_env=False,
    )
    assert done.status_code == 200, done.text
    return done.headers["X-Receipt-Id"]


def receipts(gateway: running.Gateway, receipt_id: str) -> list[str]:
    """The signed receipts of a request's records, as its owner is given them."""
    done = httpx.get(
        f"{gateway.url}/v1/receipts/{receipt_id}",
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=30,
        trust_env=False,
    )
    assert done.status_code == 200, done.text
    return [record["signed_receipt"] for record in done.json()["records"]]


def verify(home, *arguments):
    out = running.cli(
        home, "verify", str(home), "-o", "json", *arguments, module="audit", check=False
    )
    return json.loads(out)


def test_a_gateway_signs_with_the_new_key_from_the_next_request_on(tmp_path):
    """Requests before and after, receipts of both, one chain of keys, anchored from the start."""
    kept = tmp_path / "kept.txt"
    with Upstream() as upstream:
        home = tmp_path / "home"
        keys = running.make_home(home, running.upstream_settings(upstream.url))
        gateway = running.start(home, keys)
        try:
            before = receipts(gateway, ask(gateway))
            kept.write_text(running.cli(home, "checkpoint", str(home), module="audit"))
            told = json.loads(
                running.cli(
                    home, "keystore", "rotate-signing", str(home), "-o", "json", module="audit"
                )
            )
            after = receipts(gateway, ask(gateway))
            code = httpx.get(f"{gateway.url}/health/ready", trust_env=False).status_code
        finally:
            gateway.stop()
    assert code == 200
    new = VerifyingKey.parse(told["vkey"])
    for note in after:
        assert SignedReceipt.open(note, new).index >= told["from"]
    for note in before:
        try:
            SignedReceipt.open(note, new)
        except NoteError:
            continue
        raise AssertionError("the new key signed what was before it")
    (tmp_path / "one.txt").write_text(before[0])
    (tmp_path / "two.txt").write_text(after[-1])
    found = verify(
        home, "--checkpoint", str(kept), "--receipt", str(tmp_path / "one.txt"),
        "--receipt", str(tmp_path / "two.txt"),
    )  # fmt: skip
    assert (found["code"], found["receipts"]) == (0, 2), found
    assert [key["vkey"] for key in found["keys"]][1:] == [told["vkey"]]
    assert found["open_intents"] == []
