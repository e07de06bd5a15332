"""A whole gateway under faults: clear errors without user text, no model call, an honest log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests import planted, running
from tests.simulator import Upstream

NOTE = f"{planted.LETTER} Please summarise."


@pytest.fixture
def upstream():
    with Upstream(pause_s=0.02) as one:
        yield one


def home_for(tmp_path: Path, upstream: Upstream) -> tuple[Path, dict[str, str]]:
    home = tmp_path / "home"
    return home, running.make_home(home, running.upstream_settings(upstream.url))


def post(gateway: running.Gateway, text: str, **body: object) -> httpx.Response:
    return httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "auto", "messages": [{"role": "user", "content": text}], **body},
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=30,
        trust_env=False,
    )


def verdict(home: Path) -> dict[str, object]:
    out = running.cli(home, "verify", str(home), "-o", "json", module="audit", check=False)
    return dict(json.loads(out))


def test_killed_between_intent_and_outcome(tmp_path, upstream):
    """After kill -9 in mid-answer: what was acknowledged is there, the open intent is reported."""
    home, keys = home_for(tmp_path, upstream)
    gateway = running.start(home, keys)
    done = post(gateway, NOTE)
    acknowledged = done.headers["x-receipt-id"]
    with httpx.stream(
        "POST",
        f"{gateway.url}/v1/chat/completions",
        json={
            "model": "auto",
            "stream": True,
            "messages": [{"role": "user", "content": "SLOW 900"}],
        },
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        trust_env=False,
    ) as stream:
        next(stream.iter_bytes())
        gateway.stop(signal.SIGKILL)
    assert verdict(home)["code"] == 10
    again = running.start(home, keys)  # a new boot makes the intent without outcome a crash's
    try:
        url = f"{again.url}/v1/receipts/{acknowledged}"
        auth = {"Authorization": f"Bearer {keys['clinician']}"}
        receipt = httpx.get(url, headers=auth, trust_env=False).json()
        assert [record["event"] for record in receipt["records"]] == ["intent", "outcome"]
        assert post(again, NOTE).status_code == 200
    finally:
        again.stop()
    after = verdict(home)
    assert after["code"] == 10
    assert len(after["open_intents"]) == 1
    assert planted.leaking_files(home) == []
    assert planted.leaks(gateway.log.read_bytes()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_stops_the_model_and_recovers(tmp_path, upstream):
    """No space for the intent: 503, no model call, readiness red; space again: it answers."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("this sandbox mounts no tmpfs")
    home = disk / "home"
    try:
        keys = running.make_home(home, running.upstream_settings(upstream.url))
        gateway = running.start(home, keys)
        try:
            assert post(gateway, NOTE).status_code == 200
            fill(disk / "filler")
            calls = len(upstream.seen)
            refused = last_of_a_few(gateway, 503)
            assert refused.json()["error"]["code"] == "ledger_unavailable"
            assert planted.leaks(refused.content) == []
            assert len(upstream.seen) - calls < ATTEMPTS
            before = len(upstream.seen)
            assert post(gateway, NOTE).status_code == 503
            assert len(upstream.seen) == before
            ready = httpx.get(f"{gateway.url}/health/ready", trust_env=False)
            assert ready.status_code == 503
            assert "ledger_not_writable" in ready.json()["reasons"]
            (disk / "filler").unlink()
            wait_for(lambda: post(gateway, NOTE).status_code == 200)
        finally:
            gateway.stop()
        assert verdict(home)["code"] == 10
    finally:
        subprocess.run(["umount", str(disk)], check=True)


ATTEMPTS = 40


def last_of_a_few(gateway: running.Gateway, status: int) -> httpx.Response:
    """The WAL may have room for some more records; then there is none."""
    for _ in range(ATTEMPTS):
        answer = post(gateway, NOTE)
        if answer.status_code == status:
            return answer
    raise AssertionError(f"never {status}")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                size //= 2


