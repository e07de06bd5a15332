"""The tagger: our own trained model as spans of a text, each with the probability that it is right.

``Tagger.load`` reads the one file beside it and refuses it when it is not the one that
``card.toml`` names. A tagger is immutable and may be shared by threads. What it finds in a text
depends on that text alone, never on what else is in the call.

Each token has a probability to be part of an identifier (not to be outside). Tokens above ``low``
are found, those above ``sure`` apart from those below, so that doubtful words beside a certain
name do not widen it. Where no token is sure, one has to be above ``alone``: beside a name a
doubtful word is likely a part of it, by itself it is likely none. A run of found tokens is cut
where the model sees a new identifier begin; its label is the most probable one over the run, its
score the mean probability of its tokens, calibrated.
"""

from __future__ import annotations

import hashlib
import tomllib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from gateway.errors import SettingsError
from gateway.pii.ner import features
from gateway.pii.ner.network import LABELS, REACH, Floats, Network
from gateway.pii.ner.tokens import BREAK, SIGN, Classes
from gateway.pii.port import Changed

HERE = Path(__file__).parent
_PART = 50_000  # characters read at once; longer texts are read in parts
_MARGIN = 500  # characters before and after a part that are read with it
_LONG = 24  # tokens of the longest span that is seen whole beside a change


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``start`` to ``end`` of a text, with a type and a probability."""

    start: int
    end: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Card:
    """What ``card.toml`` says of the model: thresholds, and for each label its calibration.

    ``curves``: (slope, offset) on the logit of the mean probability. ``floors``: the least score
    that is reported.
    """

    sha256: str
    low: float
    sure: float
    alone: float
    curves: Mapping[str, tuple[float, float]]
    floors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tagger:
    """``digest``: SHA-256 (hex) over the code of this package, the card and the model's file."""

    digest: str
    network: Network = field(repr=False)
    card: Card = field(repr=False)

    @classmethod
    def load(cls, folder: Path = HERE) -> Tagger:
        """The tagger of ``folder``, which holds ``card.toml`` and the model's file.

        Raises:
            SettingsError: a file is missing, or the model is not the one that the card names.
        """
        try:
            card_bytes = (folder / "card.toml").read_bytes()
            values = tomllib.loads(card_bytes.decode())
            data = (folder / values["file"]).read_bytes()
            card = _card(values)
        except (OSError, ValueError, KeyError, TypeError):
            raise SettingsError("The name model or its card is missing or unreadable.") from None
        if hashlib.sha256(data).hexdigest() != card.sha256:
            raise SettingsError("The name model is not the file that its card names.")
        try:
            network = Network.from_bytes(data)
        except (ValueError, KeyError, TypeError):
            raise SettingsError("The name model is not a file of this kind.") from None
        code = b"".join((HERE / name).read_bytes() for name in _CODE)
        digest = hashlib.sha256(code + card_bytes + card.sha256.encode()).hexdigest()
        return cls(digest, network, card)

    @property
    def entity_types(self) -> frozenset[str]:
        """Every label that a span can have."""
        return frozenset(LABELS)

    def spans(
        self, texts: Sequence[str], changed: Sequence[Changed | None] | None = None
    ) -> list[list[Span]]:
        """Spans of each folded text (``recognizers/folding.py``): sorted and disjoint.

        ``changed``: of each text what is other than when it was read before, as sorted character
        spans, None for all of it. Only spans that a change may have made are found then: a token's
        result depends on the tokens within ``REACH``, and all others were read before.
        """
        parts = [(number, part) for number, text in enumerate(texts) for part in _parts(text)]
        found: list[list[Span]] = [[] for _ in texts]
        for group in _groups(parts):
            read = features.read([texts[n][part.left : part.right] for n, part in group])
            forms = self.network.forms(read)
            bounds = np.searchsorted(read.texts, np.arange(len(group) + 1))
            for (number, part), (low, high) in zip(group, pairwise(bounds), strict=True):
                places = changed[number] if changed else None
                for mine, seen in _stretches(read, low, high, part, places):
                    tags = self.network.tags(forms, read.forms[mine], read.small[mine])
                    first, last = read.starts[mine], read.ends[mine]
                    spans = self._spans(tags, first, last, read.classes[mine])
                    _add(found[number], [s for s in spans if seen.touches(s)], part)
        return found

    def _spans(
        self,
        tags: Floats,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        classes: Classes,
    ) -> list[Span]:
        inside = 1 - tags[:, 0]
        taken = inside >= self.card.low
        if not taken.any():
            return []
        taken = _supported(taken, inside >= min(self.card.sure, self.card.alone))
        if not taken.any():
            return []
        first, last = _runs(tags, inside, taken, sure=self.card.sure)
        found = []
        by_label = tags[:, 1::2] + tags[:, 2::2]
        breaks, bare = classes == BREAK, (classes == BREAK) | (classes == SIGN)
        for a, b in zip(first.tolist(), last.tolist(), strict=True):
            if bare[a:b].all():
                continue
            while breaks[b - 1]:
                b -= 1  # noqa: PLW2901 - a line break at an end is no part
            while breaks[a]:
                a += 1  # noqa: PLW2901
            label = LABELS[int(by_label[a:b].sum(0).argmax())]
            score = self._calibrated(label, float(inside[a:b].mean()))
            if score >= self.card.floors[label]:
                found.append(Span(int(starts[a]), int(ends[b - 1]), label, score))
        return found

    def _calibrated(self, label: str, mean: float) -> float:
        slope, offset = self.card.curves[label]
        mean = min(max(mean, 1e-4), 1 - 1e-4)
        logit = slope * np.log(mean / (1 - mean)) + offset
        return round(float(1 / (1 + np.exp(-logit))), 3)


