"""Ledgers of older and newer versions: read as they are, migrated when told, never guessed at."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from sqlalchemy import inspect, text
from typer.testing import CliRunner

from audit.cli import app
from audit.errors import AuditError, KeyStoreError, LedgerError, MissingError
from audit.rotate import rotate_signing
from audit.storage.engines import engines
from audit.storage.migrate import migrate_keystore, migrate_ledger
from audit.storage.place import place_of
from audit.verify import Code
from tests import postgres
from tests.auditkit import make_home
from tests.conformance.test_audit_verifiers import judge
from tests.fault.test_audit_faults import report

OLDER = (
    "DROP INDEX records_boot_seq",
    "DROP INDEX records_rid",
    "CREATE INDEX records_rid ON records (rid) WHERE rid IS NOT NULL",
    "ALTER TABLE records DROP COLUMN boot",
    "ALTER TABLE records DROP COLUMN seq",
    "DROP TABLE alembic_version",
)
# A ledger without a number may have the tables beside the leaves already, or lack them.
WITH_TABLES = (
    "CREATE TABLE was AS SELECT * FROM subject_index",
    "DROP TABLE subject_index",
    "ALTER TABLE was RENAME TO subject_index",
    "INSERT INTO subject_index VALUES ('token', 1, '2026-03-01', '2032-03')",
)
WITHOUT_TABLES = ("DROP TABLE subject_index", "DROP TABLE acts")
NEWER = ("UPDATE alembic_version SET version_num = 'ledger9'",)
needs_server = pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=needs_server)])
def made(request, tmp_path):
    """A home with three records, and how to change its ledger's tables behind its back."""
    with contextlib.ExitStack() as stack:
        if request.param == "postgres":
            server = stack.enter_context(postgres.running())
            postgres.settle(tmp_path / "home", server.url)

            def change(statements):
                server.sql("; ".join(statements))
        else:

            def change(statements):
                with contextlib.closing(sqlite3.connect(tmp_path / "home/ledger.db")) as database:
                    database.executescript(";".join(statements))

        home = make_home(tmp_path / "home")
        home.fill(1)
        yield home, change


def tables(home):
    """Columns and indexes of what migrations change, and the rows of the index."""
    reading, writing = engines(place_of(home.path), readonly=False)
    sqlite = reading.dialect.name == "sqlite"
    indexes = text(
        "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        if sqlite
        else "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"
    )
    try:
        with reading.connect() as connection:
            found = inspect(connection)
            columns = {
                name: [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(name)]
                for name in ("records", "subject_index", "acts")
            }
            rows = connection.execute(text("SELECT count(*) FROM subject_index")).scalar()
            return columns, sorted(connection.scalars(indexes)), rows
    finally:
        reading.dispose()
        writing.dispose()


@pytest.mark.parametrize("beside", [WITH_TABLES, WITHOUT_TABLES], ids=["with", "without"])
def test_an_older_ledger_is_read_as_it_is_and_written_after_a_migration(made, beside):
    """Verify reads it, an append refuses it, one command mends it, and it is as if newly made."""
    home, change = made
    *fresh, empty = tables(home)
    change((*OLDER, *beside))
    assert report(home.path).records == 3
    with pytest.raises(LedgerError, match="auditlog migrate"), home.ledger():
        pass
    done = CliRunner().invoke(app, ["migrate", str(home.path)])
    assert (done.exit_code, done.output) == (0, "ledger: ledger1 -> ledger2\nkeystore: keys1\n")
    assert tables(home) == (*fresh, empty + (beside is WITH_TABLES))
    home.fill(1)
    found = report(home.path)
    assert (found.code, found.records) == (Code.UNANCHORED, 6)
    assert migrate_ledger(place_of(home.path)) == ("ledger2", "ledger2")


def test_an_older_ledger_keeps_its_keys_over_a_migration(made):
    """Rotated before and after: it is one log, and what was kept of both times holds."""
    home, change = made
    kept = [rotate_signing(home.path, clock=home.clock).checkpoint.encode()]
    change((*OLDER, *WITHOUT_TABLES))
    with pytest.raises(LedgerError, match="auditlog migrate"):
        rotate_signing(home.path, clock=home.clock)
    assert migrate_ledger(place_of(home.path)) == ("ledger1", "ledger2")
    home.fill(1)
    kept.append(rotate_signing(home.path, clock=home.clock).checkpoint.encode())
    home.fill(1)
    found = judge(home.path, kept)
    assert (found.code, [start for start, _ in found.keys]) == (Code.ANCHORED, [0, 4, 8])


def test_a_newer_ledger_is_refused_by_readers_writers_and_migration(made):
    """What this version does not know it neither reads nor changes, and it says so."""
    home, change = made
    change(NEWER)
    for act in (lambda: report(home.path), home.fill, lambda: migrate_ledger(place_of(home.path))):
        with pytest.raises(AuditError, match="newer than this program"):
            act(1) if act == home.fill else act()


def test_a_newer_key_store_is_refused(tmp_path):
    """The same holds for the key store."""
    home = make_home(tmp_path / "home")
    with contextlib.closing(sqlite3.connect(home.path / "keystore.db")) as database:
        database.executescript("UPDATE alembic_version SET version_num = 'keys9'")
    with pytest.raises(KeyStoreError, match="newer than this program"):
        migrate_keystore(home.path / "keystore.db")
    with pytest.raises(KeyStoreError, match="newer than this program"), home.ledger():
        pass


def test_where_nothing_is_nothing_is_made(tmp_path):
    """A migration makes no database."""
    with pytest.raises(MissingError):
        migrate_ledger(tmp_path / "ledger.db")
    with pytest.raises(KeyStoreError):
        migrate_keystore(tmp_path / "keystore.db")
    assert not list(tmp_path.iterdir())