def wait_for(check, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_policy_with_a_typo_keeps_the_gateway_from_starting(tmp_path, upstream):
    """The error names file, line and column; nothing listens."""
    home, keys = home_for(tmp_path, upstream)
    shipped = (running.ROOT / "policies" / "hipaa.yaml").read_text()
    (home / "policies" / "hipaa.yaml").write_text(shipped.replace("rules:", "ruels:", 1))
    with pytest.raises(AssertionError, match=r"hipaa\.yaml:\d+:\d+"):
        running.start(home, keys)


def test_an_expired_policy_denies_and_is_not_ready(tmp_path, upstream):
    """A policy past its date: the gateway says so and calls no model."""
    home, keys = home_for(tmp_path, upstream)
    shipped = (running.ROOT / "policies" / "hipaa.yaml").read_text()
    lines = [line for line in shipped.splitlines() if not line.startswith("expires:")]
    at = next(i for i, line in enumerate(lines) if line.startswith("effective:"))
    lines[at] = "effective: 2020-01-01\nexpires: 2021-01-01"
    (home / "policies" / "hipaa.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(AssertionError, match=r"not ready"):
        running.start(home, keys, wait_s=10)
    assert upstream.seen == []


@pytest.mark.parametrize("missing", ["receipts.key", "auditors.json", "keystore.db", "ledger.db"])
def test_a_missing_part_of_the_home_keeps_the_gateway_from_starting(tmp_path, upstream, missing):
    """Without its keys, its auditors or its ledger a gateway refuses; it does not make new ones."""
    home, keys = home_for(tmp_path, upstream)
    (home / missing).unlink()
    with pytest.raises(AssertionError, match=r"gateway: "):
        running.start(home, keys)
    assert not (home / missing).exists()


def test_a_locked_key_store_opens_with_its_passphrase_only(tmp_path, upstream):
    """Locked and rotated while the gateway answers; a wrong passphrase keeps it from starting."""
    home, keys = home_for(tmp_path, upstream)
    phrase = home / "phrase"
    phrase.write_text("a passphrase of the test\n")
    phrase.chmod(0o600)
    settings = (home / "settings.toml").read_text()
    gateway = running.start(home, keys)
    try:
        assert post(gateway, NOTE).status_code == 200
        lock = '\n[keystore]\nlock = "passphrase"\npassphrase_file = "phrase"\n'
        (home / "settings.toml").write_text(settings + lock)
        for verb in ("lock", "rotate"):
            running.cli(home, "keystore", verb, str(home), module="audit")
            assert post(gateway, NOTE).status_code == 200
    finally:
        gateway.stop()
    again = running.start(home, keys)
    try:
        assert post(again, NOTE).status_code == 200
    finally:
        again.stop()
    phrase.write_text("another one\n")
    with pytest.raises(AssertionError, match=r"the passphrase does not open the key store"):
        running.start(home, keys)
    assert verdict(home)["code"] == 10


def test_no_key_store_lets_nobody_in(tmp_path, upstream):
    """API keys that cannot be read: every request is refused, readiness is red."""
    home, keys = home_for(tmp_path, upstream)
    gateway = running.start(home, keys)
    try:
        (home / "api-keys.json").write_text("{")
        assert post(gateway, NOTE).status_code in {401, 503}
        ready = httpx.get(f"{gateway.url}/health/ready", trust_env=False)
        assert ready.json()["reasons"] == ["key_store_unreadable"]
        assert upstream.seen == []
    finally:
        gateway.stop()


def test_an_upstream_that_is_gone_is_a_clear_error_and_an_outcome(tmp_path):
    """The upstream refuses connections: 503 without user text, an outcome on record."""
    with Upstream() as upstream:
        home, keys = home_for(tmp_path, upstream)
    with_nobody = running.start(home, keys)
    try:
        answer = post(with_nobody, NOTE)
        assert answer.status_code in {502, 503}
        assert planted.leaks(answer.content) == []
        assert answer.headers["x-receipt-id"]
    finally:
        with_nobody.stop()
    after = verdict(home)
    assert after["code"] == 10
    assert after["open_intents"] == []


BAD_BODIES = {
    "not JSON": b"{",
    "empty": b"",
    "a list": b"[]",
    "NUL bytes": b'{"model":"auto","messages":[{"role":"user","content":"a\x00b"}]}',
    "lone surrogate": b'{"model":"auto","messages":[{"role":"user","content":"\\ud800 Quorvex"}]}',
    "invalid UTF-8": b'{"model":"auto","messages":[{"role":"user","content":"\xff"}]}',
    "wrong types": b'{"model":5,"messages":"Quorvex"}',
    "unknown role": b'{"model":"auto","messages":[{"role":"Quorvex","content":"a"}]}',
    "unknown model": b'{"model":"Quorvex","messages":[{"role":"user","content":"a"}]}',
    "unknown key": b'{"model":"auto","Quorvex":1,"messages":[{"role":"user","content":"a"}]}',
    "deep": b'{"model":"auto","messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "ten megabytes": b'{"messages":[{"role":"user","content":"' + b"a" * 10_000_000 + b'"}]}',
}  # fmt: skip


@pytest.fixture(scope="module")
def running_gateway(tmp_path_factory):
    with Upstream() as upstream:
        home = tmp_path_factory.mktemp("bad") / "home"
        with running.running(home, running.upstream_settings(upstream.url)) as gateway:
            yield gateway, upstream


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_bodies_are_clear_errors_that_quote_nothing(running_gateway, body):
    """Each is a 4xx in OpenAI's shape, quotes nothing of the body, and reaches no model."""
    gateway, upstream = running_gateway
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        content=body,
        headers={
            "Authorization": f"Bearer {gateway.keys['clinician']}",
            "Content-Type": "application/json",
        },
        timeout=30,
        trust_env=False,
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert b"Quorvex" not in answer.content
    assert upstream.seen == []