_CODE = ("features.py", "network.py", "tagger.py", "tokens.py")


def _supported(taken: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of the stretches of ``taken`` tokens those in which one is ``strong``."""
    begins = taken.copy()
    begins[1:] &= ~taken[:-1]
    number = np.cumsum(begins)
    held = np.bincount(number, taken & strong, int(number[-1]) + 1) > 0
    supported: NDArray[np.bool_] = taken & held[number]
    return supported


def _runs(
    tags: Floats, inside: Floats, taken: NDArray[np.bool_], *, sure: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First tokens of the runs, and the tokens after their last."""
    certain = inside >= sure
    begins = tags[:, 1::2].sum(1)
    opens = taken.copy()
    opens[1:] &= ~taken[:-1] | (certain[1:] != certain[:-1]) | (begins[1:] > 0.5 * inside[1:])
    first = np.flatnonzero(opens)
    closes = taken.copy()
    closes[:-1] &= ~taken[1:] | opens[1:]
    return first, np.flatnonzero(closes) + 1


@dataclass(frozen=True, slots=True)
class _Part:
    """Characters ``left`` to ``right`` are read, spans that begin in ``start`` to ``end`` kept."""

    left: int
    start: int
    end: int
    right: int


def _parts(text: str) -> Iterator[_Part]:
    """A text in parts of a bounded length, cut between lines or words where there are any."""
    start = 0
    while len(text) - start > _PART:
        end = start + _PART
        line, space = text.rfind("\n", end - _MARGIN, end), text.rfind(" ", end - _MARGIN, end)
        end = line + 1 if line >= 0 else space + 1 if space >= 0 else end
        yield _Part(max(0, start - _MARGIN), start, end, end + _MARGIN)
        start = end
    yield _Part(max(0, start - _MARGIN), start, len(text), len(text))


@dataclass(frozen=True, slots=True)
class _Seen:
    """Characters of a part of which what is found counts."""

    start: int
    end: int

    def touches(self, span: Span) -> bool:
        return span.end > self.start and span.start < self.end


def _stretches(
    read: features.Features, low: int, high: int, part: _Part, changed: Changed | None
) -> Iterator[tuple[slice, _Seen]]:
    """Tokens ``low`` to ``high``, those of ``part``, as stretches to go over and what counts there.

    Beside the tokens that a change reaches stand ``REACH`` that say nothing reliable, because what
    they see is cut off, and ``_LONG`` in which a span that a change reaches can begin and end.
    """
    if changed is None:
        yield slice(low, high), _Seen(0, part.right - part.left)
        return
    starts, ends = read.starts[low:high], read.ends[low:high]
    edge = REACH + _LONG
    reached: list[tuple[int, int]] = []
    near = changed[
        bisect_left(changed, part.left, key=_end) : bisect_left(changed, part.right, key=_start)
    ]
    for start, end in near:
        first = int(np.searchsorted(ends, start - part.left, side="right")) - REACH
        last = int(np.searchsorted(starts, end - part.left, side="left")) + REACH
        first, last = max(0, first), min(high - low, last)
        if first >= last:
            continue
        if reached and first - edge <= reached[-1][1] + edge:
            reached[-1] = (reached[-1][0], max(last, reached[-1][1]))
        else:
            reached.append((first, last))
    for first, last in reached:
        mine = slice(low + max(0, first - edge), low + min(high - low, last + edge))
        yield mine, _Seen(int(starts[first]), int(ends[last - 1]))


_start, _end = itemgetter(0), itemgetter(1)


def _groups(parts: Sequence[tuple[int, _Part]]) -> Iterator[list[tuple[int, _Part]]]:
    """``parts`` in order, in groups of a bounded number of characters."""
    group: list[tuple[int, _Part]] = []
    size = 0
    for number, part in parts:
        if group and size + part.right - part.left > _PART:
            yield group
            group, size = [], 0
        group.append((number, part))
        size += part.right - part.left
    if group:
        yield group


def _add(found: list[Span], spans: list[Span], part: _Part) -> None:
    """Add to ``found`` those of the spans of a part that begin in it, after what is there."""
    for span in spans:
        start = span.start + part.left
        if part.start <= start < part.end and (not found or start >= found[-1].end):
            found.append(Span(start, span.end + part.left, span.label, span.score))


def _card(values: Mapping[str, object]) -> Card:
    decoding, labels = values["decoding"], values["labels"]
    if not isinstance(decoding, dict) or not isinstance(labels, dict):
        raise TypeError
    curves = {
        label: (float(labels[label]["slope"]), float(labels[label]["offset"])) for label in LABELS
    }
    floors = {label: float(labels[label]["floor"]) for label in LABELS}
    return Card(
        str(values["sha256"]),
        float(decoding["low"]),
        float(decoding["sure"]),
        float(decoding["alone"]),
        MappingProxyType(curves),
        MappingProxyType(floors),
    )
