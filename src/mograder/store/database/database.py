"""The database: opening an engine, short transactions, and upgrading the tables.

SQLite (WAL) inside the course is the default; a PostgreSQL URL runs the same code (decision 8).
Modules outside this package use ``store.hub.hub_state``.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files import file_lock, open_flags
from mograder.core.files.disk import DISK, move_file
from mograder.core.log import get_logger
from mograder.core.operating_system import SYSTEM
from mograder.store.database.database_errors import in_words, no_answer

MIGRATIONS = Path(__file__).parents[1] / "migrations"
"""The revisions that this program knows."""

_IDLE_MS = 3000
"""A server ends a writer that pauses for longer: half of the time that a node's lease holds."""

_READ_ONLY = "mograder_reads"
_FLEETING = "mograder_fleeting"
_TURN = "mograder_turn"
_FENCE = "mograder_fence"
_SYNCHRONOUS = "mograder_synchronous"
_BUSY_MS = 5000
_PRIVATE = 0o600
_INSTRUCTIONS = 10_000
"""SQLite virtual-machine instructions between two checks of the deadline."""

_MOST_FINDINGS = 5

_CONNECT = {
    "connect_timeout": 10,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""Parameters of a connection to PostgreSQL, unless the URL has them: a server that vanished is
noticed in seconds, where the kernel alone waits for a quarter of an hour (libpq 34.1.2)."""

_NEVER_RELEASED = frozenset(
    ["g0006a", *(f"{at:04}" for at in range(1, 18)), *(f"g{at:04}" for at in range(1, 8))]
)
"""Revisions of the hub's database and of the gradebook that only development versions had."""

_REVISION = text("SELECT version_num FROM alembic_version")

_ADVISORY_LOCK = 0x6D6F_6772
"""The key of the PostgreSQL advisory lock that serialises upgrades."""

_log = get_logger(__name__)


def database_url(url: str, course_dir: Path) -> str:
    """Return the configured URL, or that of the course's SQLite file. Raises: InvalidInput."""
    if not url:
        return sqlite_url(course_dir / ".mograder" / "hub.db")
    parsed = _parse(url)
    if parsed.drivername == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InvalidInput("[database] url names no SQLite file.", hint=_URL_HINT)
        parsed = parsed.set(database=str(course_dir / parsed.database))
    return parsed.render_as_string(hide_password=False)


def sqlite_url(path: Path) -> str:
    """Return the URL of an SQLite file; special characters of its path are encoded."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def sqlite_file(url: str | URL) -> Path | None:
    """Return the file that a URL of :func:`database_url` names; None for a database server."""
    parsed = _parse(url)
    return Path(parsed.database or "") if parsed.drivername == "sqlite" else None


def open_engine(url: str, *, private: bool = True) -> Engine:
    """Return an engine; create a missing SQLite file, but do not yet connect to a server.

    With ``private`` an existing file's mode is also set to 0600; the gradebook of a team keeps
    its mode.

    Raises: :class:`InvalidInput` for an unusable URL or file, :class:`Busy` for a locked one.
    """
    parsed = _parse(url)
    path = sqlite_file(parsed)
    if path is not None:
        _make_private(path, mend=private)
        _set_journal(path)
        engine = create_engine(parsed, execution_options={_TURN: threading.Lock()})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=_given(parsed))
        event.listen(engine, "begin", _begin_postgresql)
        return engine
    except ImportError as error:
        raise InvalidInput(
            "[database] url names PostgreSQL, but its driver is not installed.",
            hint="Install mograder with the extra 'postgresql'.",
        ) from error


def lone_connection(engine: Engine) -> Connection:
    """Open a connection to PostgreSQL outside the engine's pool; each statement commits itself."""
    lone = create_engine(
        engine.url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args=_given(engine.url),
    )
    return lone.connect()


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Read in a short transaction, which never waits for a writer. Raises: Busy (no answer)."""
    with _translated(engine), engine.connect() as connection:
        connection.execution_options(**{_READ_ONLY: True})
        with connection.begin():
            yield connection


@contextlib.contextmanager
def writing(engine: Engine, *, fleeting: bool = False) -> Iterator[Connection]:
    """Run a short transaction that writes; SQLite locks at its start, or two could deadlock.

    ``fleeting``: commit with ``synchronous=NORMAL``, without waiting for the disk. It survives a
    killed process, but a power cut may lose it. For rows about live processes, which a power cut
    ends too. The next commit without ``fleeting`` makes it durable.

    Raises: :class:`Conflict` when a row that must be unique exists, :class:`Busy` when the
    database does not answer, or by :func:`fence`.
    """
    with _translated(engine), _turn(engine), engine.connect() as connection:
        if fleeting:
            connection.execution_options(**{_FLEETING: True})
        with connection.begin():
            yield connection
            may_commit: Callable[[], bool] | None = engine.get_execution_options().get(_FENCE)
            if may_commit is not None and not may_commit():
                raise no_answer("another hub may be at work")


def fence(engine: Engine, may_commit: Callable[[], bool]) -> None:
    """Have :func:`writing` ask before each commit; if the answer is no, it raises Busy."""
    engine.update_execution_options(**{_FENCE: may_commit})


def database_now(connection: Connection) -> datetime:
    """Return the time by which leases are judged: the server's, which all hubs share.

    For SQLite it is this machine's. On PostgreSQL it is the time of this statement, not of the
    transaction's begin.
    """
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)


def add_row(connection: Connection, table: Table, **values: object) -> int:
    """Insert a row into a table with an integer key; return the key that the database gives it."""
    key = connection.execute(insert(table), values).inserted_primary_key
    return int(key[0]) if key else 0


def upsert(
    connection: Connection,
    table: Table,
    columns: Iterable[str],
    **changes: object,
) -> sqlite.Insert | postgresql.Insert:
    """Return a statement that inserts rows with these columns, or replaces those of the same key.

    ``changes`` are the columns whose new value is computed from the row that is there and from the
    new one (:func:`incoming`). Deleting a row and inserting another fails where two writers do so
    at the same time.
    """
    known = connection.dialect.name, table, tuple(columns)
    return _upsert(*known, changes) if changes else _plain_upsert(*known)


def incoming(name: str) -> ColumnElement[Any]:
    """Return a column of the row that an upsert was to insert."""
    return literal_column(f"excluded.{name}")


@cache
def _plain_upsert(
    dialect: str, table: Table, columns: tuple[str, ...]
) -> sqlite.Insert | postgresql.Insert:
    """Return the statement for one table: making it takes longer than running it."""
    return _upsert(dialect, table, columns, {})


def _upsert(
    dialect: str, table: Table, columns: tuple[str, ...], changes: Mapping[str, object]
) -> sqlite.Insert | postgresql.Insert:
    added: sqlite.Insert | postgresql.Insert = sqlite.insert(table)
    if dialect == "postgresql":
        added = postgresql.insert(table)
    key = [column.name for column in table.primary_key]
    replaced = {name: added.excluded[name] for name in columns if name not in key}
    return added.on_conflict_do_update(index_elements=key, set_={**replaced, **changes})


def _turn(engine: Engine) -> contextlib.AbstractContextManager[None]:
    """Serialise writers by a lock: SQLite lets waiting writers poll, in no particular order."""
    lock: threading.Lock | None = engine.get_execution_options().get(_TURN)
    if lock is None:  # a database server, which queues writers itself
        return contextlib.nullcontext()
    return turn_of(lock, _BUSY_MS / 1000, "another writer takes too long")


@contextlib.contextmanager
def turn_of(lock: threading.Lock, seconds: float, cause: str) -> Iterator[None]:
    """Hold a lock. Raises: Busy if it is not free within ``seconds``; ``cause`` is logged."""
    if not lock.acquire(timeout=seconds):
        raise no_answer(cause)
    try:
        yield
    finally:
        lock.release()


def upgrade(engine: Engine, *, migrations: Path = MIGRATIONS) -> None:
    """Upgrade the tables in one long transaction; copy an SQLite file first if they will change.

    Programs that do so at once take turns: the first one copies and upgrades.
    Raises: :class:`Conflict` when a newer mograder wrote the database, or one before the first
    release; :class:`InvalidInput` when the file is not a database, :class:`Busy` when the database
    cannot be reached.
    """
    with _translated(engine):
        if schema_version(engine) == head_version(migrations):
            return
        path = sqlite_file(engine.url)
        # One upgrade of a file at a time, with its copy; a server has its own lock.
        with contextlib.nullcontext() if path is None else _file_turn(path):
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
        copy_sqlite(path, temporary)
        move_file(temporary, target)
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
        raise TypeError("migrations run from mograder.store.database.database only")
    # SQLite can roll back DDL too, as the driver's implicit transactions are disabled.
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


def copy_sqlite(path: Path, target: Path) -> None:
    """Copy a consistent snapshot of an SQLite file; other processes may write to it meanwhile.

    The copy is complete and synced when this returns; ``target`` must not exist before.
    Raises: :class:`InvalidInput` if the file is not a database, :class:`Busy` if it is locked.
    """
    _make_private(target)
    try:
        with (
            contextlib.closing(sqlite3.connect(path, timeout=_BUSY_MS / 1000)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy, progress=_patience())
            # No -wal and -shm files, so that the copy can be read without write permission.
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise in_words(error, target if "is full" in str(error) else path) from error
    with target.open("r+b") as file:  # Windows syncs only files that are open for writing
        os.fsync(file.fileno())


def may_write_beside(path: Path) -> bool:
    """Whether SQLite can open a file where it is: also to read it, it writes to logs beside it."""
    path = path.resolve()
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def openable(path: Path, aside: Path) -> Path:
    """Return an SQLite file, or a copy of it and its log in ``aside`` if SQLite cannot open it.

    Such is one on a disk that had errors, in a snapshot, or in a directory that this process's
    account may only read. A copy is not used if the files changed while it was made: another
    machine, container or account writes to them then.
    """
    path = path.resolve()  # SQLite keeps the log beside the file, not beside a link to it
    if may_write_beside(path):
        return path
    try:
        aside.mkdir()
        before = files_of(path)
        for file in before:
            shutil.copyfile(file, aside / file.name)
        return aside / path.name if files_of(path) == before else path
    except OSError:
        return path  # SQLite tells why it cannot be read


def files_of(path: Path) -> dict[Path, tuple[int, int]]:
    files = (path.with_name(path.name + end) for end in ("", "-wal", "-journal"))
    found = {each: each.stat() for each in files if each.is_file()}
    return {each: (status.st_size, status.st_mtime_ns) for each, status in found.items()}


def _patience() -> Callable[[int, int, int], None]:
    """Return what ends a copy of a locked file, for which SQLite would wait without end."""
    deadline = time.monotonic() + _BUSY_MS / 1000

    def demand_time(status: int, _remaining: int, _pages: int) -> None:
        locked = status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        if locked and time.monotonic() > deadline:
            raise sqlite3.OperationalError("database is locked")

    return demand_time


def check_sqlite(path: Path) -> None:
    """Check an SQLite file that no other process writes to. Raises: InvalidInput if damaged."""
    found = sqlite_damage(path, math.inf, "quick_check", "&immutable=1")
    if found:
        raise InvalidInput(f"The database {path.name} is damaged: {found[0]}.")


def sqlite_damage(
    path: Path, seconds: float, check: str = "integrity_check", how: str = ""
) -> tuple[str, ...] | None:
    """Check an SQLite file for damage without changing it; a hub may have it open.

    Return SQLite's messages about damaged pages, about five lines at most; None if the check
    took longer than ``seconds``.
    Raises: :class:`InvalidInput` if the file is not a database, :class:`Busy` if it is locked or
    cannot be read.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro{how}"
    deadline = time.monotonic() + seconds
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_MS / 1000)) as opened:
            opened.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
            found = list(_findings(opened, f"PRAGMA {check}({_MOST_FINDINGS})"))
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise in_words(error, path) from error
    except sqlite3.DatabaseError as error:
        raise in_words(error, path) from error
    return () if found == ["ok"] else tuple(found)


