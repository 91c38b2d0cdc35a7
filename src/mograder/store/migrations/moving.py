"""The move of a hub from the SQLite file of its course to a database server."""

from __future__ import annotations

import os
from contextlib import ExitStack

from sqlalchemy import Connection, Table, delete, func, insert, select, text

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.settings import LoadedSettings
from mograder.store.database.database import database_url, open_engine, reading, sqlite_url, writing
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.active_hub import Hubs, lock_course, may_be_several
from mograder.store.hub.hub_tables import counters
from mograder.store.migrations.tables import metadata

_AT_ONCE = 200


def move_database(loaded: LoadedSettings) -> int:
    """Copy all rows of ``hub.db`` to the server of ``[database] url``; return their number.

    The file stays as it is. All rows are copied, or none.

    Raises: :class:`NotFound` without such a file, :class:`InvalidInput` without a server,
    :class:`Conflict` while a hub runs, or if one has worked on the server's database.
    """
    own = loaded.state_dir / "hub.db"
    url = database_url(loaded.settings.database.url, loaded.course_dir)
    if not may_be_several(url):
        raise InvalidInput(
            "[database] url names no server to which the hub's database could be moved.",
            hint="Set it to postgresql://user:password@host/name.",
        )
    if not own.is_file():
        raise NotFound(f"There is no {own} to move.", hint="Give the hub's course by -C.")
    with ExitStack() as stack:
        stack.callback(os.close, lock_course(loaded.state_dir))
        source, target = open_engine(sqlite_url(own)), open_engine(url)
        stack.callback(source.dispose)
        stack.callback(target.dispose)
        if Hubs(target).place():
            raise Conflict(
                "A hub has worked on the database of [database] url already.",
                hint="Name a new database there.",
            )
        upgrade(source)
        upgrade(target)
        with reading(source) as old, writing(target) as new:
            new.execute(delete(counters))  # the first migration has written a row
            return sum(_copy(table, old, new) for table in metadata.sorted_tables)


def _copy(table: Table, old: Connection, new: Connection) -> int:
    copied = 0
    for rows in old.execute(select(table)).mappings().partitions(_AT_ONCE):
        new.execute(insert(table), [dict(row) for row in rows])
        copied += len(rows)
    if (key := table.autoincrement_column) is not None:
        # Also those of rows that were removed must not come back, where SQLite remembers them.
        known = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        last = old.execute(known, {"name": table.name}).scalar()
        last = last or old.execute(select(func.max(key))).scalar()
        if last:
            sequence = func.pg_get_serial_sequence(table.name, key.name)
            new.execute(select(func.setval(sequence, last)))
    return copied
