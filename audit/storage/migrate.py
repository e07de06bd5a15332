"""Migrations of both databases: from the schema they have to the newest that this program knows.

One transaction each, under the lock that appends take: an interrupted migration leaves the
database as it was, and nobody appends while one runs.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, Table

from audit.errors import AuditError, KeyStoreError, LedgerError, MissingError
from audit.storage import schema
from audit.storage.engines import engines, file_engine, port
from audit.storage.place import Place
from audit.storage.versions import check_version, version

_SCRIPTS = Path(__file__).with_name("migrations")


def migrate_ledger(place: Place) -> tuple[str, str]:
    """Bring a ledger to the newest schema; return the number it had and the one it has.

    Raises:
        MissingError: no ledger is there.
        LedgerError: it is newer than this program, or cannot be written; it is as it was.
    """
    if isinstance(place, Path) and not place.is_file():
        raise MissingError("there is no ledger here")
    reading, writing = engines(place, readonly=False)
    try:
        return _migrate(
            writing, "ledger", schema.ledger_version, schema.LEDGER_VERSIONS, LedgerError
        )
    finally:
        writing.dispose()
        reading.dispose()


def migrate_keystore(path: Path) -> tuple[str, str]:
    """As ``migrate_ledger``, for the key store.

    Raises:
        KeyStoreError: it is not there, newer than this program, or cannot be written.
    """
    if not path.is_file():
        raise KeyStoreError("there is no key store here")
    engine = file_engine(path, begin="BEGIN IMMEDIATE")
    try:
        return _migrate(
            engine, "keystore", schema.keystore_version, schema.KEYSTORE_VERSIONS, KeyStoreError
        )
    finally:
        engine.dispose()


def _migrate(
    engine: Engine, name: str, table: Table, known: tuple[str, ...], error: type[AuditError]
) -> tuple[str, str]:
    with port(error, "the database cannot be migrated"), engine.begin() as connection:
        check_version(connection, table, known, write=False, error=error)
        before = version(connection, table, known)
        table.create(connection, checkfirst=True)
        _upgrade(connection, name, before)
        check_version(connection, table, known, write=True, error=error)
        return before, known[-1]


def _upgrade(connection: Connection, name: str, before: str) -> None:
    try:
        from alembic import command  # noqa: PLC0415 - of the gateway's extra, for this alone
        from alembic.config import Config  # noqa: PLC0415
    except ImportError:
        raise LedgerError("migrating needs alembic, which the extra `gateway` brings") from None
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("version_locations", str(_SCRIPTS / name).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.stamp(config, before)
    command.upgrade(config, "head")
