"""Real notes and passages, with planted values, through a running gateway; then the evidence.

The ledger is exported and verified, and every file that the gateway wrote is searched for every
planted value in every form: database pages and WAL, logs, temporary files.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import planted, running
from tests.conftest import ROOT

NOTES = [
    "Subjective: cough for three days, no fever. Plan: fluids, rest, recheck in one week.",
    "HISTORY\n\nThe patient denies chest pain. BP 120/80, WBC 12.4. Continue metformin 500 mg BID.",
    "PROCEDURE\n\nThe case originated in an application against the Republic of Ruritania.",
    "1. The lease ends on expiry. 2. Either party may terminate with ninety days' notice.",
]
COUNT = 40
UNANCHORED = 10


AGED = re.compile(r"\b(?:born|birth)\b[^.]{0,40}\b19[0-3]\d\b|\b9\d[- ]year")


def texts(corpora: Path, name: str) -> list[str]:
    """``COUNT`` texts without an age over 89: policy makes 90+ of it, which nothing undoes."""
    rows = (corpora / name).read_text("utf-8").splitlines()
    found = [json.loads(row)["text"] for row in rows]
    return [text for text in found if not AGED.search(text)][:COUNT]


def send(gateway: running.Gateway, role: str, text: str, *, stream: bool) -> str:
    """The restored answer."""
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": f"{text}\n\n{planted.LETTER}"}],
        "stream": stream,
    }
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {gateway.keys[role]}"},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    if not stream:
        return answer.json()["choices"][0]["message"]["content"]
    lines = [line for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)


def check_evidence(gateway: running.Gateway, tmp_path: Path) -> None:
    """Export, verify both ways, and search everything on disk."""
    bundle = tmp_path / "bundle"
    running.cli(gateway.home, "export", str(gateway.home), "--out", str(bundle), module="audit")
    for command in (
        [sys.executable, "-m", "audit", "verify", str(bundle)],
        [sys.executable, "-I", str(ROOT / "audit" / "verify_standalone.py"), str(bundle)],
    ):
        env = running.environment(gateway.home)
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == UNANCHORED, done.stdout + done.stderr
    values = [value for value in planted.VALUES if value != planted.CARD] + ["4111111111111111"]
    assert planted.leaking_files(gateway.home, values) == []
    assert planted.leaking_files(bundle, values) == []
    assert planted.leaks(gateway.log.read_bytes(), values) == []
    assert planted.leaking_files(running.temporary(gateway.home), values) == []
    metrics = httpx.get(f"{gateway.url}/metrics", trust_env=False).content
    assert planted.leaks(metrics, values) == []


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_texts_of_our_own_come_back_and_leave_nothing(gateway, upstream, stream):
    """Each text is restored exactly; the upstream saw none of the planted values."""
    for role, note in zip(["clinician", "clinician", "lawyer", "lawyer"], NOTES, strict=True):
        before = len(upstream.seen)
        assert send(gateway, role, note, stream=stream) == f"{note}\n\n{planted.LETTER}"
        seen = "".join(upstream.seen[before:]).encode()
        assert seen
        assert planted.leaks(seen) == []


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("role", "name"), [("clinician", "aci-bench-notes.jsonl"), ("lawyer", "tab144.jsonl")]
)
def test_forty_real_texts_come_back_and_leave_nothing(
    gateway, upstream, corpora, role, name, stream
):
    """The same for forty clinical notes and forty court passages."""
    for text in texts(corpora, name):
        before = len(upstream.seen)
        assert send(gateway, role, text, stream=stream) == f"{text}\n\n{planted.LETTER}"
        assert planted.leaks("".join(upstream.seen[before:]).encode()) == []


def test_the_evidence_is_whole_and_nothing_on_disk_shows_a_value(gateway, tmp_path):
    """After the requests above (this file's order) the log verifies and no file holds a value."""
    send(gateway, "clinician", NOTES[0], stream=False)
    check_evidence(gateway, tmp_path)
