"""OCSF events: held to the schema's requirements, and nothing in them that was not on record.

py-ocsf-models has the base event, the shared objects and the finding classes; what the other
classes require is written here after https://schema.ocsf.io/1.5.0.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_ocsf_models.events.base_event import BaseEvent
from py_ocsf_models.events.findings.detection_finding import DetectionFinding
from py_ocsf_models.objects.api import API
from py_ocsf_models.objects.metadata import OCSF_VERSION
from py_ocsf_models.objects.product import Product

from audit.formats.ocsf import KINDS, VERSION, ocsf
from audit.formats.view import View
from audit.record import READABLE, Header
from audit.seal import Opened

DOCS = Path(__file__).parents[2] / "docs" / "ops" / "export.md"
FEATURES = {"role": "clinician", "purpose": "treatment", "decision": "allowed"}
ALWAYS = {"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata"}
# class: its category, the activities it has (0 and 99 are in each), what it requires beside ALWAYS
CLASSES = {
    0: (0, set(), set()),
    2004: (2, {1, 2, 3}, {"finding_info"}),
    3001: (3, set(range(1, 13)), {"user"}),
    3002: (3, set(range(1, 8)), {"user"}),
    3004: (3, set(range(1, 14)), {"entity"}),
    6002: (6, set(range(1, 9)), {"app"}),
    6003: (6, {1, 2, 3, 4}, {"actor", "api", "src_endpoint"}),
}
# object: at least one of these
NEEDS_ONE = {
    "actor": {"process", "user", "invoked_by", "session", "app_name", "app_uid"},
    "user": {"account", "name", "uid"},
    "entity": {"name", "uid", "device", "group", "org", "policy", "user"},
    "src_endpoint": {"ip", "uid", "name", "hostname", "svc_name"},
}


def view(event="intent", features=None, opened=None, rid="1" * 32):
    header = Header("cloister.local", "0" * 32, 3, event, rid, "2026-03-01T09:30Z", "2032-03",
                    "1" * 32, FEATURES if features is None else features)  # fmt: skip
    return View(7, header, opened)


def opened(principal="ward-7", subject="mrn-17"):
    text = {"subject": subject, "texts": {}}
    return Opened("2026-03-01T09:30:15.25+00:00", {"principal": principal}, text, ())


def read(line):
    """One line that fits its class, the base event and the shared objects."""
    found = json.loads(line)
    assert line.count("\n") == 1
    category, activities, required = CLASSES[found["class_uid"]]
    assert found.keys() >= ALWAYS | required
    assert found["category_uid"] == category
    assert found["activity_id"] in activities | {0, 99}
    assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
    for name, some in NEEDS_ONE.items():
        assert name not in found or found[name].keys() & some, name
    if found["class_uid"] == 2004:
        DetectionFinding.model_validate(found)
    else:
        assert found["status_id"] in {1, 2}
        BaseEvent.model_validate({k: v for k, v in found.items() if k != "status_id"})
    for name, model in (("api", API), ("app", Product)):
        if name in found:
            model.model_validate(found[name])
    return found


@pytest.mark.parametrize("event", sorted([*KINDS, "something.new"]))
@pytest.mark.parametrize("rid", ["1" * 32, None])
@pytest.mark.parametrize("seal", [None, opened()])
def test_each_event_fits_its_class(event, rid, seal):
    """Sealed or opened, with a receipt or without one."""
    found = read(ocsf(view(event, opened=seal, rid=rid)))
    assert found["metadata"]["event_code"] == event
    assert found["metadata"]["sequence"] == 7
    assert found["metadata"].get("correlation_uid") == rid
    assert VERSION == OCSF_VERSION == found["metadata"]["version"]


def test_a_sealed_record_names_nobody_and_says_so():
    """Where a name is required it is the word sealed; the time is the minute's."""
    found = read(ocsf(view("auth.denied")))
    assert found["user"]["name"] == "sealed"
    assert found["user"]["type_id"] == 0
    assert "user" not in found["actor"]
    assert found["time"] == 1772357400000
    assert found["unmapped"]["seal"] == "sealed"
    assert "resources" not in read(ocsf(view()))


def test_an_opened_record_names_who_and_about_whom():
    """The principal is the actor's user, the subject a resource, the time exact."""
    found = read(ocsf(view(opened=opened())))
    assert found["actor"]["user"]["name"] == "ward-7"
    assert found["resources"] == [{"type": "data subject", "uid": "mrn-17"}]
    assert found["time"] == 1772357415250
    assert read(ocsf(view("auth.failures", opened=opened(None))))["user"]["name"] == "unknown"


@pytest.mark.parametrize(
    ("event", "features", "status", "severity"),
    [
        ("intent", {"decision": "allowed"}, 1, 1),
        ("intent", {"decision": "denied"}, 2, 3),
        ("outcome", {"finish": "stop", "status": 200}, 1, 1),
        ("outcome", {"finish": "error", "error": "policy_denied", "status": 403}, 2, 3),
        ("auth.denied", {}, 2, 3),
        ("erasure.refused", {}, 2, 3),
        ("alert.raised", {"rules": ["watch/denials"]}, 1, 3),
    ],
)
def test_what_somebody_should_look_at_stands_out(event, features, status, severity):
    """Refusals and failures are of medium severity, and say their published code."""
    found = read(ocsf(view(event, features)))
    assert (found["status_id"], found["severity_id"]) == (status, severity)
    assert found.get("status_detail") == features.get("error")


def test_an_alert_is_a_finding_named_by_its_rule():
    """A monitoring system groups by it."""
    found = read(ocsf(view("alert.raised", {"rules": ["watch/denials"]})))
    assert found["finding_info"]["title"] == "watch/denials"


values = st.one_of(st.text(max_size=9), st.integers(-9, 999), st.lists(st.text(max_size=3)))


@given(
    features=st.dictionaries(st.sampled_from(sorted(READABLE)), values),
    principal=values,
    subject=values,
    event=st.sampled_from([*sorted(KINDS), "something.new"]),
)
def test_whatever_a_record_holds_is_one_line_of_json(features, principal, subject, event):
    """Exports read logs before anybody verified them: no value breaks the line or raises."""
    line = ocsf(view(event, features, opened(principal, subject)))
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["unmapped"]["features"] == features


def test_the_documentation_tells_the_class_of_each_event():
    """The table in docs/ops/export.md is this one."""
    pattern = r"^\| `([a-z.-]+)` \| [^|]* \| (\d+) [^|]*, (\d+) [^|]*\|"
    rows = re.findall(pattern, DOCS.read_text("utf-8"), re.MULTILINE)
    told = {event: (int(uid), int(activity)) for event, uid, activity in rows}
    assert told == {event: (kind.of.uid, kind.activity) for event, kind in KINDS.items()}
