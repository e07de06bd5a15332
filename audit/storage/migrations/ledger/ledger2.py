"""Which process appended a record as its how manieth, the tables beside the leaves (§11), runs.

No two appends can claim one place. Older records keep the new columns empty: their processes have
ended and append nothing any more. Indexes over random keys come in runs, so that an append into a
long log touches the pages of the last run only.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "ledger2"
down_revision = "ledger1"

_WITH_RID = sa.text("rid IS NOT NULL")


def upgrade() -> None:
    run = sa.text("idx >> 14" if op.get_bind().dialect.name == "sqlite" else "(idx >> 14)")
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.add_column("records", sa.Column("boot", sa.LargeBinary))
    op.add_column("records", sa.Column("seq", number))
    op.create_index("records_boot_seq", "records", ["boot", "seq"], unique=True)
    op.drop_index("records_rid", "records")
    op.create_index(
        "records_rid", "records", [run, "rid"], sqlite_where=_WITH_RID, postgresql_where=_WITH_RID
    )
    there = sa.inspect(op.get_bind()).get_table_names()
    old = "subject_index" in there  # some ledgers without a number have both tables already
    if old:
        op.rename_table("subject_index", "subject_index_old")
    op.create_table(
        "subject_index",
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.Column("idx", number, nullable=False),
        sa.Column("day", sa.Text, nullable=False),
        sa.Column("month", sa.Text, nullable=False),
    )
    op.create_index("subject_index_token", "subject_index", [run, "token"])
    if old:
        op.execute("INSERT INTO subject_index SELECT token, idx, day, month FROM subject_index_old")
        op.drop_table("subject_index_old")
    if "acts" not in there:
        op.create_table(
            "acts",
            sa.Column("idx", number, primary_key=True, autoincrement=False),
            sa.Column("event", sa.Text, nullable=False),
        )
        op.create_index("acts_event", "acts", ["event", "idx"])
