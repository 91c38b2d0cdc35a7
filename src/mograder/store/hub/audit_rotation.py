"""Rotation of the audit log: moves old lines to a file. Nothing else ever removes lines.

Triggers in the database refuse to change or remove a line. They are disabled
within one transaction, which writes the lines to the file before it deletes them from the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, select, text

from mograder.store.database.database import writing
from mograder.store.hub.hub_tables import AuditRow, audit

_BATCH = 10_000


def rotate_audit(
    engine: Engine, before: datetime, keep: Callable[[Sequence[AuditRow]], None]
) -> int:
    """Pass lines older than ``before`` to ``keep``, then remove them; return their number.

    A call handles at most 10,000 lines: call again until it returns 0. If ``keep`` raises, all
    lines stay.
    """
    with writing(engine) as connection:
        wanted = select(audit).where(audit.c.at < before).order_by(audit.c.number).limit(_BATCH)
        rows = [AuditRow(*row) for row in connection.execute(wanted)]
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
    """Disable the triggers in this transaction only; other connections never see them missing."""
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
