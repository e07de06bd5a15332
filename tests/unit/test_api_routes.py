"""The HTTP surface over a pipeline in memory."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from litestar.testing import AsyncTestClient

from gateway import errors
from gateway.api.auth import AuthFailures
from gateway.api.keyfile import Refusal, revoke_key
from gateway.api.problems import TABLE
from gateway.domain import Purpose, Sampling
from tests.fakes import CARD, NOW, House, error_classes

CHAT = "/v1/chat/completions"
PLANTED = "Ottoline-078051120"


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "api-keys.json")


@pytest.fixture
async def client(house):
    async with AsyncTestClient(house.app) as client:
        client.headers.update(house.headers())
        yield client


def ask(content: str = "How are you today?", **more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content}], **more}


def events(text: str) -> list[object]:
    """The data of each event; JSON decoded, ``[DONE]`` as it is."""
    assert text.endswith("\n\n")
    lines = text.removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") for line in lines)
    data = [line.removeprefix("data: ") for line in lines]
    return [item if item == "[DONE]" else json.loads(item) for item in data]


def error_of(answer) -> dict[str, object]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["cache-control"] == "no-store"
    return body["error"]


# --- chat ------------------------------------------------------------------------------------


async def test_an_answer_has_openais_shape(client):
    """Whole answers: one choice, usage, a receipt in header and body."""
    answer = await client.post(CHAT, json=ask())
    assert answer.status_code == 200
    assert answer.headers["x-receipt-id"] == "r1"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "id": "chatcmpl-r1",
        "object": "chat.completion",
        "created": 1_900_000_000,
        "model": "house/small",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "How are you today?",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 5,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 3},
        },
        "cloister": {
            "receipt_id": "r1",
            "verdicts": [
                {
                    "stage": "citations",
                    "passed": False,
                    "code": "unsupported_claim",
                    "evidence": [],
                }
            ],
        },
    }


async def test_a_stream_has_openais_shape(client):
    """Role first, then the text in pieces, the finish reason, the usage, and [DONE]."""
    answer = await client.post(CHAT, json=ask(stream=True, stream_options={"include_usage": True}))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-receipt-id"] == "r1"
    first, *pieces, finish, usage, done = events(answer.text)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(p["choices"][0]["delta"]["content"] for p in pieces) == "How are you today?"
    assert all(p["choices"][0]["finish_reason"] is None and p["usage"] is None for p in pieces)
    assert finish["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert finish["cloister"]["receipt_id"] == "r1"
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 5,
        "total_tokens": 16,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    assert done == "[DONE]"
    assert {chunk["id"] for chunk in (first, *pieces, finish, usage)} == {"chatcmpl-r1"}


async def test_a_stream_without_usage_does_not_mention_it(client):
    """Usage in a stream is asked for, not sent unasked."""
    answer = await client.post(CHAT, json=ask(stream=True))
    assert "usage" not in answer.text


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls(client, stream):
    """A call has an id, a name, and its arguments as one string."""
    answer = await client.post(CHAT, json=ask('CALL look_up {"mrn": "1"}', stream=stream))
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "look_up", "arguments": '{"mrn": "1"}'},
    }
    if stream:
        _, calls, finish, _ = events(answer.text)
        assert calls["choices"][0]["delta"] == {"tool_calls": [{"index": 0, **call}]}
        assert finish["choices"][0]["finish_reason"] == "tool_calls"
    else:
        choice = answer.json()["choices"][0]
        assert choice["message"]["tool_calls"] == [call]
        assert choice["message"]["content"] is None
        assert choice["finish_reason"] == "tool_calls"


async def test_line_separators_of_unicode_do_not_split_an_event(client):
    """Readers that split lines as Unicode does see each event whole."""
    text = "a\u2028b\u2029c\u0085d\x0be\r\nf"
    answer = await client.post(CHAT, json=ask(text, stream=True))
    data = [line for line in answer.text.splitlines() if line]
    assert all(line.startswith("data: ") for line in data)
    pieces = [json.loads(line[6:]) for line in data[1:-2]]
    assert "".join(p["choices"][0]["delta"]["content"] for p in pieces) == text


async def test_what_reaches_the_pipeline(client, house):
    """Principal, purpose, matter, subject and prompt, with the model left open for "auto"."""
    await client.post(
        CHAT,
        json=ask(
            model="auto",
            max_tokens=3,
            metadata={"purpose": "research", "matter": "matter-7", "subject": "case-1"},
        ),
    )
    (asked,) = house.pipeline.asked
    assert asked.principal.id == "dr-quill"
    assert asked.purpose is Purpose.RESEARCH
    assert (asked.matter, asked.subject, asked.model) == ("matter-7", "case-1", None)
    assert asked.prompt.sampling == Sampling(max_tokens=3)
    assert not asked.stream


@pytest.mark.parametrize(
    ("model", "expected"), [("m", "m"), (None, None), ("auto", None), ("", "")]
)
async def test_only_auto_and_nothing_leave_the_model_open(client, house, model, expected):
    """An empty name is a name, of no model."""
    await client.post(CHAT, json=ask(model=model))
    assert house.pipeline.asked[0].model == expected


@pytest.mark.parametrize("stream", [False, True])
async def test_every_error_has_its_status(client, stream):
    """An error before the first byte has its status and receipt, streaming or not."""
    kinds = {kind.code: kind for kind in reversed(error_classes())}  # a code's topmost class
    del kinds["policy_file"], kinds["data_file"]  # raised at start only, with the place in the file
    for code, kind in kinds.items():
        answer = await client.post(CHAT, json=ask(f"RAISE {code}", stream=stream))
        status, shape = next(TABLE[base] for base in kind.__mro__ if base in TABLE)
        assert answer.status_code == status
        told = error_of(answer)
        assert (told["code"], told["type"]) == (code, shape)
        assert told["message"] == kind.default_message
        assert answer.headers["x-receipt-id"] == "r-refused"


async def test_busy_says_when_to_come_back(client):
    """A 429 names a time."""
    answer = await client.post(CHAT, json=ask("RAISE busy"))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unforeseen_exception_says_nothing(client, stream, capsys):
    """Its text, which could be the prompt's, is neither told nor logged."""
    answer = await client.post(CHAT, json=ask(f"RAISE {PLANTED}", stream=stream))
    assert answer.status_code == 500
    assert error_of(answer)["code"] == "internal_error"
    out, err = capsys.readouterr()
    assert PLANTED not in answer.text + out + err