def _findings(opened: sqlite3.Connection, check: str) -> Iterator[str]:
    try:
        for (text,) in opened.execute(check):
            yield from str(text).splitlines()
    except sqlite3.DatabaseError as error:
        if "malformed" not in str(error):
            raise
        # The damage stops the check itself: report at least which tables are unreadable.
        yield str(error)
    else:
        return
    names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in names:
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            opened.execute(f"SELECT count(*) FROM {quoted} NOT INDEXED").fetchall()  # noqa: S608
        except sqlite3.DatabaseError:
            yield f"the table {name} has damaged pages"


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


def _given(url: URL) -> dict[str, int]:
    return {name: value for name, value in _CONNECT.items() if name not in url.query}


_URL_HINT = "Use postgresql://user:password@host/name, sqlite:///path, or leave it empty."


def _parse(url: str | URL) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # The text is not repeated: it may hold a password.
        raise InvalidInput("[database] url cannot be understood.", hint=_URL_HINT) from error
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise InvalidInput(
            f"[database] url names {parsed.drivername!r}, which mograder does not know.",
            hint=_URL_HINT,
        )
    return parsed.set(drivername="sqlite")


def _make_private(path: Path, *, mend: bool = True) -> None:
    """Create the file with mode 0600 before SQLite does, so that others can never open it.

    An existing file gets this mode with ``mend``, but is not opened: closing it would drop the
    locks that SQLite holds on it elsewhere in this process.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | open_flags.CLOEXEC, 0o600))
    except FileExistsError:
        if mend and path.is_file() and stat.S_IMODE(path.stat().st_mode) != _PRIVATE:
            path.chmod(_PRIVATE)
    except OSError as error:
        raise InvalidInput(
            f"The database {path.name} cannot be made: {error.strerror}.",
            hint=f"Look at {path.parent}.",
        ) from error


def _set_journal(path: Path) -> None:
    """Switch the file's journal permanently, before any other use of it.

    It is WAL, or on a share a rollback journal: WAL needs memory that all its users share, and
    another machine would get a failing or damaged file.

    A file lock serialises this: if two programs switch a new file at once, SQLite does not wait,
    and one of them fails with "database is locked".
    """
    try:
        with (
            _file_turn(path),
            contextlib.closing(sqlite3.connect(path, timeout=_BUSY_MS / 1000)) as connection,
        ):
            wanted = "DELETE" if DISK.is_shared(path.parent) else "WAL"
            connection.execute(f"PRAGMA journal_mode = {wanted}")
    except sqlite3.Error as error:
        raise in_words(error, path) from error


@contextlib.contextmanager
def _file_turn(path: Path) -> Iterator[None]:
    """Lock the directory of an SQLite file, while its journal is set or its tables upgraded.

    Windows opens no directories, so a file beside the database is locked there.
    """
    if SYSTEM == "windows":
        turn = file_lock.open_lock(path.with_name(f".{path.name}.journal-lock"))
    else:
        turn = os.open(path.parent, os.O_RDONLY | open_flags.DIRECTORY | open_flags.CLOEXEC)
    try:
        file_lock.acquire(turn, seconds=None)
        yield
    finally:
        os.close(turn)


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    # Disable sqlite3's implicit transactions, which begin too late: see _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    cursor.execute(f"PRAGMA synchronous = {_FULL}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
    entry.info[_SYNCHRONOUS] = _FULL


_FULL, _NORMAL = "FULL", "NORMAL"
"""``synchronous`` modes: FULL survives a power cut, NORMAL (``fleeting``) may lose a commit."""


def _begin_postgresql(connection: Connection) -> None:
    """Let a reader see the database as of one moment, as in SQLite, also by several statements.

    Have the server end a writer that has vanished with its machine: its rows are locked.
    """
    if connection.get_execution_options().get(_READ_ONLY):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    else:
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MS}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_READ_ONLY):
        connection.exec_driver_sql("BEGIN")
        return
    wanted = _NORMAL if options.get(_FLEETING) else _FULL
    if connection.info[_SYNCHRONOUS] != wanted:
        connection.exec_driver_sql(f"PRAGMA synchronous = {wanted}")
        connection.info[_SYNCHRONOUS] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextlib.contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    """Convert the database driver's errors to :class:`MograderError`."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        named = engine.url.database if engine.dialect.name == "sqlite" else None
        raise in_words(error, Path(named) if named else None) from error


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
