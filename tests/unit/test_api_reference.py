"""docs/spec/http.md says what the code does."""

from __future__ import annotations

import re

import pytest

from gateway.api.decode import MAX_STRUCTURE
from gateway.api.problems import TABLE
from gateway.api.schemas import ChatBody
from gateway.api.schemas_embeddings import EmbeddingBody
from gateway.api.schemas_legacy import CompletionBody
from gateway.api.schemas_responses import ResponsesBody
from gateway.api.wire import SampledBody
from tests.fakes import House, error_classes


@pytest.fixture
def page(root):
    return (root / "docs" / "spec" / "http.md").read_text("utf-8")


def test_every_code_stands_in_the_row_of_its_status(page):
    """The table of errors is complete and has the statuses of problems.py."""
    rows = dict(re.findall(r"^\| (\d{3}) \| (.*) \|$", page, re.MULTILINE))
    documented = {
        code: int(status)
        for status, codes in rows.items()
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    codes = {
        kind.code: int(next(TABLE[base] for base in kind.__mro__ if base in TABLE)[0])
        for kind in error_classes()
    }
    assert documented == {**codes, "method_not_allowed": 405}


def test_every_parameter_is_named(page):
    """Supported and unsupported ones."""
    for name in ChatBody.__struct_fields__:
        assert f"`{name}" in page, name
    listed = page.split("never ignored:")[1].split("A parameter that")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(ChatBody.neutral)


@pytest.mark.parametrize("body", [CompletionBody, EmbeddingBody, ResponsesBody])
def test_every_parameter_of_the_other_endpoints_is_named(page, body):
    """Supported and unsupported ones, in the section that is about them."""
    section = page.split("## Parameters of the other")[1].split("## Answers")[0]
    inherited = set(SampledBody.__struct_fields__)
    for name in set(body.__struct_fields__) - inherited:
        assert re.search(rf"`{name}[`.]", section), name


def test_every_address_is_named(page, tmp_path):
    """Each route of the application stands in the table."""
    for route in House(tmp_path / "api-keys.json").app.routes:
        stem = re.sub(r"\{.*", "{id}", route.path)
        assert f"{stem}`" in page, stem


def test_the_limit_of_structure_is_named(page):
    """The one limit that no setting has."""
    assert f"{MAX_STRUCTURE:,} brackets" in page