async def test_a_failure_before_the_end_of_an_answer(client, house):
    """A whole answer that breaks off is an error with the receipt of its record."""
    answer = await client.post(CHAT, json=ask("BREAK"))
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "engine_failed"
    assert answer.headers["x-receipt-id"] == "r1"
    assert house.pipeline.running == 0


@pytest.mark.parametrize(
    ("order", "code"),
    [("BREAK", "engine_failed"), ("CUT", "engine_failed"), (f"BURST {PLANTED}", "internal_error")],
)
async def test_a_failure_in_mid_stream_is_an_error_event(client, house, order, code, capsys):
    """The stream ends with the error and without [DONE] or a finish reason."""
    answer = await client.post(CHAT, json=ask(order, stream=True))
    *_, last = events(answer.text)
    assert last["error"]["code"] == code
    assert "[DONE]" not in answer.text
    assert '"finish_reason":"' not in answer.text
    assert house.pipeline.running == 0
    assert PLANTED not in answer.text + "".join(capsys.readouterr())
    assert f'cloister_errors_total{{code="{code}"}} 1.0' in house.metrics.render().decode()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_takes_too_long_is_ended(tmp_path, stream):
    """The time of a request is bounded, and its slot is free afterwards."""
    house = House(tmp_path / "keys.json", request_s=0.05)
    async with AsyncTestClient(house.app) as client:
        answer = await client.post(CHAT, json=ask("SLOW", stream=stream), headers=house.headers())
    if stream:
        *_, last = events(answer.text)
        assert last["error"]["code"] == "engine_timeout"
    else:
        assert answer.status_code == 504
        assert error_of(answer)["code"] == "engine_timeout"
        assert answer.headers["x-receipt-id"] == "r1"
    assert house.pipeline.running == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_slow_admission_is_ended(tmp_path, stream):
    """The bound holds before the first byte too."""
    house = House(tmp_path / "keys.json", request_s=0.05)
    async with AsyncTestClient(house.app) as client:
        answer = await client.post(
            CHAT, json=ask("SLOW START", stream=stream), headers=house.headers()
        )
    assert answer.status_code == 504
    assert house.pipeline.running == 0


