"""What every benchmark shares: figures with bars, a table, a JSON file, a plot, an exit code.

    from tests.benchmarks.harness import Figure, publish
    sys.exit(publish("engine", [Figure("tokens_per_s", 812.0, "1/s", "higher", 700, 900)]))

`make bench-NAME` runs ``python -m tests.benchmarks.bench_NAME`` from the root of the repository.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "cloister",
    "litestar",
    "llama-cpp-python",
    "presidio-analyzer",
    "spacy",
    "sqlalchemy",
    "cryptography",
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``bar`` must be met, ``reach`` is what we hope for.

    Without a bar the figure is shown and fails nothing: context, such as a peer's number.
    """

    id: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    bar: float | None = None
    reach: float | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.id} was not measured")

    def meets(self, target: float | None) -> bool:
        if target is None:
            return True
        return self.value >= target if self.better == "higher" else self.value <= target


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a value that was measured, never one in between."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def publish(
    name: str, figures: Sequence[Figure], *, notes: str = "", folder: Path = RESULTS
) -> int:
    """Print the table, write ``NAME.json`` and ``NAME.svg``; return the exit code.

    The plot shows the figures that have a bar, where there are any.
    ``notes`` states sizes, repeats and the peer, and stands under the table.

    Raises:
        ValueError: nothing was measured: that is no pass.
    """
    if not figures:
        raise ValueError("a benchmark without figures proves nothing")
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": machine(),
        "versions": versions(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": [asdict(figure) for figure in figures],
    }
    (folder / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    barred = [figure for figure in figures if figure.bar is not None]
    _plot(name, barred or figures, folder / f"{name}.svg")
    _table(name, figures, notes)
    return int(not all(figure.meets(figure.bar) for figure in figures))


def machine() -> str:
    """The processor, its cores, the memory and the kernel, in words."""
    model = _value_of(Path("/proc/cpuinfo"), "model name") or platform.machine()
    memory = _value_of(Path("/proc/meminfo"), "MemTotal").split()
    gib = f"{int(memory[0]) / 2**20:.1f} GiB, " if memory else ""
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {gib}{platform.system()} {platform.release()}"


def _value_of(path: Path, key: str) -> str:
    if not path.exists():
        return ""
    found = (line for line in path.read_text().splitlines() if line.startswith(key))
    return next(found, ":").partition(":")[2].strip()


def versions() -> dict[str, str]:
    """Python, SQLite and the packages that decide the figures, where they are installed."""
    import sqlite3  # noqa: PLC0415  # only its version is wanted

    result = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in PACKAGES:
        try:
            result[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result


def _table(name: str, figures: Sequence[Figure], notes: str) -> None:
    table = Table(title=f"bench {name}", title_justify="left", caption_justify="left")
    for column in ("figure", "value", "unit", "bar", "reach", ""):
        left = column in ("figure", "unit")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    for figure in figures:
        table.add_row(
            figure.id,
            _number(figure.value),
            figure.unit,
            _target(figure, figure.bar),
            _target(figure, figure.reach),
            _verdict(figure),
        )
    console = Console()
    console.print(table)
    console.print(f"{machine()}\n{notes}".strip(), highlight=False, markup=False)


def _verdict(figure: Figure) -> str:
    if figure.bar is None:
        return ""
    if not figure.meets(figure.bar):
        return "[red]missed[/red]"
    return "reached" if figure.reach is not None and figure.meets(figure.reach) else "met"


def _target(figure: Figure, target: float | None) -> str:
    if target is None:
        return ""
    return f"{'≥' if figure.better == 'higher' else '≤'} {_number(target)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _plot(name: str, figures: Sequence[Figure], path: Path) -> None:
    """One row a figure, each in its own unit: the value as a bar, its targets as lines."""
    import matplotlib as mpl  # noqa: PLC0415  # slow to load, and only wanted here

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = name  # the same figures give the same file
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plot, rows = plt.subplots(
        len(figures), 1, figsize=(8, 0.75 * len(figures) + 0.6), squeeze=False
    )
    for axes, figure in zip(rows[:, 0], figures, strict=True):
        color = "#3b6ea5" if figure.meets(figure.bar) else "#b3402e"
        axes.barh([0], [figure.value], color=color, height=0.5)
        for target, style in ((figure.bar, "-"), (figure.reach, ":")):
            if target is not None:
                axes.axvline(target, color="black", linestyle=style, linewidth=1.5)
        axes.set_yticks([])
        axes.set_xlim(left=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        label = f"{figure.id}: {_number(figure.value)} {figure.unit} ({figure.better} is better)"
        axes.set_title(label, loc="left", fontsize=9)
    plot.suptitle(f"{name}: solid line = bar, dotted line = reach", fontsize=9, x=0.01, ha="left")
    plot.tight_layout()
    plot.savefig(path, metadata={"Date": None})
    plt.close(plot)
