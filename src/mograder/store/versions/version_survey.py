"""How many versions there are, and whether a sample of them can be read back."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Engine, func, inspect, select

from mograder.core.errors import NotFound
from mograder.store.database.database import reading
from mograder.store.versions.version_tables import version_copies, versions
from mograder.store.versions.version_texts import Damaged, read_text


@dataclass(frozen=True, slots=True)
class DamagedVersion:
    """A version that cannot be read back."""

    user: str
    item: str
    number: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The versions of all copies: ``bytes`` is the size of their data, ``looked`` that read back.

    ``damaged`` are those of the sample that could not be read.
    """

    copies: int
    versions: int
    bytes: int
    looked: int = 0
    damaged: tuple[DamagedVersion, ...] = ()


def count(engine: Engine) -> Survey:
    """Return the numbers alone."""
    c = version_copies.c
    wanted = select(
        func.count(),
        func.coalesce(func.sum(c.kept), 0),
        func.coalesce(func.sum(c.bytes), 0),
    ).where(c.kept > 0)
    with reading(engine) as connection:
        copies, kept, size = connection.execute(wanted).one()
    return Survey(int(copies), int(kept), int(size))


def survey(engine: Engine, sample: int, seconds: float) -> Survey | None:
    """Read back the newest versions of some copies, chosen by chance, with their keys.

    It takes about ``seconds`` at most. Return None if the database has no versions yet, because an
    older mograder wrote it.
    """
    with reading(engine) as connection:
        if not inspect(connection).has_table(versions.name):
            return None
    found, c = count(engine), version_copies.c
    wanted = select(c.copy, c.username, c.item, c.newest).where(c.kept > 0)
    until, looked, damaged = time.monotonic() + seconds, 0, []
    with reading(engine) as connection:
        rows = connection.execute(wanted.order_by(func.random()).limit(sample)).all()
        for row in rows:
            if time.monotonic() > until:
                break
            looked += 1
            try:
                read_text(connection, row.copy, row.newest)
            except (Damaged, NotFound):
                damaged.append(DamagedVersion(row.username, row.item, row.newest))
    return Survey(found.copies, found.versions, found.bytes, looked, tuple(damaged))
