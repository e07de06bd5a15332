"""The page ``verify.html``, opened from its file in a headless browser."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance.browser import CHROMIUM, PAGE, Browser


@pytest.fixture(scope="module")
def page():
    """The page, opened from its file in a browser."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        browser = Browser(Path(profile))
        stack.callback(browser.close)
        browser.open(PAGE)
        yield browser
