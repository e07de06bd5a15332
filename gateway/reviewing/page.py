"""A review as one page: everything in it, nothing from elsewhere, all text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib import resources

from gateway.domain import Operator
from gateway.reviewing.terminal import MEANINGS
from gateway.reviewing.view import Found, Passage, visible


def _file(name: str) -> str:
    return (resources.files("gateway.reviewing") / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def page(passages: Iterable[Passage], alive: str) -> tuple[bytes, str]:
    """The page and the content security policy that it is served under.

    ``alive`` is the path that its script holds a request to while the page is open.
    """
    style, script = _file("page.css"), _file("page.js")
    found: list[Found] = []
    texts = "\n".join(_passage(each, found) for each in passages)
    head = "".join(
        f"<th>{name}</th>"
        for name in ("#", "type", "score", "operator", "becomes", "found by", "rule", "clause")
    )
    html = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<title>Review</title><style>{style}</style></head>
<body data-alive="{escape(alive)}">
<h1>Review</h1>
<p>{_legend()}</p>
<p id="state">Served from memory to this page only; it ends when the page is closed.</p>
<main>{texts}</main>
<table><thead><tr>{head}</tr></thead><tbody>{"".join(map(_row, found))}</tbody></table>
<script>{script}</script>
</body></html>
"""
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return html.encode("utf-8", "replace"), policy


def _legend() -> str:
    return " ".join(
        f'<mark class="{op.name.lower()}">{op.name.lower()}</mark> {MEANINGS[op]}'
        for op in Operator
        if op in MEANINGS
    )


def _passage(passage: Passage, found: list[Found]) -> str:
    label = (
        f'<span class="label">{escape(visible(passage.label))}: </span>' if passage.label else ""
    )
    parts = []
    for run in passage.runs:
        text = escape(visible(run.text))
        if run.found is None:
            parts.append(text)
            continue
        found.append(run.found)
        name, number = run.found.operator.name.lower(), run.found.number
        parts.append(
            f'<mark class="{name}"><a href="#f{number}">{text}</a></mark><sup>{number}</sup>'
        )
    return f"<pre>{label}{''.join(parts)}</pre>"


def _row(each: Found) -> str:
    cells = (
        str(each.number),
        each.entity_type,
        f"{each.score:.2f}",
        each.operator.name.lower(),
        visible(each.replacement),
        each.source or "known from elsewhere",
        ", ".join(f"{c.policy}/{c.rule}" for c in each.rules),
        "; ".join(dict.fromkeys(c.clause for c in each.rules)),
    )
    return f'<tr id="f{each.number}">' + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>"
