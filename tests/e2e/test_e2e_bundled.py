"""The model in the box, behind its wall: the demo, and the promise that it only quotes."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from tests import planted, running

NOTE = (
    "Mrs. Zephyrina Quorvex (MRN: 84720193) was seen for a cough.\n"
    "She takes lisinopril 10 mg daily.\n"
    "Her chest X-ray was normal.\n"
    "She will return in two weeks."
)


@pytest.fixture(scope="module")
def bundled(tmp_path_factory):
    with running.running(tmp_path_factory.mktemp("bundled") / "home") as gateway:
        yield gateway


def post(gateway, **body):
    return httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "auto", **body},
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=60,
        trust_env=False,
    )


@pytest.mark.parametrize(
    "question",
    ["Which medication does the patient take?", "Was the X-ray normal?", "Summarise the note."],
)
def test_every_sentence_of_an_answer_stands_in_the_prompt(bundled, question):
    """An answer is whole sentences of the note, restored, or the line of abstention."""
    answer = post(bundled, messages=[{"role": "user", "content": f"{NOTE}\n\n{question}"}])
    assert answer.status_code == 200, answer.text
    content = answer.json()["choices"][0]["message"]["content"]
    assert content
    for sentence in content.splitlines():
        assert sentence in NOTE or sentence == "The text does not say."


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"response_format": {"type": "json_object"}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "s", "schema": {"type": "object"}},
            }
        },
    ],
    ids=["tools", "json_object", "json_schema"],
)
def test_what_a_quoting_model_cannot_do_is_a_400(bundled, extra):
    """Tools and JSON are refused, not ignored."""
    answer = post(bundled, messages=[{"role": "user", "content": "Hello?"}], **extra)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_parameter"


def test_nothing_of_a_request_stays_on_disk(bundled):
    """After real generations no file of the home and no log line shows a planted value."""
    post(bundled, messages=[{"role": "user", "content": f"{planted.LETTER}\n\nWho is it?"}])
    assert planted.leaking_files(bundled.home, planted.VALUES[:-1]) == []
    assert planted.leaks(bundled.log.read_bytes()) == []


def test_the_demo_shows_both_prompts_and_an_anchored_log(tmp_path):
    """`make demo` exits 0 and shows every side of a clinician's and a lawyer's request."""
    done = subprocess.run(
        [sys.executable, "deploy/demo.py"],
        cwd=running.ROOT,
        env=running.environment(tmp_path / "unused"),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for heading in (
        "What the clinician wrote",
        "What the lawyer wrote",
        "What the model saw",
        "What the model answered",
        "What the clinician got",
        "What the lawyer got",
        "The receipt",
        "auditlog verify",
    ):
        assert heading in done.stdout
    assert "Mr. Aurelio Fontanez (MRN: 58203417" in done.stdout.split("What the clinician got")[1]
    assert "gave notice by letter on 2 February 2024" in done.stdout.split("What the lawyer got")[1]
    assert "164.514(b)(2)(i)(A)" in done.stdout
    assert "<PERSON_1>" in done.stdout
    assert "DEMO" in done.stdout
