"""The tables of both databases and the statements over them, made once (audit-format.md §13).

A schema has a number. Migrations lead from each to the next (``migrations/``); a fresh database
is made at the newest. Columns are added, never renamed.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    event,
    func,
    insert,
    literal_column,
    select,
    update,
)

# SQLite numbers rows by INTEGER only; PostgreSQL's would end at two thousand million records.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

LEDGER_VERSIONS = ("ledger1", "ledger2")
"""Oldest first. A ledger without a number is of the first."""
KEYSTORE_VERSIONS = ("keys1",)

ledger = MetaData()
facts = Table("facts", ledger, Column("name", Text, primary_key=True), Column("value", LargeBinary))
records = Table(
    "records",
    ledger,
    Column("idx", _NUMBER, primary_key=True, autoincrement=False),
    Column("rid", Text),
    Column("body", LargeBinary, nullable=False),  # the leaf's data: what is hashed and exported
    Column("leaf", LargeBinary, nullable=False),
    Column("receipt", Text, nullable=False),
    # Since ledger2, empty in older records: no append of one process can ever be there twice.
    Column("boot", LargeBinary),
    Column("seq", _NUMBER),
)
# PostgreSQL would try to compress each body, which is random and base64, and put it elsewhere.
event.listen(
    records,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]
        "ALTER TABLE records SET (toast_tuple_target = 8160), "
        "ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN receipt SET STORAGE EXTERNAL"
    ).execute_if(dialect="postgresql"),
)

# Random keys in one tree of all records would touch a page of their own for each: the longer the
# log, the slower an append. So there is a run of such an index for every so many records, and a
# look-up asks all runs (``runs``).
_RUN_BITS = 14


def _run(index: Column[int]) -> ColumnElement[int]:
    return index.op(">>")(literal_column(str(_RUN_BITS)))  # as the index spells it, no parameter


def runs(size: int) -> range:
    """The runs of a log of ``size`` records."""
    return range((max(size, 1) - 1 >> _RUN_BITS) + 1)


Index(
    "records_rid",
    _run(records.c.idx),
    records.c.rid,
    sqlite_where=records.c.rid.is_not(None),
    postgresql_where=records.c.rid.is_not(None),
)
Index("records_boot_seq", records.c.boot, records.c.seq, unique=True)
nodes = Table(
    "nodes",
    ledger,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("idx", _NUMBER, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
checkpoints = Table(
    "checkpoints",
    ledger,
    Column("size", _NUMBER, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)
pending = Table(
    "pending",  # intents without an outcome: an index over the records, never trusted by verify
    ledger,
    Column("rid", Text, primary_key=True),
    Column("idx", _NUMBER, primary_key=True, autoincrement=False),
    Column("boot", Text, nullable=False),
    Column("deadline", Text),
    sqlite_with_rowid=False,
)
# Beside the leaves, never trusted by verify (audit-format.md §11). Since ledger2.
subject_index = Table(
    "subject_index",
    ledger,
    Column("token", LargeBinary, nullable=False),
    Column("idx", _NUMBER, nullable=False),
    Column("day", Text, nullable=False),
    Column("month", Text, nullable=False),
)
Index("subject_index_token", _run(subject_index.c.idx), subject_index.c.token)
acts = Table(
    "acts",  # where the records are that replaying, expiry and the index need
    ledger,
    Column("idx", _NUMBER, primary_key=True, autoincrement=False),
    Column("event", Text, nullable=False),
)
Index("acts_event", acts.c.event, acts.c.idx)
ledger_version = Table("alembic_version", ledger, Column("version_num", Text, primary_key=True))

keystore = MetaData()
secrets = Table(
    "secrets", keystore, Column("name", Text, primary_key=True), Column("value", LargeBinary)
)
keys = Table(
    "keys",  # one row per (subject, expiry month); ids are random and tell of no subject
    keystore,
    Column("id", LargeBinary, primary_key=True),
    Column("month", Text, nullable=False, index=True),
    Column("key", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
keystore_version = Table("alembic_version", keystore, Column("version_num", Text, primary_key=True))

# Statements are made once: the driver's text for each is compiled once and kept.
INSERT_CHECKPOINT = insert(checkpoints)
INSERT_FACT, INSERT_SECRET = insert(facts), insert(secrets)
DELETE_FACT = delete(facts).where(facts.c.name == bindparam("old"))
SELECT_FACT = select(facts.c.value).where(facts.c.name == bindparam("name"))
SELECT_LAST = select(records.c.idx, records.c.leaf).order_by(records.c.idx.desc()).limit(1)
# Columns that every version has: an auditor reads an old ledger as it is.
SELECT_RECORDS = select(
    records.c.idx, records.c.rid, records.c.body, records.c.leaf, records.c.receipt
)
SELECT_ROW = SELECT_RECORDS.where(records.c.idx == bindparam("index"))
SELECT_RID = SELECT_RECORDS.where(
    _run(records.c.idx).in_(bindparam("runs", expanding=True)), records.c.rid == bindparam("rid")
).order_by(records.c.idx)
SELECT_NEWEST = select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1)
SELECT_CHECKPOINTS = select(checkpoints).order_by(checkpoints.c.size)
SELECT_PENDING = select(pending).order_by(pending.c.idx)
_WITH_TOKENS = (
    _run(subject_index.c.idx) == bindparam("run"),
    subject_index.c.token.in_(bindparam("tokens", expanding=True)),
)
DELETE_TOKENS = delete(subject_index).where(*_WITH_TOKENS)
DELETE_MONTHS = delete(subject_index).where(subject_index.c.month < bindparam("before"))
SELECT_TOKENS = select(subject_index.c.idx).where(*_WITH_TOKENS)
SELECT_ACTS = select(acts.c.idx).where(acts.c.event == bindparam("event")).order_by(acts.c.idx)
SELECT_LAST_ACT = select(func.max(acts.c.idx)).where(acts.c.event == bindparam("event"))
SELECT_KEYROW = select(keys.c.month, keys.c.key).where(keys.c.id == bindparam("id"))
SELECT_KEYS_AFTER = select(keys).where(keys.c.id > bindparam("after")).order_by(keys.c.id)
SWAP_KEY = (
    update(keys)
    .where(keys.c.id == bindparam("which"), keys.c.key == bindparam("old"))
    .values(key=bindparam("new"))
)
PUT_SECRET = insert(secrets).prefix_with("OR REPLACE")
KEEP_SECRET = insert(secrets).prefix_with("OR IGNORE")
SELECT_SECRET = select(secrets.c.value).where(secrets.c.name == bindparam("name"))
