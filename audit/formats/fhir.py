"""FHIR R4 AuditEvent, one resource a line, after IHE BALP (Basic Audit Log Patterns).

Source: https://profiles.ihe.net/ITI/BALP, and DICOM PS3.15 A.5 for the codes. The patterns are
followed where the ledger knows what they ask for. No profile is claimed in ``meta``: each demands
what is never recorded here (a client's network address) or not known (a Consent resource), and
nothing is invented to fill it. What is sealed says so with FHIR's data-absent-reason ``masked``.
The table of events stands in docs/ops/export.md.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

from audit.formats.view import View

Json = dict[str, object]

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_HL7 = "http://terminology.hl7.org/CodeSystem"
_LIFECYCLE = f"{_HL7}/iso-21089-lifecycle"
_REST, _INTERACTION = f"{_HL7}/audit-event-type", "http://hl7.org/fhir/restful-interaction"
_BALP = "https://profiles.ihe.net/ITI/BALP/CodeSystem"
_OWN = "urn:cloister"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"

Code = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Kind:
    """What an event is: type, subtype and action (C, R, U, D, E). ``asked``: a person's request."""

    type: Code
    subtype: Code | None
    action: str
    asked: bool = False


_ALERT, _ACTIVITY = (_DCM, "110113"), (_DCM, "110100")
_EXPORT, _LOGIN = (_DCM, "110106"), (_DCM, "110114")
_SETTINGS, _ROLES, _KEYS = (_DCM, "110129"), (_DCM, "110136"), (_DCM, "110137")


def _lifecycle(code: str, action: str, *, asked: bool = False) -> Kind:
    return Kind((_LIFECYCLE, code), (_LIFECYCLE, code), action, asked)


_DENIED = Kind(_LOGIN, (_DCM, "110122"), "E", asked=True)
KINDS: Mapping[str, Kind] = {
    # The authorization decision, then the query that it allowed: BALP keeps the two apart.
    "intent": Kind(_ALERT, (f"{_BALP}/AuthZsubType", "AuthZ-Role"), "E", asked=True),
    "outcome": Kind((_REST, "rest"), (_INTERACTION, "search"), "E", asked=True),
    "deidentify": _lifecycle("deidentify", "E", asked=True),
    "mask-run": _lifecycle("deidentify", "E"),
    "boot": Kind(_ACTIVITY, (_DCM, "110120"), "E"),
    "home.made": Kind(_ALERT, _SETTINGS, "C"),
    "auth.denied": _DENIED,
    "auth.failures": Kind(_LOGIN, (_DCM, "110122"), "E"),
    "key.issued": Kind(_ALERT, _KEYS, "C"),
    "key.revoked": Kind(_ALERT, _KEYS, "D"),
    "auditor.added": Kind(_ALERT, _ROLES, "C"),
    "auditor.widened": Kind(_ALERT, _ROLES, "U"),
    "auditor.removed": Kind(_ALERT, _ROLES, "D"),
    "signer.added": Kind(_ALERT, _ROLES, "C"),
    "keystore.locked": Kind(_ALERT, _SETTINGS, "U"),
    "keystore.rotated": Kind(_ALERT, _SETTINGS, "U"),
    "keystore.changed": Kind(_ALERT, _SETTINGS, "U"),
    "keystore.unlocked": Kind(_ALERT, _SETTINGS, "U"),
    "key.rotated": Kind(_ALERT, _SETTINGS, "U"),
    "model.added": Kind(_ALERT, (_DCM, "110131"), "C"),
    "export.made": Kind(_EXPORT, (_LIFECYCLE, "disclose"), "R"),
    "subject.erased": _lifecycle("destroy", "D"),
    "erasure.refused": _lifecycle("destroy", "D"),
    "keys.expired": _lifecycle("destroy", "D"),
    "hold.set": _lifecycle("hold", "U"),
    "hold.release": _lifecycle("unhold", "U"),
    "index.key": Kind(_ALERT, _SETTINGS, "C"),
    "detection.reported": Kind(_ACTIVITY, (_LIFECYCLE, "report"), "C", asked=True),
    "alert.raised": Kind(_ALERT, None, "E"),
}
OTHER = Kind(_ACTIVITY, None, "E")
_FAILED = frozenset({"auth.denied", "auth.failures", "erasure.refused"})

_PURPOSES = {
    "treatment": "TREAT", "payment": "HPAYMT", "operations": "HOPERAT", "research": "HRESCH",
    "marketing": "HMARKT",
}  # fmt: skip


