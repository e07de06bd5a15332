"""A site's own knowledge: ``CLOISTER_HOME/recognizers/*.yaml``, checked before anything uses it.

The shape of a file is docs/ops/recognizers.md. Everything that is wrong is a ``DataFileError``
with file, line and column, the fault and the fix, and nothing of a list: lists name people. A file
that others may write is refused: who writes it decides what is masked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import re2

from gateway.errors import DataFileError
from gateway.pii.forms import words
from gateway.pii.port import DENIED
from gateway.pii.recognizers.checks import CHECKS
from gateway.pii.recognizers.load import Rule, context_pattern
from gateway.pii.recognizers.vocabulary import ENTITY_TYPES, WEAK
from gateway.pii.site.entries import beside, check_mode, entry_fault, read_closed
from gateway.pii.site.examples import Example, read_example
from gateway.pii.site.words import Case, WordList, Words
from gateway.yamlfile.node import Node
from gateway.yamlfile.read import MAX_BYTES, parse

FILE_KEYS = ("name", "version", "patterns", "lists", "deny", "allow", "cases")
PATTERN_KEYS = ("id", "type", "pattern", "score", "check", "context")
LIST_KEYS = ("id", "type", "score", "entries", "file", "column", "case", "context")
DENY_KEYS = ("id", "type", "entries", "file", "column", "case")
ALLOW_KEYS = ("id", "entries", "file", "column", "case")
SCORE = 0.85
MAX_ENTRIES = 200_000
MAX_PATTERN = 1000  # characters

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.-]{0,31}")
_SCORE = re.compile(r"0\.[0-9]{1,4}|1(?:\.0)?")
_TYPES = {name: name for name in ENTITY_TYPES}
_STRONG = {name: name for name in ENTITY_TYPES if name not in WEAK}


@dataclass(frozen=True, slots=True)
class SiteFile:
    """One file. ``digest``: SHA-256 (hex) over it and the lists beside it that it names."""

    name: str
    version: str
    file: str
    digest: str
    patterns: tuple[Rule, ...]
    lists: tuple[WordList, ...]
    denied: tuple[WordList, ...]
    allowed: tuple[WordList, ...]
    examples: tuple[Example, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        named = (*self.lists, *self.denied, *self.allowed)
        return (*(rule.id for rule in self.patterns), *(each.source for each in named))


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All files of a home. Nothing in them has been tried yet: ``try_out`` does."""

    files: tuple[SiteFile, ...]

    @property
    def recognizers(self) -> tuple[Rule | Words, ...]:
        """What the detector runs beside its own."""
        lists = [each for file in self.files for each in (*file.lists, *file.denied)]
        rules = tuple(rule for file in self.files for rule in file.patterns)
        return (*rules, Words(lists)) if lists else rules

    @property
    def allowed(self) -> Words:
        return Words([each for file in self.files for each in file.allowed])

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the files and the code that reads them."""
        digest = hashlib.sha256()
        folder = resources.files("gateway.pii.site")
        code = sorted(p.name for p in folder.iterdir() if p.name.endswith(".py"))
        parts = [(folder / name).read_bytes() for name in code]
        parts += [f"{file.name}|{file.version}|{file.digest}".encode() for file in self.files]
        for raw in parts:
            digest.update(len(raw).to_bytes(8, "big") + raw)
        return digest.hexdigest()


def load_site(folder: Path) -> Knowledge:
    """Read every file of ``folder``; without the folder there is none.

    Raises:
        DataFileError: one of them cannot be used.
    """
    if not folder.is_dir():
        return Knowledge(())
    check_mode(folder.stat(), f"{folder}:1:1")
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in {".yml", ".yaml"} and path.suffix != ".yaml":
            raise DataFileError("this would not be read; name it *.yaml", where=f"{path}:1:1")
    files = [read_file(path) for path in sorted(folder.glob("*.yaml"))]
    seen: dict[str, str] = {}
    for file in files:
        if file.name in seen:
            raise DataFileError(
                f"the name '{file.name}' is that of another file too; rename one of them",
                where=f"{file.file}:1:1",
            )
        seen[file.name] = file.file
    _check_conflicts(files)
    return Knowledge(tuple(files))


def read_file(path: Path) -> SiteFile:
    """Read one file and the lists beside it.

    Raises:
        DataFileError: with the place, the fault and the fix.
    """
    return _Reading(path).file()


def _check_conflicts(files: Sequence[SiteFile]) -> None:
    """Raise DataFileError where an entry is both allowed and denied."""

    def keys(lists: Sequence[WordList]) -> set[str]:
        return {" ".join(w.fold for w in words(text)) for each in lists for text in each.entries}

    denied = set().union(*(keys(file.denied) for file in files))
    for file in files:
        if keys(file.allowed) & denied:
            raise DataFileError(
                "an entry is on an allow list and on a deny list; remove it from one of them",
                where=f"{file.file}:1:1",
            )


class _Reading:
    """One file being read: its nodes, and the digest over all that it consists of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        data = read_closed(path, MAX_BYTES, f"{path}:1:1")
        self._root = parse(data, file=str(path))
        self._parts = [data]
        self._seen: set[str] = set()
        self._name = ""

    def file(self) -> SiteFile:
        root = self._root.mapping(FILE_KEYS, ("name", "version", "cases"))
        self._name = root["name"].match("name", _NAME)
        version = root["version"].match("version", _VERSION)

        def each(key: str, read: Callable[[Node], Any]) -> tuple[Any, ...]:
            return tuple(read(node) for node in root[key].items()) if key in root else ()

        patterns = each("patterns", self._pattern)
        lists = each("lists", self._list)
        denied = each("deny", self._denied)
        allowed = each("allow", self._allowed)
        if not (patterns or lists or denied or allowed):
            self._root.fail("this file says nothing; add patterns, lists, deny or allow")
        digest = hashlib.sha256()
        for part in self._parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return SiteFile(
            name=self._name,
            version=version,
            file=str(self._path),
            digest=digest.hexdigest(),
            patterns=patterns,
            lists=lists,
            denied=denied,
            allowed=allowed,
            examples=each("cases", read_example),
        )

    def _source(self, keys: dict[str, Node], prefix: str = "site:") -> str:
        identifier = keys["id"].match("id", _NAME)
        keys["id"].fresh(self._seen, "id")
        return f"{prefix}{self._name}/{identifier}"

    def _pattern(self, node: Node) -> Rule:
        keys = node.mapping(PATTERN_KEYS, ("id", "type", "pattern"))
        text = keys["pattern"].text()
        if len(text) > MAX_PATTERN:
            keys["pattern"].fail(f"a pattern of more than {MAX_PATTERN} characters; split it")
        try:
            pattern = re2.compile(text, _quiet())
        except re2.error:
            keys["pattern"].fail(
                "this is no pattern in RE2's syntax, which has no lookaround and no backreferences"
            )
        if pattern.search(b""):
            keys["pattern"].fail(
                "this pattern matches where nothing is; make a part of it required"
            )
        return Rule(
            id=self._source(keys),
            entity_type=keys["type"].choice("entity type", _TYPES),
            score=_score(keys),
            pattern=pattern,
            cue=text,
            group=pattern.groupindex.get("v", 0),
            check=keys["check"].choice("check", CHECKS) if "check" in keys else None,
            context=_context(keys),
        )

    def _list(self, node: Node) -> WordList:
        keys = node.mapping(LIST_KEYS, ("id", "type"))
        return WordList(
            source=self._source(keys),
            entity_type=keys["type"].choice("entity type", _TYPES),
            score=_score(keys),
            entries=self._entries(node, keys),
            case=_case(keys),
            context=_context(keys),
        )

    def _denied(self, node: Node) -> WordList:
        keys = node.mapping(DENY_KEYS, ("id", "type"))
        return WordList(
            source=self._source(keys, DENIED),
            entity_type=keys["type"].choice("entity type that is masked", _STRONG),
            score=1.0,
            entries=self._entries(node, keys),
            case=_case(keys, Case.ANY),
        )

    def _allowed(self, node: Node) -> WordList:
        keys = node.mapping(ALLOW_KEYS, ("id",))
        return WordList(self._source(keys), "", 1.0, self._entries(node, keys), _case(keys))

    # --- entries ----------------------------------------------------------------------------------

    def _entries(self, node: Node, keys: dict[str, Node]) -> tuple[str, ...]:
        if "entries" not in keys and "file" not in keys:
            node.fail("a list without entries; add 'entries' or the 'file' that holds them")
        found = []
        if "entries" in keys:
            for each in keys["entries"].items():
                fault = entry_fault(each.text())
                if fault:
                    each.fail(fault)
                found.append(each.text())
        if "file" in keys:
            lines, data = beside(self._path, keys["file"], keys.get("column"))
            self._parts.append(data)
            found += lines
        elif "column" in keys:
            keys["column"].fail("'column' is about a .csv file; name it with 'file'")
        if len(found) > MAX_ENTRIES:
            node.fail(f"more than {MAX_ENTRIES} entries; split the list")
        return tuple(found)


# --- the small parts ------------------------------------------------------------------------------


def _quiet() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def _score(keys: dict[str, Node]) -> float:
    return float(keys["score"].match("score", _SCORE)) if "score" in keys else SCORE


def _case(keys: dict[str, Node], default: Case = Case.NAMES) -> Case:
    return keys["case"].choice("case", {c.value: c for c in Case}) if "case" in keys else default


def _context(keys: dict[str, Node]) -> Any:
    if "context" not in keys:
        return None
    return context_pattern([node.text() for node in keys["context"].items()])
