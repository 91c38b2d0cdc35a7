"""What an ``env.py`` of Alembic's does: ``store.database.upgrade`` hands over an open transaction.

The whole upgrade runs in it, so that a crash or an error leaves the old tables.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, MetaData


def run(metadata: MetaData) -> None:
    """Run the migrations of these tables on the connection of the caller."""
    connection = context.config.attributes["connection"]
    if not isinstance(connection, Connection):
        raise TypeError("migrations run from mograder.store.database only")
    # SQLite can roll tables back too, once the driver's own transactions are out of the way.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
