"""Records of requests live as long as policy says, and are found by the numbers that came along."""

from __future__ import annotations

import asyncio

import pytest

from audit import blind
from audit.errors import MissingError
from audit.export import open_evidence
from audit.ledger import Options
from audit.record import parse
from audit.retention import expire
from audit.seal import open_entry
from audit.subjects import look_up
from audit.verify import Code, verify
from gateway.api.decode import decode_body, published_names
from gateway.api.wire import Metadata
from gateway.domain import Ask, Message, Principal, Prompt, Purpose, Role
from gateway.errors import PolicyDeniedError, RequestError
from gateway.policy.load import parse_policy
from tests import auditkit
from tests.echo import ward

NUMBER = "MRN-0042-7731"
RULES = """name: keeping
version: 1.0.0
kind: overlay
regulation: R 1
jurisdiction: XX
effective: 2025-01-01
owner: o
vocabulary: cloister/1
rules:
  - {id: short, clause: C 1, why: w, when: {role: [researcher]}, then: {retain: {at_most: 1 month}}}
  - {id: long, clause: C 1, why: w, when: {role: [clinician]}, then: {retain: {at_least: 6 years}}}
  - {id: none, clause: C 1, why: w, when: {role: [admin]}, then: {retain: {at_least: 2 months}}}
"""
WHO = {
    Role.CLINICIAN: Purpose.TREATMENT,
    Role.RESEARCHER: Purpose.RESEARCH,
    Role.ADMIN: Purpose.TREATMENT,
}


def ask(role, **more):
    purpose = WHO[role]
    principal = Principal(f"one-{role}", role, frozenset({purpose}), purpose)
    prompt = Prompt(messages=(Message("user", "The ward is quiet."),))
    return Ask(principal, purpose, prompt, subject="S 1", **more)


def answered(one, asked):
    async def whole():
        answer = await one.pipeline.chat(asked)
        return [chunk async for chunk in answer.chunks]

    return asyncio.run(whole())


def opened(home, ledger):
    """Event, role, month of expiry and floor of each record; None where it does not open."""
    rows = []
    with ledger.reading() as reader:
        for row in reader.rows(0):
            record = parse(row.body)
            header = record.header
            try:
                floor = open_entry(record, ledger.keys.key, home.private).floor
            except MissingError:
                floor = "gone"
            rows.append((header.event, header.features.get("role"), header.expires, floor))
    return rows


@pytest.fixture
def kept(tmp_path):
    """A clinician's, a researcher's and a denied request under one policy, and the ledger."""
    with ward(tmp_path / "home", parse_policy(RULES.encode(), file="keeping.yaml")) as one:
        for role in (Role.CLINICIAN, Role.RESEARCHER):
            answered(one, ask(role))
        with pytest.raises(PolicyDeniedError):
            answered(one, ask(Role.ADMIN))
        yield one


def test_each_record_s_expiry_and_floor_follow_the_policy_of_its_request(kept):
    """Written in March 2026 by a site that prefers one month; denied requests, too."""
    assert opened(kept.home, kept.ledger) == [
        ("intent", "clinician", "2032-03", "2032-03"),
        ("outcome", "clinician", "2032-03", "2032-03"),
        ("intent", "researcher", "2026-04", None),
        ("outcome", "researcher", "2026-04", None),
        ("intent", "admin", "2026-05", "2026-05"),
        ("outcome", "admin", "2026-05", "2026-05"),
    ]


def test_a_ceiling_s_keys_go_when_it_is_reached_and_a_floor_s_stay(kept):
    """The clock moves two months: the researcher's records are closed, and all verifies."""
    kept.home.clock.forward(days=61)
    assert expire(kept.ledger).destroyed == 2  # the request's and its subject's
    closed = [(role, floor == "gone") for _, role, _, floor in opened(kept.home, kept.ledger)[:6]]
    assert closed == [
        *[("clinician", False)] * 2,
        *[("researcher", True)] * 2,
        *[("admin", False)] * 2,
    ]
    kept.ledger.close()
    with open_evidence(kept.home.path) as evidence:
        assert verify(evidence).code is Code.UNANCHORED


def test_a_record_number_finds_its_request_and_stands_nowhere(tmp_path):
    """In the blind index, as a MAC: not before the model, in no record and in no file."""
    with ward(tmp_path / "home", options=Options(index=True)) as one:
        answered(one, ask(Role.CLINICIAN))
        answered(one, ask(Role.CLINICIAN, record_numbers=(NUMBER,)))
        with one.ledger.reading() as reader:
            keys = one.ledger.keys.key
            found, _ = look_up(reader, keys, one.home.private, blind.SUBJECT, "mrn 0042 7731")
            events = [parse(reader.row(index).body).header.event for index in found]
            assert events == ["intent", "outcome"]
            for row in reader.rows(0):
                whole = repr(open_entry(parse(row.body), keys, one.home.private))
                assert NUMBER not in whole
        assert NUMBER not in repr(one.engine)
        assert NUMBER not in repr(ask(Role.CLINICIAN, record_numbers=(NUMBER,)))
    for path in one.home.path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not any(form in data for form in auditkit.planted_forms(NUMBER))


NAMES = published_names([Metadata])


def read(text):
    import msgspec  # noqa: PLC0415

    return decode_body(text.encode(), msgspec.json.Decoder(Metadata), NAMES, depth_limit=8)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("{}", ()),
        ('{"record_numbers": null}', ()),
        ('{"record_numbers": "A 1"}', ("A 1",)),
        ('{"record_numbers": ["A 1", "B 2", "A 1"]}', ("A 1", "B 2")),
        ('{"record_numbers": []}', ()),
    ],
)
def test_one_or_a_short_list_of_record_numbers_is_read(text, numbers):
    """As text for SDKs whose metadata holds nothing else, or as a list; each counts once."""
    assert read(text).numbers == numbers


@pytest.mark.parametrize(
    "value", ['""', "7", "[7]", '[""]', f'["{65 * "9"}"]', str(["9"] * 17).replace("'", '"'), "{}"]
)
def test_other_record_numbers_are_refused_without_being_told(value):
    """More than 16, longer than 64 characters, empty or no text: the parameter is named only."""
    with pytest.raises(RequestError) as caught:
        read(f'{{"record_numbers": {value}}}')
    assert (caught.value.param or "").startswith("record_numbers")
    assert "9" not in caught.value.message
