"""Plots as inline SVG: horizontal bars, and stacked columns over time. Nothing remote, no script.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), told apart by colour-blind readers;
each also has a pattern, so that a print in grey can be read. Every value is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
_WIDTH, _ROW, _LABEL = 680, 24, 230
_HEIGHT, _BASE, _LEFT = 220, 190, 46
MOST_BARS = 15
MOST_COLUMNS = 60


@dataclass(frozen=True, slots=True)
class Columns:
    """Counts over time: ``times`` along, ``series`` stacked, ``unit`` is day, week … in words."""

    times: Sequence[str]
    series: Mapping[str, Sequence[int]]
    unit: str


def bars(title: str, counted: Sequence[tuple[str, int]]) -> Markup:
    """Horizontal bars, the first ``MOST_BARS``; nothing where there is nothing to show."""
    shown = list(counted)[:MOST_BARS]
    if not shown:
        return Markup("")
    most, height = max(count for _, count in shown) or 1, len(shown) * _ROW + 8
    rows = []
    for number, (name, count) in enumerate(shown):
        y, width = number * _ROW + 4, max(2, (_WIDTH - _LABEL - 70) * count // most)
        rows.append(
            Markup(
                '<text x="{}" y="{}" text-anchor="end">{}</text>'
                '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"/>'
                '<text x="{}" y="{}">{}</text>'
            ).format(
                _LABEL - 8, y + 14, _short(name), _LABEL, y, width, _ROW - 7, COLOURS[0],
                _LABEL + width + 6, y + 14, f"{count:,}",
            )
        )  # fmt: skip
    return _svg(title, height, Markup("").join(rows))


def columns(title: str, data: Columns) -> Markup:
    """Stacked columns with a legend; nothing where there is nothing to show."""
    totals = [sum(each) for each in zip(*data.series.values(), strict=True)]
    if not totals or not max(totals):
        return Markup("")
    most = _ceiling(max(totals))
    step = (_WIDTH - _LEFT - 10) / len(totals)
    parts = [_axis(most), _patterns()]
    heights = [0.0] * len(totals)
    for number, counts in enumerate(data.series.values()):
        for at, count in enumerate(counts):
            tall = count / most * (_BASE - 14)
            heights[at] += tall
            if count:
                parts.append(_block(number, _LEFT + at * step, _BASE - heights[at], step, tall))
    every = max(1, len(totals) * 84 // (_WIDTH - _LEFT) + 1)
    parts += [
        Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            _LEFT + (at + 0.5) * step, _BASE + 16, time
        )
        for at, time in enumerate(data.times)
        if at % every == 0
    ]
    legend, tall = _legend(list(data.series))
    return _svg(title, _HEIGHT + tall, Markup("").join([*parts, legend]))


def _block(number: int, x: float, y: float, step: float, tall: float) -> Markup:
    place = Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(
        x + step * 0.1, y, min(step * 0.8, 60), max(tall, 0.5)
    )
    return Markup(
        '<rect {} fill="{}" stroke="#fff" stroke-width=".5"/><rect {} fill="url(#p{})"/>'
    ).format(place, COLOURS[number % len(COLOURS)], place, number % 4)


def _axis(most: int) -> Markup:
    marks = []
    for value in (0, most // 2, most) if most > 1 else (0, 1):
        y = _BASE - value / most * (_BASE - 14)
        marks.append(
            Markup(
                '<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" class="grid"/>'
                '<text x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(_LEFT, _WIDTH - 10, y, y, _LEFT - 6, y + 4, f"{value:,}")
        )
    return Markup("").join(marks)


def _patterns() -> Markup:
    """None, rising, falling and dotted: the second mark of a series, beside its colour."""
    lines = ("", "M0 6L6 0", "M0 0L6 6", "M3 2v2")
    return Markup("<defs>{}</defs>").format(
        Markup("").join(
            Markup(
                '<pattern id="p{}" width="6" height="6" patternUnits="userSpaceOnUse">'
                '<path d="{}" stroke="#000" stroke-opacity=".45" stroke-width="1.2"/></pattern>'
            ).format(number, path)
            for number, path in enumerate(lines)
        )
    )


def _legend(names: Sequence[str]) -> tuple[Markup, int]:
    parts = []
    for number, name in enumerate(names):
        x, y = _LEFT + number % 4 * 158, _HEIGHT + number // 4 * 20
        parts.append(
            Markup("{}<text x='{}' y='{}'>{}</text>").format(
                _block(number, x - 1.4, y, 14, 12), x + 18, y + 11, _short(name, 20)
            )
        )
    return Markup("").join(parts), (len(names) + 3) // 4 * 20 + 4


def _svg(title: str, height: int, inside: Markup) -> Markup:
    return Markup(
        '<svg role="img" aria-label="{}" viewBox="0 0 {} {}" xmlns="http://www.w3.org/2000/svg">'
        "<title>{}</title>{}</svg>"
    ).format(title, _WIDTH, height, title, inside)


def _short(name: str, most: int = 32) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _ceiling(value: int) -> int:
    """The next even step of 1, 2, 4, 6, 8 or 10 times a power of ten."""
    power = 1
    while power * 10 < value:
        power *= 10
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)
