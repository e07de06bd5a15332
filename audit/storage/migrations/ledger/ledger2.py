"""Which process appended a record as its how manieth, and the tables beside the leaves (§11).

No two appends can claim one place. Older records keep the new columns empty: their processes have
ended and append nothing any more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "ledger2"
down_revision = "ledger1"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.add_column("records", sa.Column("boot", sa.LargeBinary))
    op.add_column("records", sa.Column("seq", number))
    op.create_index("records_boot_seq", "records", ["boot", "seq"], unique=True)
    there = sa.inspect(op.get_bind()).get_table_names()
    if "subject_index" not in there:  # ledgers without a number may have both tables already
        op.create_table(
            "subject_index",
            sa.Column("token", sa.LargeBinary, primary_key=True),
            sa.Column("idx", number, primary_key=True, autoincrement=False),
            sa.Column("day", sa.Text, nullable=False),
            sa.Column("month", sa.Text, nullable=False),
            sqlite_with_rowid=False,
        )
    if "acts" not in there:
        op.create_table(
            "acts",
            sa.Column("idx", number, primary_key=True, autoincrement=False),
            sa.Column("event", sa.Text, nullable=False),
        )
        op.create_index("acts_event", "acts", ["event", "idx"])
