"""The own recognizers: rules read from the TOML files beside this module.

A rule is a pattern in RE2's syntax (linear in the text, whatever the text), the entity type and
score of what it finds, and what must also hold: a checksum, a number of digits, a word of context
nearby, or text that must not stand before or after. A ``weak`` checksum (one number in a few dozen
passes it) decides, but is no proof that the tripwire would stop a request for. Everything matches
on UTF-8 bytes; offsets are byte offsets.

Raises ``SettingsError`` for a file that does not follow this: a recognizer that silently does
nothing is a leak.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import re2

from gateway.errors import SettingsError
from gateway.pii.recognizers.checks import CHECKS
from gateway.pii.recognizers.labelled import ANNOUNCED, NO_NUMBER, label_pattern, spell
from gateway.pii.recognizers.vocabulary import CHECKSUM_MARK, ENTITY_TYPES

FILES = (
    "labels", "secrets", "contact", "numbers", "national", "world", "tax", "finance",
    "licences", "devices", "generic", "dates", "places", "names",
)  # fmt: skip
CONTEXT_BEFORE, CONTEXT_AFTER = 64, 24  # bytes around a candidate where a word of context counts
AFTER = 24  # bytes after a candidate that ``exclude_after`` sees
_KEYS = frozenset(
    {"id", "type", "pattern", "cue", "score", "check", "context", "context_near", "exclude"}
    | {"exclude_after", "exclude_before", "min_digits", "name", "speaker", "weak"}
)
_LABEL_KEYS = frozenset({"id", "type", "words", "strict", "spaced", "min_digits"})
_LABEL_SCORE = 0.85
_LABEL_MIN_DIGITS_UNANNOUNCED = 4
_POSSESSIVE = re.compile(rb"'[sS]?$")
_WORD = re.compile(rb"[^ \t,]+")

# Letters of the scripts that write capitals: Latin, Greek, Cyrillic. RE2's \\p{L} costs a thousand
# instructions of UTF-8 ranges each time it stands in a pattern.
_LETTERS = {
    "U": "A-Z\u00c0-\u00d6\u00d8-\u00de\u0100-\u017f\u0391-\u03a9\u0400-\u042f",
    "LOW": "a-z\u00df-\u00f6\u00f8-\u017f\u03ac-\u03ce\u0430-\u045f",
    "L": "A-Za-z\u00c0-\u00d6\u00d8-\u024f\u0370-\u03ff\u0400-\u04ff",
    "M": "\u0300-\u036f",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A match at ``data[start:end]``, in bytes of the folded text."""

    entity_type: str
    start: int
    end: int
    score: float
    source: str


@dataclass(frozen=True, slots=True)
class Rule:
    """One recognizer. ``cue`` is a looser pattern for the prefilter: no match, no run.

    ``group`` is what is found; ``title`` is the title of address in front of it, which is found
    with it and is not looked at for words that end a name.
    """

    id: str
    entity_type: str
    score: float
    pattern: Any
    cue: str
    group: int = 0
    title: int = 0
    check: Callable[[str], bool] | None = None
    context: Any = None
    context_near: Any = None
    exclude: Any = None
    exclude_after: Any = None
    exclude_before: Any = None
    weak: bool = False
    min_digits: int = 0
    announced_digits: int | None = None
    stop: frozenset[bytes] | None = None

    def find(self, data: bytes) -> Iterator[Candidate]:
        """Yield what this rule finds in UTF-8 ``data``."""
        source = self.id + CHECKSUM_MARK if self.check and not self.weak else self.id
        for match in self.pattern.finditer(data):
            start, end = match.span(self.group)
            if self.stop is not None:
                start, end = _trim_name(data, start, end, self.stop)
                if self.title and start < end and match.start(self.title) >= 0:
                    start = match.start(self.title)
            if start < end and self._holds(data, match.start(), start, end):
                yield Candidate(self.entity_type, start, end, self.score, source)

    def _holds(self, data: bytes, whole: int, start: int, end: int) -> bool:
        value = data[start:end]
        if self.min_digits and not self._digits_suffice(value, data[whole:start]):
            return False
        if self.announced_digits is not None and data[start - 1 : start + 1].isalpha():
            return False  # the label is a part of a longer word
        if self.exclude is not None and self.exclude.search(value):
            return False
        if not self._stands_well(data, start, end):
            return False
        if self.check is not None and not self.check(value.decode()):
            return False
        return self.context is None or in_context(self.context, data, start, end)

    def _stands_well(self, data: bytes, start: int, end: int) -> bool:
        before, after = data[max(0, start - CONTEXT_BEFORE) : start], data[end : end + AFTER]
        if self.exclude_after is not None and self.exclude_after.search(after):
            return False
        if self.exclude_before is not None and self.exclude_before.search(before):
            return False
        return self.context_near is None or bool(self.context_near.search(before))

    def _digits_suffice(self, value: bytes, before: bytes) -> bool:
        digits = sum(48 <= b <= 57 for b in value)  # noqa: PLR2004
        if digits < self.min_digits:
            return False
        if self.announced_digits is None or ANNOUNCED.search(before):
            return True
        return digits >= max(self.announced_digits, self.min_digits)


