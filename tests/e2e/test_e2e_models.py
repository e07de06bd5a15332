"""`gateway models` as an operator uses it, on a real home."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import running
from tests.sizedmodel import ABOUT_1M, write_adapter, write_model

SHAPE = ABOUT_1M


def models(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "models", *args],
        env=running.environment(home),
        cwd=running.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def told(home: Path, *args: str):
    done = models(home, *args, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "base.gguf", SHAPE, **{"general.license": "apache-2.0"})
    write_adapter(folder / "notes.gguf", SHAPE)
    (folder / "card.txt").write_text("Random weights.\nNot for use.\n")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    running.cli(tmp_path / "home", "init")
    return tmp_path / "home"


def test_a_model_and_its_adapter_from_add_to_remove(home: Path, files: Path):
    """Every command in text and JSON; what is recorded is what was told and what the file says."""
    added = told(
        home, "add", str(files / "base.gguf"), "--tag", "clinical", "--tag", "lang:en",
        "--card", str(files / "card.txt"), "--context", "1024",
    )  # fmt: skip
    assert (added["name"], added["license"], added["quantization"]) == ("base", "apache-2.0", "F16")
    assert (added["size"], added["architecture"]) == ("tiny", "llama")
    assert added["tags"] == ["clinical", "lang:en"]
    assert added["size_bytes"] == (files / "base.gguf").stat().st_size
    adapter = told(home, "add", str(files / "notes.gguf"), "--adapter-of", "base", "--scale", "0.5")
    assert (adapter["kind"], adapter["base"], adapter["scale"]) == ("adapter", "base", 0.5)
    listed = told(home, "list")
    rows = {row["name"]: row for row in listed}
    assert set(rows) == {"cloister-extract", "base", "notes"}
    assert all(row["fits"] for row in rows.values())
    bundled = rows["cloister-extract"]
    assert bundled["architecture"] == "llama"
    assert bundled["parameters"] > 1_000_000
    assert bundled["context"] >= rows["base"]["context"] > 0
    assert rows["base"]["memory_bytes"] > 40 * 2**20 > rows["notes"]["memory_bytes"] > 0
    assert "adapter of base" in models(home, "list").stdout
    shown = told(home, "show", "base")
    assert shown["card"] == "Random weights.\nNot for use.\n"
    assert sum(v for k, v in shown["memory"].items() if k != "total") == shown["memory"]["total"]
    assert "Not for use." in models(home, "show", "base", "-o", "text").stdout
    assert told(home, "verify", "notes")["sha256"] == adapter["sha256"]
    refused = models(home, "remove", "base")
    assert (refused.returncode, "notes" in refused.stderr) == (1, True)
    assert told(home, "remove", "notes") == {"name": "notes", "removed": True}
    assert models(home, "remove", "base").returncode == 0
    assert sorted(path.name for path in (home / "models").iterdir()) == ["models.toml"]


def test_what_changed_since_it_was_added_is_named(home: Path, files: Path):
    """Weights, card: verify fails with one line and exit 1."""
    told(home, "add", str(files / "base.gguf"), "--card", str(files / "card.txt"))
    assert models(home, "verify", "base").returncode == 0
    card = home / "models" / "base.card.txt"
    card.write_text(card.read_text() + "Now certified.")
    refused = models(home, "verify", "base")
    assert (refused.returncode, "card" in refused.stderr) == (1, True)
    card.unlink()
    assert models(home, "verify", "base").returncode == 1
    card.write_text((files / "card.txt").read_text())
    weights = home / "models" / "base.gguf"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    refused = models(home, "verify", "base")
    assert (refused.returncode, "digest" in refused.stderr) == (1, True)


def test_what_does_not_fit_the_memory_is_marked(home: Path, files: Path):
    """Added all the same: memory is a property of the machine, not of the file."""
    told(home, "add", str(files / "base.gguf"))
    settings = home / "settings.toml"
    settings.write_text(settings.read_text() + "\n[engine]\nmemory_mib = 32\n")
    listed = told(home, "list")
    assert told(home, "show", "base")["budget_bytes"] == 32 * 2**20
    assert not any(row["fits"] for row in listed)
    assert "does not fit" in models(home, "list").stdout
    assert "does not fit" in models(home, "show", "base", "-o", "text").stdout


def test_a_list_of_an_earlier_release_is_read(home: Path, files: Path):
    """The keys of then, without those of now; what it does not say is told by the file itself."""
    before = told(home, "add", str(files / "base.gguf"))
    path = home / "models" / "models.toml"
    kept = ("name", "file", "sha256", "decoding", "context", "tags", "zone", "license", "added")
    lines = [line for line in path.read_text().splitlines() if line.startswith(("[", *kept))]
    path.write_text("\n".join(lines))
    row = told(home, "verify", "base")
    assert (row["quantization"], row["architecture"], row["size"]) == ("F16", "llama", "tiny")
    assert (row["card_sha256"], row["added"]) == ("", before["added"])
    assert [one["name"] for one in told(home, "list")] == ["cloister-extract", "base"]


def test_a_report_adds_up_from_a_day_on(home: Path):
    """What the gateway counted, by model; CO2e only with a factor; an empty one says so."""
    assert "Nothing" in models(home, "report").stdout
    total = {"requests": 2, "prompt": 300, "cached": 100, "completion": 200}
    energy = {"millijoules": 7_200_000, "measured": 0}
    (home / "usage.json").write_text(
        json.dumps(
            {
                "version": 1,
                "days": {
                    "2026-01-01": {"base": {**total, **energy}},
                    "2026-01-02": {"base": {**total, **energy}, "other": {"requests": 1}},
                },
            }
        )
    )
    (row,) = [
        one
        for one in told(home, "report", "--since", "2026-01-01")["models"]
        if one["model"] == "base"
    ]
    assert (row["requests"], row["prompt_tokens"], row["joules"]) == (4, 600, 14_400)
    assert row["gco2e"] is None
    settings = home / "settings.toml"
    settings.write_text(settings.read_text() + "\n[energy]\ngrid_gco2e_per_kwh = 250.0\n")
    rows = told(home, "report", "--since", "2026-01-02")["models"]
    assert [(one["model"], one["gco2e"]) for one in rows] == [("base", 0.5), ("other", 0.0)]
    (home / "usage.json").write_text("{")
    assert models(home, "report").returncode == 1


# --- interrupted ----------------------------------------------------------------------------------


def test_an_add_that_is_killed_leaves_no_model(home: Path, files: Path, tmp_path: Path):
    """Kill -9 while the file is copied: nothing is listed, and the next add sweeps up."""
    large = tmp_path / "large.gguf"
    write_model(large, SHAPE)
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW_ADD, str(home), str(large)],
        cwd=running.ROOT,
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"copying\n"
    assert list((home / "models").glob(".*.part"))
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert [one["name"] for one in told(home, "list")] == ["cloister-extract"]
    told(home, "add", str(large))
    assert sorted(path.name for path in (home / "models").iterdir()) == [
        "large.gguf",
        "models.toml",
    ]


# The copy stands still after its first block, so that the kill comes in the middle of it.
SLOW_ADD = """
import shutil, sys, time
from pathlib import Path
from gateway.engine import model_copy, models
def stuck(source, target, size):
    target.write(source.read(size))
    target.flush()
    print("copying", flush=True)
    time.sleep(60)
shutil.copyfileobj = stuck
models.add_model(Path(sys.argv[1]), Path(sys.argv[2]), models.NewModel("large", "2026-11-22"))
"""


def test_a_full_disk_leaves_the_home_as_it_was(files: Path, tmp_path: Path):
    """No space for the copy: one line says so, no file stays, and what was there works on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("this sandbox mounts no tmpfs")
    try:
        home = disk / "home"
        running.cli(home, "init")
        (disk / "filler").write_bytes(bytes(1 << 20))
        refused = models(home, "add", str(files / "base.gguf"))
        assert (refused.returncode, "no space" in refused.stderr) == (1, True)
        assert list((home / "models").iterdir()) == []
        assert [one["name"] for one in told(home, "list")] == ["cloister-extract"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
