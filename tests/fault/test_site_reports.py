"""Reports of what was missed, and detection that fails, from the pipeline to the sealed record."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from audit.export import open_evidence
from audit.keys import KeyStore
from audit.ledger import Options
from audit.record import parse
from audit.seal import open_entry
from gateway import recorder
from gateway.domain import Principal, Purpose, Role
from gateway.engine.energy import Account, Meter, Rates
from gateway.errors import DetectorError, NotFoundError, RequestError
from gateway.guards.registry import ALL as GUARDS
from gateway.pii.categories import Categorizer
from gateway.pii.mask import splice
from gateway.pii.presidio import detector as module
from gateway.pii.presidio.detector import PresidioDetector
from gateway.pii.recognizers.load import Candidate
from gateway.pii.site.files import read_file
from gateway.pii.site.stub import drafts
from gateway.pipeline import DeidentifyAsk, Pipeline
from gateway.policy.decide import PolicySet
from gateway.policy.load import load_policy, shipped
from gateway.protect import Protector
from gateway.recorder import Complaint, Recorder, Site
from gateway.steps import Parts
from tests import auditkit
from tests.wordlist import detect

OWNER = Principal("dr-quill", Role.CLINICIAN, frozenset(Purpose), Purpose.TREATMENT)
OTHER = Principal("dr-other", Role.CLINICIAN, frozenset(Purpose), Purpose.TREATMENT)
AUDITOR = Principal("auditor", Role.AUDITOR, frozenset(Purpose), Purpose.OPERATIONS)
MISSED = "Oddvar Quillfeatherson"
TEXT = "of Zara Quillfeather"


class Words:
    """A detector that knows one name."""

    digest = "ab" * 32

    def detect(self, texts, language=None, changed=None):
        return [detect({"Zara Quillfeather": "PERSON"}, text) for text in texts]


@dataclass(frozen=True)
class Broken:
    """A recognizer that finds something, and then fails on what the text says."""

    id: str = "broken"
    entity_type: str = "PERSON"
    cue: str = "Quillfeather"

    def find(self, data: bytes) -> Iterator[Candidate]:
        yield Candidate("PERSON", 3, 20, 0.9, self.id)
        raise RuntimeError(data.decode())


@dataclass(frozen=True)
class Slow(Broken):
    """A recognizer that never ends."""

    def find(self, data: bytes) -> Iterator[Candidate]:
        while data:
            yield Candidate("PERSON", 3, 20, 0.9, self.id)


@contextmanager
def gateway(home, detector):
    numbers = itertools.count(1)
    with home.ledger(Options()) as ledger, ThreadPoolExecutor(1) as pool:
        site = Site(
            detector_digest="ab" * 32,
            categories_digest="cd" * 32,
            isolation=lambda: "remote",
            deadline_s=1,
            retain_months=1,
            owner_key=bytes(32),
        )
        yield Pipeline(
            Parts(
                protector=Protector(detector, splice, home.clock, Categorizer()),
                policies=lambda: PolicySet([load_policy(shipped("gdpr"))], []),
                engine=None,
                account=Account(Meter(), Rates(6.25), lambda *_: None),
                guards=GUARDS,
                recorder=Recorder(ledger, home.clock, site),
                pool=pool,
                clock=home.clock,
                new_id=lambda: f"{next(numbers):032x}",
                secret=os.urandom(32),
                default_model="auto",
                deadline_s=1,
                languages=("en", "de"),
            )
        )


def ask(**more) -> DeidentifyAsk:
    return DeidentifyAsk(OWNER, Purpose.TREATMENT, TEXT, **more)


def opened(home):
    """What an auditor reads, as ``auditlog show -o json`` prints it."""
    keys = KeyStore.open(home.path / "keystore.db", readonly=True)
    with open_evidence(home.path) as evidence:
        for item in evidence.items():
            record = parse(item.body)
            entry = open_entry(record, keys.key, home.private)
            yield {
                "index": item.index,
                "event": record.header.event,
                "rid": record.header.rid,
                "features": dict(record.header.features),
                "sealed": dict(entry.sealed),
                "text": dict(entry.text),
            }
    keys.close()


# --- reports --------------------------------------------------------------------------------------


async def test_a_report_is_sealed_and_becomes_the_draft_of_a_rule(tmp_path):
    """The ledger shows that there is one; an auditor reads it, and from it a file that loads."""
    home = auditkit.make_home(tmp_path / "home")
    with gateway(home, Words()) as pipeline:
        done = await pipeline.deidentify(ask())
        told = Complaint(kind="missed", text=MISSED, entity_type="PERSON", note="line 3")
        await pipeline.report(done.receipt_id, OWNER, told)
        shown = await pipeline.receipt(done.receipt_id, OWNER)
    last = shown["records"][-1]
    assert (last["event"], last["features"]) == ("detection.reported", {"role": "clinician"})
    kept = b"".join(p.read_bytes() for p in home.path.rglob("*") if p.is_file())
    assert not any(form in kept for form in auditkit.planted_forms(MISSED))
    (report,) = [r for r in opened(home) if r["event"] == "detection.reported"]
    assert report["rid"] == done.receipt_id.partition("-")[0]
    assert report["sealed"]["principal"] == "dr-quill"
    assert report["text"]["texts"] == {"report.text": MISSED, "report.note": "line 3"}
    (draft,) = drafts([json.dumps(report)])
    path = tmp_path / "draft.yaml"
    path.write_text(draft)
    path.chmod(0o600)
    file = read_file(path)
    assert file.lists[0].entries == (MISSED,)
    assert file.examples[0].spans == (("PERSON", 0, len(MISSED)),)


@pytest.mark.parametrize("who", [OTHER, AUDITOR], ids=["foreign", "auditor"])
async def test_only_the_owner_of_a_receipt_reports(tmp_path, who):
    """For everybody else, and for a receipt that there is not, nothing is found."""
    home = auditkit.make_home(tmp_path)
    with gateway(home, Words()) as pipeline:
        done = await pipeline.deidentify(ask())
        with pytest.raises(NotFoundError):
            await pipeline.report(done.receipt_id, who, Complaint(kind="missed"))
        unknown = pipeline._record.owned_id("f" * 32, OWNER)
        with pytest.raises(NotFoundError):
            await pipeline.report(unknown, OWNER, Complaint(kind="missed"))
    assert all(r["event"] != "detection.reported" for r in opened(home))


async def test_a_receipt_has_a_bounded_number_of_reports(tmp_path, monkeypatch):
    """Who reports without end is refused."""
    monkeypatch.setattr(recorder, "MOST_REPORTS", 2)
    home = auditkit.make_home(tmp_path)
    with gateway(home, Words()) as pipeline:
        done = await pipeline.deidentify(ask())
        for _ in range(2):
            await pipeline.report(done.receipt_id, OWNER, Complaint(kind="wrong"))
        with pytest.raises(RequestError):
            await pipeline.report(done.receipt_id, OWNER, Complaint(kind="wrong"))


WRONG = {"index": 4, "event": "detection.reported", "sealed": {"kind": "wrong"}}
DRAFTS = [
    # lines -> words of the error, or None
    ([{**WRONG, "text": {"texts": {"report.text": "O'Zantrex: {x}"}}}], None),
    ([{"index": 1, "event": "intent"}], "no report"),
    ([{**WRONG, "text": {}}], "holds no text"),
    ([{**WRONG, "sealed": None}], "not decrypted"),
    ([{**WRONG, "text": {"texts": {"report.text": "word " * 40}}}], "no single value"),
    ([{**WRONG, "text": {"texts": {"report.text": "a [[b"}}}], "no single value"),
    (["plain"], "no record"),
]


@pytest.mark.parametrize(("lines", "words"), DRAFTS, ids=range(len(DRAFTS)))
def test_what_cannot_become_a_draft_is_said_without_its_text(tmp_path, lines, words):
    """A draft loads whatever characters the value has; a passage is for a person to read."""
    made = drafts(json.dumps(line) for line in lines)
    if words is not None:
        with pytest.raises(RequestError, match=words):
            list(made)
        return
    path = tmp_path / "draft.yaml"
    path.write_text("".join(made))
    path.chmod(0o600)
    assert read_file(path).allowed[0].entries == ("O'Zantrex: {x}",)


# --- languages and faults -------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "known"), [("en", True), ("de-AT", True), ("xx", False)])
async def test_a_language_that_is_not_served_is_searched_in_all_and_said(tmp_path, asked, known):
    """No finding is lost to a wrong language, and the answer tells what was searched."""
    home = auditkit.make_home(tmp_path)
    with gateway(home, Words()) as pipeline:
        done = await pipeline.deidentify(ask(language=asked))
        assert done.language == {"asked": asked, "searched": ["en", "de"], "known": known}
        assert "Quillfeather" not in done.text
        assert (await pipeline.deidentify(ask())).language is None


@pytest.mark.parametrize("recognizer", [Broken(), Slow()], ids=["raises", "too slow"])
async def test_a_recognizer_that_misbehaves_denies_the_request_on_record(
    tmp_path, monkeypatch, recognizer
):
    """Never a part of the findings: the request is denied, and its record says why."""
    monkeypatch.setattr(module, "BASE_SECONDS", 0.2)
    home = auditkit.make_home(tmp_path)
    with gateway(home, PresidioDetector(extra=[recognizer])) as pipeline:
        with pytest.raises(DetectorError) as caught:
            await pipeline.deidentify(ask())
        assert caught.value.receipt_id
        assert "Zara" not in str(caught.value)
    intent, outcome = opened(home)
    assert (intent["event"], intent["features"]["decision"]) == ("intent", "denied")
    assert intent["features"]["entities"] == {}
    assert (outcome["event"], outcome["features"]["error"]) == ("outcome", "detector_unavailable")
