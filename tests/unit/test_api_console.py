"""The console is served whole from this process, without a key, and may speak to nothing else."""

from __future__ import annotations

import re

import pytest
from litestar.testing import AsyncTestClient

from gateway.web import pages
from tests.fakes import House

PATHS = ("/", "/console.css", "/console.js", "/icon.svg")


@pytest.fixture
async def client(tmp_path):
    async with AsyncTestClient(House(tmp_path / "api-keys.json", pages=pages()).app) as client:
        yield client


async def test_every_file_carries_a_policy_that_allows_this_origin_only(client):
    """No inline script or style, no other origin, no framing."""
    for path in PATHS:
        answer = await client.get(path)
        assert answer.status_code == 200
        policy = dict(
            part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert set(policy.values()) == {"'none'", "'self'"}
        assert policy["frame-ancestors"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_the_page_names_only_files_that_are_served(client):
    """Every address in the page is one of these files: no CDN, nothing inline."""
    page = (await client.get("/")).text
    named = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert named == {"/console.css", "/console.js", "/icon.svg"}
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", page)
    for path in PATHS:
        text = (await client.get(path)).text
        assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)


async def test_the_script_writes_text_as_text(client):
    """Nothing that a model or a user wrote is ever parsed as HTML, and nothing is stored."""
    script = (await client.get("/console.js")).text
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "localStorage",
        "sessionStorage",
        "indexedDB",
        "cookie",
    ):
        assert forbidden not in script


async def test_every_element_the_script_asks_for_is_on_the_page(client):
    """The page and its script agree."""
    page = (await client.get("/")).text
    script = (await client.get("/console.js")).text
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert set(re.findall(r'\bat\("([^"]+)"\)', script)) <= ids
    assert set(re.findall(r'\bshow\("([^"]+)"', script)) <= ids