def in_context(words: Any, data: bytes, start: int, end: int) -> bool:
    """Whether a word of context stands near ``data[start:end]``."""
    before = data[max(0, start - CONTEXT_BEFORE) : start]
    return bool(words.search(before) or words.search(data[end : end + CONTEXT_AFTER]))


def context_pattern(words: list[str]) -> Any:
    """Any of ``words``, as whole words, in any case."""
    spelled = "|".join(spell(w) for w in words)
    return _compile("context", rf"(?i)(?:^|[^A-Za-z0-9])(?:{spelled})(?:[^A-Za-z0-9]|$)")


def _trim_name(data: bytes, start: int, end: int, stop: frozenset[bytes]) -> tuple[int, int]:
    """Cut a name at the first word that is none, and at a possessive."""
    last = start
    for word in _WORD.finditer(data, start, end):
        plain = word[0].rstrip(b".")
        initial = len(plain) == 1 and len(word[0]) > 1
        if not initial and plain.decode().lower().encode() in stop:
            break
        last = word.end()
        possessive = _POSSESSIVE.search(plain)
        if possessive and len(plain) > len(possessive[0]):
            last -= len(word[0]) - possessive.start()
            break
    return start, last


def load_rules() -> tuple[tuple[Rule, ...], str]:
    """Read every rule and the SHA-256 (hex) over the files that hold them."""
    rules: list[Rule] = []
    digest = hashlib.sha256()
    folder = resources.files("gateway.pii.recognizers")
    for name in FILES:
        raw = (folder / f"{name}.toml").read_bytes()
        digest.update(len(raw).to_bytes(8, "big") + raw)
        document = tomllib.loads(raw.decode())
        rules += [_label(row) for row in document.get("label", ())]
        macros = _LETTERS | document.get("macros", {})
        stop = frozenset(w.encode() for w in document.get("stop", ()))
        spoken = stop.union(w.encode() for w in document.get("spoken", ()))
        rules += [
            _rule(row, macros, spoken if row.get("speaker") else stop)
            for row in document.get("rule", ())
        ]
    if len({rule.id for rule in rules}) != len(rules) or not rules:
        raise SettingsError("Two recognizers have the same id, or there are none.")
    return tuple(rules), digest.hexdigest()


def _compile(name: str, pattern: str) -> Any:
    try:
        return re2.compile(pattern)
    except re2.error:
        raise SettingsError(f"The pattern of recognizer {name} is not valid RE2.") from None


def _expand(pattern: str, macros: Mapping[str, str]) -> str:
    while "<<" in pattern:
        expanded = pattern
        for name, text in macros.items():
            expanded = expanded.replace(f"<<{name}>>", text)
        if expanded == pattern:
            raise SettingsError("A recognizer names a macro that its file does not define.")
        pattern = expanded
    return pattern


def _require(row: Mapping[str, Any], known: frozenset[str]) -> None:
    if set(row) - known or not {"id", "type"} <= set(row) or row["type"] not in ENTITY_TYPES:
        raise SettingsError(f"Recognizer {row.get('id', '?')} has an unknown key or entity type.")


def _rule(row: Mapping[str, Any], macros: Mapping[str, str], stop: frozenset[bytes]) -> Rule:
    _require(row, _KEYS)
    name = row["id"]

    def compiled(key: str) -> Any:
        return _compile(name, _expand(row[key], macros)) if key in row else None

    if row.get("check") not in {None, *CHECKS}:
        raise SettingsError(f"Recognizer {name} names a checksum that does not exist.")
    return Rule(
        id=name,
        entity_type=row["type"],
        score=row["score"],
        pattern=compiled("pattern"),
        group=compiled("pattern").groupindex.get("v", 0),
        title=compiled("pattern").groupindex.get("t", 0),
        cue=_expand(row.get("cue", row["pattern"]), macros),
        check=CHECKS.get(row.get("check", "")),
        context=context_pattern(row["context"]) if "context" in row else None,
        context_near=compiled("context_near"),
        exclude=compiled("exclude"),
        exclude_after=compiled("exclude_after"),
        exclude_before=compiled("exclude_before"),
        weak=row.get("weak", False),
        min_digits=row.get("min_digits", 0),
        stop=stop if row.get("name") else None,
    )


def _label(row: Mapping[str, Any]) -> Rule:
    """A label, what may stand between, and the number it announces."""
    _require(row, _LABEL_KEYS)
    pattern, cue = label_pattern(
        row["words"], strict=row.get("strict", False), spaced=row.get("spaced", False)
    )
    compiled = _compile(row["id"], pattern)
    return Rule(
        id=row["id"],
        entity_type=row["type"],
        score=_LABEL_SCORE,
        pattern=compiled,
        group=compiled.groupindex["v"],
        cue=cue,
        exclude=_compile(row["id"], NO_NUMBER),
        min_digits=row["min_digits"],
        announced_digits=_LABEL_MIN_DIGITS_UNANNOUNCED,
    )