async def test_a_body_beyond_the_limit_is_refused(tmp_path):
    """At the limit a body is read; one byte more is refused."""
    house = House(tmp_path / "keys.json", body_bytes=200)
    body = json.dumps(ask()).encode()

    async with AsyncTestClient(house.app) as client:
        client.headers.update(house.headers())
        assert (await client.post(CHAT, content=body.ljust(200))).status_code == 200
        answer = await client.post(CHAT, content=body.ljust(201))
        assert answer.status_code == 413
        assert error_of(answer)["code"] == "body_too_large"


# --- who may ---------------------------------------------------------------------------------

WITHOUT_KEY = {
    "nothing": {},
    "empty": {"Authorization": ""},
    "no scheme": {"Authorization": "{key}"},
    "basic": {"Authorization": "Basic {key}"},
    "no key": {"Authorization": "Bearer "},
    "another key": {"Authorization": "Bearer clk_" + "A" * 43},
    "an OpenAI key": {"Authorization": "Bearer sk-123"},
    "more than the key": {"Authorization": "Bearer {key}x"},
    "another header": {"X-Api-Key": "{key}"},
}
GUARDED = [
    ("POST", CHAT),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/house/small"),
    ("POST", "/v1/deidentify"),
    ("GET", "/v1/receipts/r1"),
    ("POST", "/v1/receipts/r1/report"),
]


@pytest.mark.parametrize("case", WITHOUT_KEY)
async def test_without_a_valid_key_nothing_is_answered(house, case):
    """401 in the same words whatever was wrong, and nothing reaches the pipeline."""
    key = house.keys["dr-quill"].secret
    headers = {name: value.replace("{key}", key) for name, value in WITHOUT_KEY[case].items()}
    async with AsyncTestClient(house.app) as client:
        for method, path in GUARDED:
            answer = await client.request(method, path, headers=headers, json=ask())
            assert answer.status_code == 401
            told = error_of(answer)
            assert told["code"] == "invalid_api_key"
            assert told["message"] == "A valid API key is required."
            assert answer.headers["www-authenticate"] == "Bearer"
    assert not house.pipeline.asked
    assert not house.pipeline.deidentified


async def test_two_authorization_headers_are_no_key(house):
    """A request with two keys belongs to nobody."""
    key = f"Bearer {house.keys['dr-quill'].secret}"
    async with AsyncTestClient(house.app) as client:
        answer = await client.get(
            "/v1/models", headers=[("Authorization", key), ("Authorization", key)]
        )
    assert answer.status_code == 401


async def test_every_route_under_v1_asks_for_a_key(house):
    """A new route cannot forget the guard."""
    routes = [route for route in house.app.routes if route.path.startswith("/v1")]
    assert {route.path for route in routes} >= {CHAT, "/v1/models", "/v1/deidentify"}
    for route in routes:
        for handler in route.route_handlers:
            if handler.http_methods != {"OPTIONS"}:
                assert handler.resolve_guards(), route.path


async def test_revocation_and_expiry_hold_at_the_next_request(client, house):
    """No restart, no cache."""
    assert (await client.get("/v1/models")).status_code == 200
    house.now = NOW + timedelta(days=1)
    assert (await client.get("/v1/models")).status_code == 401
    house.now = NOW
    assert (await client.get("/v1/models")).status_code == 200
    revoke_key(house.path, house.keys["dr-quill"].record.id, NOW)
    assert (await client.get("/v1/models")).status_code == 401


