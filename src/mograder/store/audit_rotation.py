"""Taking old lines out of the audit log, into a file: the one way in which it ever gets shorter.

The database refuses to change a line (migration 0003). Here that guard is lifted for the length of
one transaction, in which the lines go to the disk first and out of the table then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, select, text

from mograder.store.database import writing
from mograder.store.hub_tables import AuditRow, audit

_BATCH = 10_000


def rotate_audit(
    engine: Engine, before: datetime, keep: Callable[[Sequence[AuditRow]], None]
) -> int:
    """Hand lines older than ``before`` to ``keep``, and remove them once it has returned.

    At most some thousands in one transaction: call again until it returns 0. If ``keep`` raises,
    all lines stay.
    """
    with writing(engine) as connection:
        wanted = select(audit).where(audit.c.at < before).order_by(audit.c.number).limit(_BATCH)
        rows = [
            AuditRow(row.at, row.who, row.action, row.what, row.origin, row.outcome, row.number)
            for row in connection.execute(wanted)
        ]
        if not rows:
            return 0
        keep(rows)
        numbers = [row.number for row in rows]
        with _unguarded(connection):
            gone = audit.c.number.between(min(numbers), max(numbers)) & (audit.c.at < before)
            connection.execute(delete(audit).where(gone))
    return len(rows)


@contextmanager
def _unguarded(connection: Connection) -> Iterator[None]:
    """Lift the guard in this transaction only: nobody else ever sees the table without it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_only_grows"))
        yield
        connection.execute(text("ALTER TABLE audit ENABLE TRIGGER audit_only_grows"))
        return
    wanted = text(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit'"
    )
    guards = connection.execute(wanted).all()
    for name, _ in guards:
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    yield
    for _, statement in guards:
        connection.exec_driver_sql(statement)
