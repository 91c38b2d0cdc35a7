"""The upgrades of a database's tables, which Alembic makes."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    inspect,
    text,
)

from mograder.core.errors import Conflict
from mograder.core.files.disk import move_file
from mograder.core.log import get_logger
from mograder.store.database.database import reading, sqlite_file, translated
from mograder.store.database.sqlite_files import copy_sqlite, file_turn

MIGRATIONS = Path(__file__).parents[1] / "migrations"
"""The revisions that this program knows."""

_NEVER_RELEASED = frozenset(
    ["g0006a", *(f"{at:04}" for at in range(1, 18)), *(f"g{at:04}" for at in range(1, 8))]
)
"""Revisions of the hub's database and of the gradebook that only development versions had."""

_REVISION = text("SELECT version_num FROM alembic_version")

_ADVISORY_LOCK = 0x6D6F_6772
"""The key of the PostgreSQL advisory lock that serialises upgrades."""

_log = get_logger(__name__)


def upgrade(engine: Engine, *, migrations: Path = MIGRATIONS) -> None:
    """Upgrade the tables in one long transaction; copy an SQLite file first if they will change.

    Programs that do so at once take turns: the first one copies and upgrades.
    Raises: :class:`Conflict` when a newer mograder wrote the database, or one before the first
    release; :class:`InvalidInput` when the file is not a database, :class:`Busy` when the database
    cannot be reached.
    """
    with translated(engine):
        if schema_version(engine) == head_version(migrations):
            return
        path = sqlite_file(engine.url)
        # One upgrade of a file at a time, with its copy; a server has its own lock.
        with contextlib.nullcontext() if path is None else file_turn(path):
            _upgrade(engine, migrations, path)


def _upgrade(engine: Engine, migrations: Path, path: Path | None) -> None:
    current, head = schema_version(engine), head_version(migrations)
    if current == head:  # another program has upgraded it meanwhile
        return
    _refuse_unknown(current, migrations)
    with reading(engine) as connection:
        tables = inspect(connection).get_table_names()
    if path is not None and tables:  # a server's administrator makes its backups
        target = path.with_name(f"{path.name}.before-{head}")
        temporary = target.with_name(target.name + ".tmp")
        temporary.unlink(missing_ok=True)
        try:
            copy_sqlite(path, temporary)
            move_file(temporary, target)
        except BaseException:
            # Half a copy would keep a full disk full.
            for each in (temporary, temporary.with_name(f"{temporary.name}-journal")):
                each.unlink(missing_ok=True)
            raise
        message = "The database at %s was copied to %s before its upgrade."
        _log.info(message, current or "0.3.16", target.name)
    config = _alembic_config(migrations)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            lock = text("SELECT pg_advisory_xact_lock(:key)")
            connection.execute(lock, {"key": _ADVISORY_LOCK})
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def run_migrations(metadata: MetaData) -> None:
    """Run the migrations on the connection of :func:`upgrade`: an error leaves the old tables."""
    connection = context.config.attributes["connection"]
    if not isinstance(connection, Connection):
        raise TypeError("migrations run from mograder.store.database.upgrades only")
    # SQLite can roll back DDL too, as the driver's implicit transactions are disabled.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


def schema_version(engine: Engine) -> str | None:
    """Return the revision, None if new. Raises: Conflict when another program made the tables."""
    with reading(engine) as connection:
        tables = inspect(connection)
        revision: str | None = None
        if tables.has_table("alembic_version"):
            revision = connection.execute(_REVISION).scalar_one_or_none()
        if revision is None and tables.has_table("users"):
            raise Conflict(
                "The database holds tables that are not mograder's.",
                hint="Give [database] url a database of its own.",
            )
    return revision


def awaits_upgrade(engine: Engine, *, migrations: Path = MIGRATIONS) -> bool:
    """Return whether :func:`upgrade` would change the tables. Raises: Conflict, as that does."""
    current = schema_version(engine)
    _refuse_unknown(current, migrations)
    return current != head_version(migrations)


@cache
def known_versions(migrations: Path = MIGRATIONS) -> frozenset[str]:
    """Return the revisions that this program can upgrade. Reading them takes long."""
    scripts = ScriptDirectory.from_config(_alembic_config(migrations)).walk_revisions()
    return frozenset(script.revision for script in scripts)


@cache
def head_version(migrations: Path = MIGRATIONS) -> str:
    head = ScriptDirectory.from_config(_alembic_config(migrations)).get_current_head()
    if head is None:
        raise RuntimeError("the package was built without its migrations")
    return head


def _alembic_config(migrations: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    return config


def _refuse_unknown(current: str | None, migrations: Path) -> None:
    if current in _NEVER_RELEASED:
        raise Conflict(
            f"The database is of a version before the first release (its tables: {current!r}).",
            hint='It is unchanged. The remedy is in docs/how-to/operate.md, "Upgrade".',
        )
    if current is not None and current not in known_versions(migrations):
        raise Conflict(
            f"The database was written by a newer mograder (its tables are at {current!r}).",
            hint="Install that version again, or put back the copy from before the upgrade "
            '(docs/how-to/operate.md, "Upgrade").',
        )
