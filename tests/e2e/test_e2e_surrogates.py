"""A policy that asks for surrogates, in a running gateway: what the model sees, what returns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import running
from tests.conftest import ROOT
from tests.simulator import Upstream, last_user_message

LETTER = (
    "Ms. Anna Schmidt (MRN: 71868880, SSN 078-05-1120) was admitted on 12 March 2021. "
    "Call (617) 555-0142 or write to anna.schmidt@ward.example. Ms. Schmidt is stable."
)
VALUES = [
    "Anna",
    "Schmidt",
    "schmidt",
    "71868880",
    "078-05-1120",
    "12 March",
    "617",
    "ward.example",
]


def policy() -> str:
    """The shipped policy, with surrogates where it has placeholders, and dates that are shifted."""
    text = (ROOT / "policies" / "hipaa.yaml").read_text("utf-8")
    text = text.replace("name: hipaa", "name: surrogates", 1)
    text = text.replace("operator: pseudonym", "operator: surrogate")
    dates = re.search(r"  - id: dates\n(?:.+\n)+", text)
    assert dates is not None
    shifted = dates.group().replace("164.514(b)(2)(i)(C)", "164.514(b)(1)")
    return text.replace(
        dates.group(), shifted.replace("operator: generalize", "operator: surrogate")
    )


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(chunk=3) as one:
        yield one


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream):
    home: Path = tmp_path_factory.mktemp("surrogates") / "home"
    settings = running.upstream_settings(upstream.url) + '[policy]\nin_force = ["surrogates"]\n'
    keys = running.make_home(home, settings)
    (home / "policies").mkdir(exist_ok=True)
    (home / "policies" / "surrogates.yaml").write_text(policy(), "utf-8")
    one = running.start(home, keys, wait_s=100)
    yield one
    one.stop()


def ask(gateway: running.Gateway, messages: list[dict[str, str]], *, stream: bool) -> str:
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json={"model": "auto", "messages": messages, "stream": stream},
        headers={"Authorization": f"Bearer {gateway.keys['clinician']}"},
        timeout=100,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    if not stream:
        return str(answer.json()["choices"][0]["message"]["content"])
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_the_model_sees_surrogates_and_the_client_its_own_values(gateway, upstream):
    """Whole and streamed: no value goes up, no placeholder either, and all of it comes back."""
    upstream.seen.clear()
    first = {"role": "user", "content": LETTER}
    answers = [ask(gateway, [first], stream=stream) for stream in (False, True)]
    assert answers == [LETTER, LETTER]
    seen = [last_user_message(json.loads(body)) for body in upstream.seen]
    assert seen[0] == seen[1]
    assert not [value for value in VALUES if value in seen[0]]
    assert "<" not in seen[0]
    longer = [first, {"role": "assistant", "content": LETTER}, {"role": "user", "content": "Why?"}]
    assert ask(gateway, longer, stream=False) == "Why?"
    history = json.loads(upstream.seen[-1])["messages"]
    assert [history[0]["content"], history[1]["content"]] == [seen[0], seen[0]]
