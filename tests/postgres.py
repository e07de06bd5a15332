"""A PostgreSQL server of a test's own, on a Unix socket in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

USER = "cloister"
MISSING = "PostgreSQL's server is not installed (Debian: postgresql)"


def binaries() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``, the newest release first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    if found:
        return found[-1].parent
    command = shutil.which("initdb")
    return Path(command).resolve().parent if command else None


@dataclass
class Postgres:
    """``folder`` holds the data and the socket. ``url`` is what the settings of a home name."""

    bin: Path
    folder: Path

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://{USER}@/{database}?host={self.folder}"

    def start(self) -> None:
        # One folder, no TCP: nothing but this socket listens.
        options = f"-k {self.folder} -c listen_addresses=''"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", self.data, "-w", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-w", "-m", mode, "stop")

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What ``psql`` answers, fields divided by bars."""
        return self._run(
            "psql", "-X", "-A", "-t", "-h", str(self.folder), "-U", USER, "-d", database,
            "-c", statement,
        ).strip()  # fmt: skip

    def fresh(self, name: str) -> str:
        """The URL of an empty database."""
        self.sql(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def _run(self, command: str, *args: str) -> str:
        done = subprocess.run(
            [*_as_nobody(), str(self.bin / command), *args],
            capture_output=True, text=True, check=False, timeout=60, cwd="/",
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def init(self) -> None:
        self._run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "--no-sync")


def _as_nobody() -> list[str]:
    """PostgreSQL does not run as root."""
    if os.getuid():
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@contextmanager
def running() -> Iterator[Postgres]:
    """A server that is there for the block, on a real disk. ``binaries`` MUST have found some."""
    where = binaries()
    assert where is not None, MISSING
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        if not os.getuid():
            os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
        server = Postgres(where, Path(folder))
        server.init()
        server.start()
        try:
            yield server
        finally:
            if (Path(server.data) / "postmaster.pid").exists():
                server.stop("immediate")


def settle(home: Path, url: str) -> None:
    """Let the settings of a home name this database. Before the home is made."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "settings.toml").write_text(f'[ledger]\nurl = "{url}"\n')