async def test_without_a_key_store_nobody_is_let_in(client, house):
    """A missing store is 503 for everyone, the model is not called."""
    house.path.unlink()
    answer = await client.post(CHAT, json=ask())
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "keys_unavailable"
    assert not house.pipeline.asked


async def test_failures_are_summed_by_reason(client, house):
    """Any number of failures is one record, and a second flush has nothing to say."""
    revoke_key(house.path, house.keys["admin"].record.id, NOW)
    for headers in [{"Authorization": "x"}] * 3 + [house.headers("admin")]:
        await client.get("/v1/models", headers=headers)
    await house.failures.flush()
    await house.failures.flush()
    assert house.recorded == [{"no_key": 3, "revoked": 1}]


async def test_failures_are_on_record_when_the_gateway_stops(house):
    """What was counted since the last minute is not lost at the end."""
    async with AsyncTestClient(house.app) as client:
        await client.get("/v1/models")
        assert house.recorded == []
    assert house.recorded == [{"no_key": 1}]


async def test_failures_are_kept_while_the_ledger_cannot_be_written():
    """A count that was not recorded is part of the next one."""
    answers = iter([False, False, True])
    recorded = asyncio.Queue()

    async def record(counts):
        if not next(answers):
            raise errors.LedgerUnavailableError
        recorded.put_nowait(counts)

    failures = AuthFailures(record, every_s=0.001)
    failures.note(Refusal.UNKNOWN)
    with pytest.raises(errors.LedgerUnavailableError):
        await failures.flush()
    failures.note(Refusal.UNKNOWN)
    task = asyncio.create_task(failures.run())
    assert await recorded.get() == {"unknown": 2}
    task.cancel()


FORBIDDEN = {
    "purpose in the header": ("dr-quill", {"X-Purpose": "marketing"}, {}, Purpose.MARKETING),
    "purpose in the body": ("dr-quill", {}, {"purpose": "litigation"}, Purpose.LITIGATION),
    "matter": ("dr-quill", {}, {"matter": PLANTED}, Purpose.TREATMENT),
    "auditor": ("auditor", {}, {}, Purpose.OPERATIONS),
    "admin": ("admin", {}, {}, Purpose.OPERATIONS),
}


@pytest.mark.parametrize("case", FORBIDDEN)
async def test_what_a_key_is_not_granted_is_refused_and_recorded(client, house, case):
    """403 with the receipt of the refusal; the pipeline is not asked."""
    who, headers, metadata, purpose = FORBIDDEN[case]
    answer = await client.post(
        CHAT, json=ask(metadata=metadata), headers=house.headers(who, **headers)
    )
    assert answer.status_code == 403
    assert error_of(answer)["code"] == "permission_denied"
    assert PLANTED not in answer.text
    assert answer.headers["x-receipt-id"] == "f1"
    assert house.pipeline.refusals == [("permission_denied", who, purpose)]
    assert not house.pipeline.asked


async def test_a_refusal_that_cannot_be_recorded_is_unavailable(client, house):
    """No answer, not even a refusal, leaves without its record."""
    house.pipeline.refusal_error = errors.LedgerUnavailableError()
    answer = await client.post(CHAT, json=ask(), headers={"X-Purpose": "marketing"})
    assert answer.status_code == 503


@pytest.mark.parametrize(
    ("headers", "metadata", "param"),
    [
        ({"X-Purpose": "healing"}, {}, "X-Purpose"),
        ({"X-Purpose": ""}, {}, "X-Purpose"),
        ({"X-Purpose": "treatment"}, {"purpose": "research"}, "X-Purpose"),
    ],
)
async def test_a_purpose_that_is_none_or_two_is_refused(client, headers, metadata, param):
    """The header and the body agree, or the request is not clear."""
    answer = await client.post(CHAT, json=ask(metadata=metadata), headers=headers)
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param


