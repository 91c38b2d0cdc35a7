"""The code of both Alembic ``env.py`` files.

The whole upgrade runs in one transaction that ``store.database.database.upgrade`` opens, so that a
crash or an error leaves the old tables.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, MetaData


def run(metadata: MetaData) -> None:
    """Run the migrations of these tables on the connection that the caller has opened."""
    connection = context.config.attributes["connection"]
    if not isinstance(connection, Connection):
        raise TypeError("migrations run from mograder.store.database.database only")
    # SQLite can roll back DDL too, as the driver's implicit transactions are disabled.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
