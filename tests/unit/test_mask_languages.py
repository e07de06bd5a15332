"""`gateway mask --jsonl`: rows say which languages were searched, bad ones which line they are."""

from __future__ import annotations

import io
import json

import pytest

from gateway.domain import Purpose, Role
from gateway.masking import Run
from gateway.masking.rows import batches, mask_rows
from gateway.pii.categories import Categorizer
from gateway.pii.mask import splice
from gateway.policy.decide import PolicySet
from gateway.policy.load import load_policy, shipped
from gateway.protect import Protector
from tests.fakes import NOW
from tests.wordlist import detect


class Words:
    """A detector that knows one name."""

    digest = "ab" * 32

    def detect(self, texts, language=None, changed=None):
        return [detect({"Zara Quillfeather": "PERSON"}, text) for text in texts]


@pytest.fixture(scope="module")
def run():
    policies = PolicySet([load_policy(shipped("gdpr"))], [])
    guard = Protector(Words(), splice, lambda: NOW, Categorizer())
    return Run(guard, policies, Role.RESEARCHER, Purpose.RESEARCH, ("en", "de"))


@pytest.mark.parametrize(("asked", "known"), [("de", True), ("en-GB", True), ("xx", False)])
def test_a_row_says_what_was_searched(run, asked, known):
    """A language that is not served costs no finding."""
    line = json.dumps({"id": 1, "text": "of Zara Quillfeather", "language": asked}).encode()
    row = json.loads(mask_rows(run, [(1, line)])[0])
    assert row["language"] == {"asked": asked, "searched": ["en", "de"], "known": known}
    assert row["text"] == "of <PERSON_1>"


@pytest.mark.parametrize("asked", ["", "English", "en_GB", "e", "en-", "en\n", 7])
def test_a_language_of_no_known_shape_is_a_bad_row(run, asked):
    """The row is named by its id and its line."""
    line = json.dumps({"id": 1, "text": "t", "language": asked}).encode()
    assert json.loads(mask_rows(run, [(9, line)])[0]) == {"id": 1, "error": "bad_row", "line": 9}


def test_lines_are_counted_from_one_with_the_blank_ones():
    """As an editor shows them."""
    found = [each for batch in batches(io.BytesIO(b"a\n\n  \nb\n\nc")) for each in batch or ()]
    assert found == [(1, b"a"), (4, b"b"), (6, b"c")]