@pytest.mark.parametrize(
    ("headers", "metadata", "purpose"),
    [
        ({}, {}, Purpose.TREATMENT),
        ({"X-Purpose": "research"}, {}, Purpose.RESEARCH),
        ({}, {"purpose": "research"}, Purpose.RESEARCH),
        ({"X-Purpose": "research"}, {"purpose": "research"}, Purpose.RESEARCH),
    ],
)
async def test_the_purpose_of_a_request(client, house, headers, metadata, purpose):
    """From the header, the body, both in agreement, or the key's default."""
    await client.post(CHAT, json=ask(metadata=metadata), headers=headers)
    assert house.pipeline.asked[0].purpose is purpose


# --- the other routes ------------------------------------------------------------------------


async def test_models_are_listed_and_shown(client):
    """OpenAI's shape, and what is known of the weights; names may have slashes."""
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    (card,) = listed["data"]
    assert card["id"] == "house/small"
    assert card["object"] == "model"
    assert card["cloister"]["digest"] == CARD.digest
    assert (await client.get("/v1/models/house/small")).json() == card


@pytest.mark.parametrize("name", [PLANTED, "house", "house/small/", "%00", "..%2f"])
async def test_an_unknown_model_is_not_found(client, name):
    """And its name is not repeated."""
    answer = await client.get(f"/v1/models/{name}")
    assert answer.status_code in {200, 404} if name == "house/small/" else 404
    assert PLANTED not in answer.text


async def test_deidentify_answers_with_what_stands_there_now(client, house):
    """The masked text, each finding in offsets of the original, the policies in force."""
    answer = await client.post(
        "/v1/deidentify", json={"text": "Ottoline", "language": "en", "policy": "extra"}
    )
    assert answer.headers["x-receipt-id"] == "d1"
    assert answer.json() == {
        "text": "<PERSON_1>",
        "entities": [
            {
                "entity_type": "PERSON",
                "start": 0,
                "end": 8,
                "score": 0.9,
                "operator": "pseudonym",
                "replacement": "<PERSON_1>",
            }
        ],
        "policy": {"in_force": [{"name": "hipaa", "version": "1", "digest": "cd" * 32}]},
        "language": {"asked": "en"},
    }
    (asked,) = house.pipeline.deidentified
    assert (asked.text, asked.language, asked.policies) == ("Ottoline", "en", ("extra",))


async def test_a_report_of_a_receipt_is_taken_from_its_owner(client, house):
    """202 with the receipt; the text goes to the recorder and not into the answer."""
    body = {"kind": "missed", "text": PLANTED, "entity_type": "PERSON", "note": "in line 3"}
    answer = await client.post("/v1/receipts/r1/report", json=body)
    assert (answer.status_code, answer.json()) == (202, {"id": "r1", "kind": "missed"})
    assert answer.headers["x-receipt-id"] == "r1"
    (complaint,) = house.pipeline.complaints
    assert (complaint.kind, complaint.text, complaint.entity_type, complaint.note) == (
        "missed",
        PLANTED,
        "PERSON",
        "in line 3",
    )
    assert PLANTED not in repr(complaint)


@pytest.mark.parametrize(
    ("receipt", "body", "status", "param"),
    [
        ("r2", {"kind": "missed"}, 404, None),
        ("..%2f", {"kind": "missed"}, 404, None),
        ("r1", {}, 400, "kind"),
        ("r1", {"kind": "late"}, 400, "kind"),
        ("r1", {"kind": "wrong", "text": "x" * 2001}, 400, "text"),
        ("r1", {"kind": "wrong", "text": ""}, 400, "text"),
        ("r1", {"kind": "wrong", "note": "x" * 2001}, 400, "note"),
        ("r1", {"kind": "wrong", "entity_type": "HUMAN"}, 400, "entity_type"),
        ("r1", {"kind": "wrong", PLANTED: 1}, 400, None),
    ],
)
async def test_a_report_that_is_none_is_refused(client, house, receipt, body, status, param):
    """An unknown or foreign receipt is not found; a body beyond the schema is not taken."""
    answer = await client.post(f"/v1/receipts/{receipt}/report", json=body)
    assert answer.status_code == status
    assert error_of(answer)["param"] == param
    assert PLANTED not in answer.text
    assert not house.pipeline.complaints


