"""OCSF 1.5.0 events, one a line. Source: https://schema.ocsf.io/1.5.0.

What OCSF requires and the ledger does not know is said in words (``not recorded``, ``sealed``),
never made up. Readable features stand under ``unmapped``. The table of events stands in
docs/ops/export.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from audit.formats.view import View

Json = dict[str, object]

VERSION = "1.5.0"
_OTHER_ACTIVITY = 99
_INFORMATIONAL, _MEDIUM = 1, 3
_SUCCESS, _FAILURE, _NEW = 1, 2, 1
_SEALED, _UNKNOWN, _UNRECORDED = "sealed", "unknown", "not recorded"


@dataclass(frozen=True, slots=True)
class Class:
    uid: int
    category: int
    name: str


BASE = Class(0, 0, "Base Event")
FINDING = Class(2004, 2, "Detection Finding")
ACCOUNT = Class(3001, 3, "Account Change")
AUTHENTICATION = Class(3002, 3, "Authentication")
ENTITY = Class(3004, 3, "Entity Management")
LIFECYCLE = Class(6002, 6, "Application Lifecycle")
API = Class(6003, 6, "API Activity")


@dataclass(frozen=True, slots=True)
class Kind:
    """The class and activity of an event; ``entity``: what kind of thing was changed."""

    of: Class
    activity: int
    name: str
    entity: str = ""


def _changed(activity: int, name: str, entity: str) -> Kind:
    return Kind(ENTITY, activity, name, entity)


KINDS: Mapping[str, Kind] = {
    "intent": Kind(API, _OTHER_ACTIVITY, "Authorize"),
    "outcome": Kind(API, _OTHER_ACTIVITY, "Generate"),
    "deidentify": Kind(API, _OTHER_ACTIVITY, "De-identify"),
    "mask-run": Kind(API, _OTHER_ACTIVITY, "De-identify"),
    "export.made": Kind(API, 2, "Read"),
    "boot": Kind(LIFECYCLE, 3, "Start"),
    "home.made": Kind(LIFECYCLE, 1, "Install"),
    "auth.denied": Kind(AUTHENTICATION, 1, "Logon"),
    "auth.failures": Kind(AUTHENTICATION, 1, "Logon"),
    "key.issued": Kind(ACCOUNT, 1, "Create"),
    "key.revoked": Kind(ACCOUNT, 6, "Delete"),
    "auditor.added": _changed(1, "Create", "auditor"),
    "auditor.widened": _changed(3, "Update", "auditor"),
    "auditor.removed": _changed(4, "Delete", "auditor"),
    "signer.added": _changed(1, "Create", "signer"),
    "keystore.locked": _changed(3, "Update", "key store"),
    "keystore.rotated": _changed(3, "Update", "key store"),
    "keystore.changed": _changed(3, "Update", "key store"),
    "keystore.unlocked": _changed(3, "Update", "key store"),
    "key.rotated": _changed(3, "Update", "signing key"),
    "model.added": _changed(1, "Create", "model"),
    "subject.erased": _changed(4, "Delete", "keys of a subject"),
    "erasure.refused": _changed(4, "Delete", "keys of a subject"),
    "keys.expired": _changed(4, "Delete", "expired keys"),
    "hold.set": _changed(8, "Enable", "legal hold"),
    "hold.release": _changed(9, "Disable", "legal hold"),
    "index.key": _changed(1, "Create", "key of the blind index"),
    "detection.reported": Kind(API, 1, "Create"),
    "alert.raised": Kind(FINDING, 1, "Create"),
}
OTHER = Kind(BASE, _OTHER_ACTIVITY, "Other")
_FAILED = frozenset({"auth.denied", "auth.failures", "erasure.refused"})


def ocsf(view: View) -> str:
    """The record as an OCSF event on one line, in ASCII escapes."""
    header = view.header
    kind = KINDS.get(header.event, OTHER)
    failed = is_failure(view)
    grave = failed or kind.of is FINDING
    event: Json = {
        "activity_id": kind.activity,
        "activity_name": kind.name,
        "category_uid": kind.of.category,
        "class_uid": kind.of.uid,
        "class_name": kind.of.name,
        "type_uid": kind.of.uid * 100 + kind.activity,
        "time": _milliseconds(view),
        "severity_id": _MEDIUM if grave else _INFORMATIONAL,
        "message": header.event,
        "metadata": _metadata(view),
        "unmapped": {
            "features": dict(header.features),
            "seal": "opened" if view.opened else view.unreadable or _SEALED,
        },
        **_status(view, kind, failed=failed),
        **_details(view, kind),
    }
    return json.dumps(event, sort_keys=True) + "\n"


def is_failure(view: View) -> bool:
    return (
        view.header.event in _FAILED
        or view.feature("decision") == "denied"
        or bool(view.feature("error"))
        or view.feature("finish") == "error"
    )


def _status(view: View, kind: Kind, *, failed: bool) -> Json:
    if kind.of is FINDING:
        return {"status_id": _NEW, "status": "New"}
    found: Json = {
        "status_id": _FAILURE if failed else _SUCCESS,
        "status": "Failure" if failed else "Success",
    }
    if view.feature("status"):
        found["status_code"] = view.feature("status")
    if view.feature("error"):
        found["status_detail"] = view.feature("error")
    return found


def _milliseconds(view: View) -> int:
    """The exact time where it was opened, else the minute."""
    if view.opened is not None:
        moment = datetime.fromisoformat(view.opened.at)
    else:
        moment = datetime.strptime(view.header.minute, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _metadata(view: View) -> Json:
    header = view.header
    found: Json = {
        "version": VERSION,
        "product": _product(view),
        "uid": f"{header.boot}-{header.seq}",
        "sequence": view.index,
        "log_name": header.origin,
        "event_code": header.event,
        "original_time": header.minute,
    }
    if header.rid is not None:
        found["correlation_uid"] = header.rid
    return found


def _product(view: View) -> Json:
    found: Json = {"name": "Cloister", "vendor_name": "Cloister"}
    if view.feature("version"):
        found["version"] = view.feature("version")
    return found


# --- what each class requires -----------------------------------------------------------------


def _details(view: View, kind: Kind) -> Json:
    header = view.header
    if kind.of is API:
        api: Json = {"operation": header.event}
        if header.rid is not None:
            api["request"] = {"uid": header.rid}
        return {
            "actor": _actor(view),
            "api": api,
            "src_endpoint": {"name": _UNRECORDED},
            **_resources(view),
        }
    if kind.of is LIFECYCLE:
        return {"app": _product(view)}
    if kind.of in (AUTHENTICATION, ACCOUNT):
        return {"user": _user(view), "actor": _actor(view)}
    if kind.of is ENTITY:
        entity: Json = {"name": kind.entity}
        if header.rid is not None:
            entity["uid"] = header.rid
        return {"entity": entity, "actor": _actor(view)}
    if kind.of is FINDING:
        rules = header.features.get("rules")
        title = str(rules[0]) if isinstance(rules, list | tuple) and rules else header.event
        uid = header.rid or f"{header.boot}-{header.seq}"
        return {"finding_info": {"title": title, "uid": uid, "types": [header.event]}}
    return {}


def _actor(view: View) -> Json:
    """Through what it happened; and who asked, where that was opened."""
    principal = view.principal()
    through: Json = {"app_name": "Cloister"}
    return through if not principal else {**through, "user": _user(view)}


def _user(view: View) -> Json:
    """A name is required: in words, where it is sealed or was never known."""
    name = view.principal() or (_SEALED if view.opened is None else _UNKNOWN)
    found: Json = {"name": name, "type_id": 1 if view.principal() else 0}
    if view.feature("role"):
        found["groups"] = [{"name": view.feature("role"), "type": "role"}]
    return found


def _resources(view: View) -> Json:
    """Whom it is about, where that was opened."""
    if not view.subject():
        return {}
    return {"resources": [{"type": "data subject", "uid": view.subject()}]}
