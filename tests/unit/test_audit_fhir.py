"""FHIR AuditEvents: valid for fhir.resources, and nothing in them that was not on record."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given
from hypothesis import strategies as st

from audit.formats.fhir import KINDS, OTHER, fhir
from audit.formats.view import View
from audit.record import READABLE, Header
from audit.seal import Opened

DOCS = Path(__file__).parents[2] / "docs" / "ops" / "export.md"
FEATURES = {"role": "clinician", "purpose": "treatment", "decision": "allowed"}


def view(event="intent", features=None, opened=None, origin="cloister.local", unreadable=None):
    header = Header(origin, "0" * 32, 3, event, "1" * 32, "2026-03-01T09:30Z", "2032-03",
                    "1" * 32, FEATURES if features is None else features)  # fmt: skip
    return View(7, header, opened, unreadable)


def opened(principal="ward-7", subject="mrn-17", prompt="<PERSON_1> was seen."):
    text = {"subject": subject, "texts": {"prompt.masked": prompt}}
    return Opened("2026-03-01T09:30:15.25+00:00", {"principal": principal}, text, ())


def read(line):
    """One line, valid for the models of R4B, and its plain JSON."""
    assert line.count("\n") == 1
    AuditEvent.model_validate_json(line)
    return json.loads(line)


@pytest.mark.parametrize("event", sorted([*KINDS, "something.new"]))
@pytest.mark.parametrize("seal", [None, opened()])
def test_each_event_is_a_valid_resource(event, seal):
    """Whatever happened, sealed or opened, is an AuditEvent with its own event as a subtype."""
    found = read(fhir(view(event, opened=seal)))
    kind = KINDS.get(event, OTHER)
    assert (found["type"]["code"], found["action"]) == (kind.type[1], kind.action)
    assert {"system": "urn:cloister:event", "code": event} in found["subtype"]
    assert found["entity"][0]["what"]["identifier"]["value"] == "7"
    assert "profile" not in found.get("meta", {})


def agents(found):
    return {agent["type"]["coding"][0]["code"]: agent for agent in found["agent"]}


def test_a_sealed_record_says_masked_and_names_nobody():
    """The user agent stands, without a name and with FHIR's reason; no patient is there."""
    found = read(fhir(view()))
    assert agents(found)["IRCP"]["who"] == {"extension": [
        {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason",
         "valueCode": "masked"}]}  # fmt: skip
    assert found["recorded"] == "2026-03-01T09:30:00Z"
    assert found["entity"][0]["detail"][0] == {"type": "sealed", "valueString": "yes"}
    assert [entity["type"]["code"] for entity in found["entity"]] == ["2", "receipt"]


def test_an_opened_record_names_who_about_whom_and_what_was_asked():
    """The patient's slice is BALP's; the query is what the model was sent, masked."""
    found = read(fhir(view(opened=opened())))
    assert agents(found)["IRCP"]["who"]["identifier"]["value"] == "ward-7"
    assert found["recorded"] == "2026-03-01T09:30:15.25+00:00"
    by_role = {entity["role"]["code"]: entity for entity in found["entity"] if "role" in entity}
    assert by_role["1"]["what"] == {
        "type": "Patient", "identifier": {"system": "urn:cloister:subject", "value": "mrn-17"},
    }  # fmt: skip
    assert base64.b64decode(by_role["24"]["query"]) == b"<PERSON_1> was seen."
    assert found["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"


def test_a_lawyers_subject_is_not_called_a_patient():
    """Nothing is said of a person's role that is not known."""
    found = read(fhir(view(features={"role": "lawyer"}, opened=opened())))
    person = next(e for e in found["entity"] if e["type"]["code"] == "1")
    assert "role" not in person
    assert "type" not in person["what"]


def test_who_was_never_named_is_unknown_and_who_never_asked_is_not_there():
    """An opened record without a principal is not masked; a start of the server has no user."""
    found = read(fhir(view(opened=opened(principal=None))))
    assert agents(found)["IRCP"]["who"]["extension"][0]["valueCode"] == "unknown"
    assert set(agents(read(fhir(view("boot", {}))))) == {"110152"}


@pytest.mark.parametrize(
    ("event", "features", "expected"),
    [
        ("intent", {"decision": "allowed"}, "0"),
        ("intent", {"decision": "denied"}, "4"),
        ("outcome", {"finish": "stop", "status": 200}, "0"),
        ("outcome", {"finish": "error", "error": "policy_denied", "status": 403}, "4"),
        ("outcome", {"finish": "error", "error": "engine_failed", "status": 503}, "8"),
        ("auth.denied", {}, "4"),
        ("erasure.refused", {}, "4"),
    ],
)
def test_outcomes(event, features, expected):
    """0 went well, 4 was refused, 8 failed here; a refusal says its published code."""
    found = read(fhir(view(event, features)))
    assert found["outcome"] == expected
    assert found.get("outcomeDesc") == features.get("error")


def test_why_a_record_could_not_be_opened_is_said():
    """With a key that does not open it."""
    assert read(fhir(view(unreadable="not sealed to you")))["outcomeDesc"] == "not sealed to you"


def test_a_demo_says_so():
    """With the code that FHIR has for test data."""
    found = read(fhir(view(origin="demo.cloister.local")))
    assert found["meta"]["security"][0]["code"] == "HTEST"


values = st.one_of(st.text(max_size=9), st.integers(-9, 999), st.lists(st.text(max_size=3)))


@given(
    features=st.dictionaries(st.sampled_from(sorted(READABLE)), values),
    principal=values,
    subject=values,
    prompt=values,
    event=st.sampled_from([*sorted(KINDS), "something.new"]),
)
def test_whatever_a_record_holds_is_one_line_of_json(features, principal, subject, prompt, event):
    """Exports read logs before anybody verified them: no value breaks the line or raises."""
    line = fhir(view(event, features, opened(principal, subject, prompt)))
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["resourceType"] == "AuditEvent"


def test_the_documentation_tells_the_code_of_each_event():
    """The table in docs/ops/export.md is this one."""
    rows = re.findall(r"^\| `([a-z.-]+)` \| ([^|]*) \|", DOCS.read_text("utf-8"), re.MULTILINE)
    told = {event: words for event, words in rows if event in KINDS}
    assert set(told) == set(KINDS)
    for event, kind in KINDS.items():
        assert kind.type[1] in told[event], event
        assert kind.subtype is None or kind.subtype[1] in told[event], event
        assert told[event].endswith(f", {kind.action}"), event
