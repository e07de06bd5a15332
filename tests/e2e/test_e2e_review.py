"""The page of a review: once, to this browser alone, and gone when it is closed."""

from __future__ import annotations

import threading
import time
from queue import Queue

import httpx

from gateway.domain import Citation, Operator
from gateway.reviewing.loopback import Once, serve_once
from gateway.reviewing.page import page
from gateway.reviewing.view import Found, Passage, Run

CITED = Citation("gdpr", "pseudonymise", "GDPR Art. 4(5)", "gdpr.yaml", 1)
FOUND = Found(1, "PERSON", Operator.PSEUDONYM, 0.9, "<PERSON_1>", "ner", (CITED,))
PASSAGES = [Passage("name", (Run("of "), Run("Zara <script>\x1b\u202e", FOUND)))]


def test_a_page_is_served_once_to_nobody_else_and_ends_with_it():
    """Other paths, hosts, sites and a second reader get nothing; closing it ends the server."""
    once, told = Once(), Queue()
    body, policy = page(PASSAGES, once.alive)
    once.load(body)
    server = threading.Thread(target=serve_once, args=(once, policy, told.put), daemon=True)
    server.start()
    address = told.get(timeout=10)
    origin = address.rpartition("/")[0]
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{origin}/").status_code == 404
        for name, value in (
            ("Host", "evil.example"),
            ("Origin", "http://evil.example"),
            ("Sec-Fetch-Site", "cross-site"),
        ):
            assert client.get(address, headers={name: value}).status_code == 403
        got = client.get(address)
        assert got.content == body
        assert got.headers["Cache-Control"] == "no-store"
        assert got.headers["Content-Security-Policy"].startswith("default-src 'none';")
        assert client.get(address).status_code == 404
        with client.stream("GET", f"{origin}{once.alive}") as held:
            next(held.iter_raw())
            assert server.is_alive()
    deadline = time.monotonic() + 30
    while server.is_alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not server.is_alive()


def test_a_page_shows_text_as_text():
    """Markup of a file stays text, and what hides or acts is spelled out."""
    body, _ = page(PASSAGES, "/alive")
    assert b"Zara &lt;script&gt;\\u001b\\u202e" in body
    assert b"&lt;PERSON_1&gt;" in body
    assert b"gdpr/pseudonymise" in body
