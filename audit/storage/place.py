"""Where a ledger lies: a file, or a database of a PostgreSQL server.

A home says so in the ``[ledger]`` table of its settings; whoever reads the log of a home (the
gateway, ``auditlog``) finds it the same way. A password stands in a file of its own, so that no
value here, no settings file and no error ever holds one.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from audit.errors import FormatError, LedgerError

LEDGER_FILE = "ledger.db"
_SETTINGS_FILE = "settings.toml"
_SCHEMES = ("postgresql", "postgres")
_PORT = 5432


@dataclass(frozen=True, slots=True)
class Server:
    """A database of a PostgreSQL server. ``host`` may be the folder of its Unix socket."""

    host: str
    port: int
    database: str
    user: str
    password_file: Path | None = None
    ca_file: Path | None = None

    @property
    def local(self) -> bool:
        """Whether nothing is sent over a network: a Unix socket, or a loopback literal."""
        if self.host.startswith("/") or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


Place = Path | Server
"""A SQLite file, or a server's database."""


def server(url: str, *, password_file: str = "", ca_file: str = "", home: Path = Path()) -> Server:
    """Read ``postgresql://USER@HOST:PORT/DATABASE`` (or ``…@/DATABASE?host=/SOCKET/FOLDER``).

    Relative files are looked up in ``home``. The URL is never part of an error.

    Raises:
        FormatError: not such a URL, or one that holds a password.
    """
    try:
        parts = urlsplit(url)
        port, query = parts.port or _PORT, parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise FormatError("ledger.url is not a postgresql:// address") from None
    if parts.password is not None or "password" in query:
        raise FormatError("ledger.url holds a password: put it into ledger.password_file")
    folder, user, database = query.pop("host", [""])[0], parts.username, parts.path[1:]
    host = folder or parts.hostname
    if parts.scheme not in _SCHEMES or query or not (host and user and database):
        raise FormatError("ledger.url is not postgresql://USER@HOST:PORT/DATABASE")
    return Server(
        host=host,
        port=port,
        database=unquote(database),
        user=unquote(user),
        password_file=home / password_file if password_file else None,
        ca_file=home / ca_file if ca_file else None,
    )


def place_of(home: Path) -> Place:
    """The place that the settings of a home name; without settings, the file in it.

    Raises:
        LedgerError: the settings cannot be read.
        FormatError: they name no place that could be.
    """
    try:
        table = tomllib.loads((home / _SETTINGS_FILE).read_text("utf-8")).get("ledger", {})
        url = table.get("url", "")
        files = {name: table.get(name, "") for name in ("password_file", "ca_file")}
    except FileNotFoundError:
        return home / LEDGER_FILE
    except (OSError, ValueError, AttributeError):
        raise LedgerError("the settings of this home cannot be read") from None
    if not all(isinstance(value, str) for value in (url, *files.values())):
        raise FormatError("ledger.url, password_file and ca_file are texts")
    return server(url, **files, home=home) if url else home / LEDGER_FILE


def place_in(source: Path) -> Place:
    """The ledger that somebody names: a home, or the file of a SQLite ledger.

    Raises:
        LedgerError, FormatError: as ``place_of``.
    """
    return place_of(source) if source.is_dir() else source


def holds_ledger(home: Path) -> bool:
    """Whether this is a directory with a ledger, or one whose settings name a server's."""
    return home.is_dir() and (isinstance(place_of(home), Server) or (home / LEDGER_FILE).exists())
