"""Create all tables of the hub's database, and what is in it from the start.

The revisions 0001 to 0017 were never released. The first revision after a release has to replace
``create_all`` by the tables as this revision made them (``alembic revision --autogenerate`` writes
them): it fails until then, since what it adds is here already.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from mograder.store.hub.hub_tables import counters, metadata

revision = "0018"
down_revision = None
branch_labels = None
depends_on = None

_REFUSAL = "the audit log only grows"


def upgrade() -> None:
    connection = op.get_bind()
    metadata.create_all(connection, checkfirst=False)
    connection.execute(sa.insert(counters).values(name="slots", value=0))
    if connection.dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        op.execute(
            "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()"
        )
        return
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit "
            f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
        )