def fhir(view: View) -> str:
    """The record as an AuditEvent on one line, in ASCII escapes."""
    header = view.header
    kind = KINDS.get(header.event, OTHER)
    resource: Json = {
        "resourceType": "AuditEvent",
        "id": f"{header.boot}-{header.seq}",
        "type": _coding(kind.type),
        "subtype": [
            _coding(code) for code in (kind.subtype, (f"{_OWN}:event", header.event)) if code
        ],
        "action": kind.action,
        "recorded": view.opened.at if view.opened else header.minute.removesuffix("Z") + ":00Z",
        "outcome": outcome(view),
        "agent": [*_user(view, kind), _gateway(view)],
        "source": {
            "observer": _who("log", header.origin, "Device"),
            "type": [_coding((f"{_HL7}/security-source-type", "4"))],
        },
        "entity": _entities(view),
    }
    told = view.feature("error") or view.unreadable
    if told:
        resource["outcomeDesc"] = told
    if view.feature("purpose"):
        resource["purposeOfEvent"] = [{"coding": [_purpose(view.feature("purpose"))]}]
    if header.origin.startswith("demo."):
        resource["meta"] = {"security": [_coding((f"{_HL7}/v3-ActReason", "HTEST"))]}
    return json.dumps(resource) + "\n"


def outcome(view: View) -> str:
    """0 success, 4 a failure that was the asker's, 8 one that was ours."""
    status = view.header.features.get("status")
    if view.header.event in _FAILED or view.feature("decision") == "denied":
        return "4"
    if view.feature("finish") == "error" or view.feature("error"):
        ours = isinstance(status, int) and status >= 500  # noqa: PLR2004 - of HTTP
        return "8" if ours else "4"
    return "0"


# --- who --------------------------------------------------------------------------------------


def _user(view: View, kind: Kind) -> list[Json]:
    """The person who asked; masked where that is sealed, left out where nobody asked."""
    principal = view.principal()
    if not principal and not kind.asked:
        return []
    agent: Json = {
        "type": _concept((f"{_HL7}/v3-ParticipationType", "IRCP")),
        "who": _who("principal", principal) if principal else _absent(view),
        "requestor": True,
    }
    if view.feature("role"):
        agent["role"] = [_concept((f"{_OWN}:role", view.feature("role")))]
    return [agent]


def _gateway(view: View) -> Json:
    return {
        "type": _concept((_DCM, "110152")),
        "who": _who("log", view.header.origin, "Device"),
        "requestor": False,
    }


def _who(system: str, value: str, kind: str | None = None) -> Json:
    found: Json = {"identifier": {"system": f"{_OWN}:{system}", "value": value}}
    return found if kind is None else {"type": kind, **found}


def _absent(view: View) -> Json:
    """Sealed, or opened and nobody is named."""
    reason = "masked" if view.opened is None else "unknown"
    return {"extension": [{"url": _ABSENT, "valueCode": reason}]}


# --- what -------------------------------------------------------------------------------------


def _entities(view: View) -> list[Json]:
    found = [_record(view)]
    if view.header.rid is not None:
        kind = (f"{_OWN}:entity", "receipt")
        found.append({"type": _coding(kind), "what": _who("receipt", view.header.rid)})
    if view.subject():
        found.append(_subject(view))
    prompt = view.opened.text.get("texts") if view.opened else None
    masked = prompt.get("prompt.masked") if isinstance(prompt, Mapping) else None
    if isinstance(masked, str):
        text = masked.encode("utf-8", "backslashreplace")
        found.append(
            {
                "type": _coding((f"{_HL7}/audit-entity-type", "2")),
                "role": _coding((f"{_HL7}/object-role", "24")),
                "query": base64.b64encode(text).decode("ascii"),
            }
        )
    return found


def _subject(view: View) -> Json:
    """Whom it is about: a patient, unless a lawyer asked; then the role is not known."""
    person = _coding((f"{_HL7}/audit-entity-type", "1"))
    if view.feature("role") == "lawyer":
        return {"type": person, "what": _who("subject", view.subject())}
    patient = _coding((f"{_HL7}/object-role", "1"))
    return {"type": person, "role": patient, "what": _who("subject", view.subject(), "Patient")}


def _record(view: View) -> Json:
    """The record itself: where it stands in the log, and its readable features."""
    sealed = "yes" if view.opened is None else "opened"
    features = json.dumps(view.header.features, sort_keys=True)
    return {
        "type": _coding((f"{_HL7}/audit-entity-type", "2")),
        "role": _coding((f"{_HL7}/object-role", "3")),
        "what": _who(f"log:{view.header.origin}", str(view.index)),
        "detail": [
            {"type": "sealed", "valueString": sealed},
            {"type": "features", "valueString": features},
        ],
    }


def _purpose(purpose: str) -> Json:
    known = _PURPOSES.get(purpose)
    return _coding((f"{_HL7}/v3-ActReason", known) if known else (f"{_OWN}:purpose", purpose))


def _coding(code: Code) -> Json:
    return {"system": code[0], "code": code[1]}


def _concept(code: Code) -> Json:
    return {"coding": [_coding(code)]}
