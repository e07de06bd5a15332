"""`gateway mask --jsonl`: a bad row is an error row, and nothing else is lost."""

from __future__ import annotations

import json

import pytest

from gateway.domain import Finding, Purpose, Role
from gateway.masking import Run
from gateway.masking.rows import mask_rows
from gateway.pii.categories import Categorizer
from gateway.pii.mask import splice
from gateway.policy.decide import PolicySet
from gateway.policy.load import load_policy, shipped
from gateway.protect import Protector
from tests.fakes import NOW
from tests.wordlist import detect

PLANTED = "Zara Quillfeather"


class Words:
    """A detector that knows one name, and has a bug that one text shows."""

    digest = "ab" * 32

    def detect(self, texts, language=None, changed=None):
        if any("BUG" in text for text in texts):
            raise ZeroDivisionError(texts[0])
        return [tuple[Finding, ...](detect({PLANTED: "PERSON"}, text)) for text in texts]


@pytest.fixture(scope="module")
def run():
    policies = PolicySet([load_policy(shipped("gdpr"))], [])
    guard = Protector(Words(), splice, lambda: NOW, Categorizer())
    return Run(guard, policies, Role.RESEARCHER, Purpose.RESEARCH)


@pytest.mark.parametrize(
    ("line", "row_id"),
    [
        (b"", None),
        (b"\xff", None),
        (b'{"id":"\xff","text":"Zara Quillfeather"}', None),
        (b'{"id":"\\ud800","text":"x"}', None),
        (b'{"id":7,"text":"\\ud800 Zara Quillfeather"}', None),
        (b'{"id":7,"text":"Zara Quillfeather","more":' + b"[" * 9999 + b"]" * 9999 + b"}", None),
        (b"[" * 99999, None),
        (b'{"id":7,"text":["Zara Quillfeather"]}', 7),
        (b'{"id":7.5,"text":"Zara Quillfeather"}', None),
        (b'{"id":7,"text":"Zara Quillfeather BUG"}', 7),
    ],
)
def test_any_bad_row_gives_an_error_row_without_its_text(run, line, row_id):
    """Whatever a row is, the run goes on, and the error says its code and nothing of the row."""
    good = b'{"id":8,"text":"of Zara Quillfeather"}'
    before, row, after = map(json.loads, mask_rows(run, [(1, good), (2, line), (3, good)]))
    assert row.keys() == {"id", "error", "line"}
    assert (row["id"], row["line"]) == (row_id, 2)
    assert "Quillfeather" not in json.dumps(row)
    assert before["text"] == after["text"] == "of <PERSON_1>"