async def test_deidentify_needs_a_granted_purpose(client, house):
    """The same grants as for a prompt."""
    answer = await client.post(
        "/v1/deidentify", json={"text": "t"}, headers={"X-Purpose": "marketing"}
    )
    assert answer.status_code == 403
    assert not house.pipeline.deidentified


async def test_deidentify_fails_closed(client):
    """When detection fails there is no text in the answer."""
    answer = await client.post("/v1/deidentify", json={"text": "RAISE detector_unavailable"})
    assert answer.status_code == 503
    assert error_of(answer)["code"] == "detector_unavailable"


@pytest.mark.parametrize(
    ("who", "receipt", "status"),
    [
        ("dr-quill", "r1", 200),
        ("auditor", "r1", 200),
        ("admin", "r1", 404),
        ("dr-quill", "r2", 404),
        ("dr-quill", "r1%00", 404),
        ("dr-quill", "%ff", 404),
        ("dr-quill", "x" * 129, 404),
    ],
)
async def test_a_receipt_is_for_its_owner_or_an_auditor(client, house, who, receipt, status):
    """For everybody else it does not exist."""
    answer = await client.get(f"/v1/receipts/{receipt}", headers=house.headers(who))
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"id": "r1"}
        assert answer.headers["x-receipt-id"] == "r1"
    else:
        assert error_of(answer)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/{PLANTED}", 404, "not_found"),
        ("GET", "/v1", 404, "not_found"),
        ("GET", "/schema", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        (PLANTED.upper(), CHAT, 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_says_so_in_the_same_shape(client, method, path, status, code):
    """Litestar's own refusals have OpenAI's shape too, and quote no path."""
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert error_of(answer)["code"] == code
    assert PLANTED.lower() not in answer.text.lower()


async def test_health_needs_no_key_and_says_nothing(house):
    """Live is live; ready names constants when it is not."""
    async with AsyncTestClient(house.app) as client:
        assert (await client.get("/health/live")).json() == {"status": "live"}
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reasons": []})
        house.reasons = ["ledger_unwritable"]
        ready = await client.get("/health/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": "unready", "reasons": ["ledger_unwritable"]}
        house.reasons = ValueError(PLANTED)
        ready = await client.get("/health/ready")
        assert ready.json() == {"status": "unready", "reasons": ["readiness_check_failed"]}


async def test_metrics_count_by_closed_labels_only(client, house):
    """Whatever a client sends, no label is made of it."""
    await client.post(CHAT, json=ask(PLANTED))
    await client.get(f"/{PLANTED}")
    await client.get(f"/v1/models/{PLANTED}")
    await client.get("/v1/models", headers={"Authorization": f"Bearer {PLANTED}"})
    text = (await client.get("/metrics", headers={"Authorization": ""})).text
    assert PLANTED not in text
    for line in (
        'cloister_http_responses_total{route="/v1/chat/completions",status="200"} 1.0',
        'cloister_http_responses_total{route="/v1/models/{id}",status="404"} 1.0',
        'cloister_http_responses_total{route="other",status="404"} 1.0',
        'cloister_auth_failures_total{reason="unknown"} 1.0',
        'cloister_errors_total{code="model_not_found"} 1.0',
        'cloister_requests_running{route="/v1/chat/completions"} 0.0',
        'cloister_request_seconds_count{route="/v1/chat/completions"} 1.0',
        "cloister_admission_seconds_count 1.0",
    ):
        assert line in text


def test_every_error_class_has_a_status():
    """The table covers the tree, and nobody but the site gets a 500."""
    for kind in error_classes():
        status, _ = next(TABLE[base] for base in kind.__mro__ if base in TABLE)
        assert (status == 500) == (kind is errors.GatewayError)
