"""Which process appended a record as its how manieth: no two appends can claim one place.

Older records keep these columns empty: their processes have ended and append nothing any more.
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
