"""Garbage in any field of a record, a note or a manifest, signed anew: one verdict.

That of ``audit.verify`` and of ``verify_standalone.py``.

An attacker who holds the log's key writes well-formed files with one thing wrong in them.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.checkpoint import SigningKey
from tests.auditkit import quick_folder
from tests.conformance.corpus import small_original
from tests.conformance.test_audit_verifiers import MISSING, TAMPERED, UNANCHORED, judge, standalone
from tests.property.test_audit_forgeries import ANY, replaced

SIZES = (7, 11)


@pytest.fixture(scope="module")
def original():
    with quick_folder() as folder:
        yield small_original(folder)


def bare(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def agreed(bundle, against=()):
    """The one code of both verifiers in Python."""
    with quick_folder() as folder:
        source = bundle.write(folder / "bundle")
        found = judge(source, against)
        assert standalone(str(source), against)[0] == int(found.code)
        return int(found.code)


def copy_of(original):
    bundle = original.bundle
    return replace(bundle, manifest=dict(bundle.manifest), lines=list(bundle.lines))


@given(number=st.integers(0, 10), data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_record_with_garbage_in_it_signed_anew(original, number, data):
    """A record that is none is 40; one that still is a record is consistent, and not anchored."""
    bundle = copy_of(original)
    bodies = bundle.bodies
    bodies[number] = bare(replaced(data, json.loads(bodies[number])))
    same = bodies == original.bundle.bodies
    bundle.renumber(bodies).resign(original.key, SIZES)
    assert agreed(bundle) in (TAMPERED, UNANCHORED)
    assert same or agreed(bundle, (original.bundle.kept,)) != 0 or number >= SIZES[0]


@given(data=st.data())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_manifest_or_a_list_of_notes_with_garbage_in_it(original, data):
    """Never anchored by what it says of itself."""
    bundle = copy_of(original)
    if data.draw(st.booleans()):
        bundle.manifest = replaced(data, bundle.manifest)
    else:
        bundle.notes = replaced(data, list(bundle.notes))
    assert agreed(bundle) in (MISSING, TAMPERED, UNANCHORED)


HEADS = st.lists(
    st.text(max_size=12) | st.integers(-1, 12).map(str)
    | st.sampled_from(["", "x" * 44, "A" * 43 + "=", "cloister-receipt/v1"]),
    min_size=1, max_size=6,
)  # fmt: skip


@given(lines=HEADS, extra=ANY)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_under_the_logs_own_signature_is_no_checkpoint(original, lines, extra):
    """What the key signed is still read as what it is: origin, size, root, and nothing forged."""
    bundle = copy_of(original)
    key = SigningKey(original.key.name, bytes(32))
    bundle.resign(key, SIZES)
    text = "\n".join(line.replace("\n", "") for line in lines) + "\n"
    bundle.notes = [bundle.notes[0], key.sign_note(text.replace("\ud800", "")), *bundle.notes[1:]]
    if isinstance(extra, str):
        bundle.notes[1] += extra
    assert agreed(bundle) == TAMPERED
