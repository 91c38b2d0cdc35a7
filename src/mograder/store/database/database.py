"""The database: an engine, short transactions, and tables that dataclasses of their rows declare.

SQLite (WAL) inside the course is the default; a PostgreSQL URL runs the same code (decision 8).
Modules outside this package use ``store.hub.hub_state``.

A field's annotation is its column: ``Name`` and the like are texts of bounded length, ``str`` any
text, an enumeration of words is stored by its values, a tuple as JSON, and ``X | None`` may be
empty. A ``select`` of the table finds the class's arguments, and :func:`values_of` is what is
stored.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Enum,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    TypeDecorator,
    UpdateBase,
    create_engine,
    event,
    insert,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, NullPool
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from mograder.core.errors import InvalidInput
from mograder.store.database.database_errors import in_words, no_answer
from mograder.store.database.sqlite_files import BUSY_MS, make_private, set_journal

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

NAME = String(200)
HASH = String(128)
TEXT = String(1000)
WORD = String(20)

Name = Annotated[str, NAME]
Hash = Annotated[str, HASH]
Line = Annotated[str, TEXT]
Word = Annotated[str, WORD]

_IDLE_MS = 3000
"""A server ends a writer that pauses for longer: half of the time that a node's lease holds."""

_READ_ONLY = "mograder_reads"
_FLEETING = "mograder_fleeting"
_TURN = "mograder_turn"
_FENCE = "mograder_fence"
_SYNCHRONOUS = "mograder_synchronous"

_CONNECT = {
    "connect_timeout": 10,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""Parameters of a connection to PostgreSQL, unless the URL has them: a server that vanished is
noticed in seconds, where the kernel alone waits for a quarter of an hour (libpq 34.1.2)."""


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
        make_private(path, mend=private)
        set_journal(path)
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
    with translated(engine), engine.connect() as connection:
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
    with translated(engine), _turn(engine), engine.connect() as connection:
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
    return turn_of(lock, BUSY_MS / 1000, "another writer takes too long")


@contextlib.contextmanager
def turn_of(lock: threading.Lock, seconds: float, cause: str) -> Iterator[None]:
    """Hold a lock. Raises: Busy if it is not free within ``seconds``; ``cause`` is logged."""
    if not lock.acquire(timeout=seconds):
        raise no_answer(cause)
    try:
        yield
    finally:
        lock.release()


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


def _prepare_sqlite(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    # Disable sqlite3's implicit transactions, which begin too late: see _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
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
def translated(engine: Engine) -> Iterator[None]:
    """Convert the database driver's errors to :class:`MograderError`."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        named = engine.url.database if engine.dialect.name == "sqlite" else None
        raise in_words(error, Path(named) if named else None) from error


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times on every engine; SQLite itself stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC. Raises: ``ValueError`` for a time without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone reached the database")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Converted(TypeDecorator[Any]):
    """Values that are stored as texts: ``dump`` returns the text of one, ``load`` its value."""

    impl = Text
    cache_ok = True

    def __init__(
        self, impl: TypeEngine[str], dump: Callable[[Any], str], load: Callable[[str], Any]
    ) -> None:
        super().__init__()
        self.impl = impl  # type: ignore[assignment]
        self.dump = dump
        self.load = load

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else self.dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self.load(value)


_TYPES: Mapping[type, type[TypeEngine[Any]]] = {
    str: Text,
    int: Integer,
    float: Float,
    bool: Boolean,
    datetime: UtcDateTime,
}


def table_of(
    name: str,
    metadata: MetaData,
    row: type[DataclassInstance],
    key: tuple[str, ...],
    *parts: SchemaItem,
    **defaults: Any,
) -> Table:
    """Return the table of a dataclass: a column for each field, in their order.

    ``key`` names the columns of the primary key; ``parts`` are its other constraints, its indexes,
    and columns that are no fields, or other than their field. ``defaults`` are the server's, by
    column.
    """
    hints = get_type_hints(row, include_extras=True)
    columns: dict[str, SchemaItem] = {
        each.name: _column(each.name, hints[each.name], each.name in key, defaults.get(each.name))
        for each in fields(row)
    }
    columns |= {each.name: each for each in parts if isinstance(each, Column)}
    rest = (each for each in parts if not isinstance(each, Column))
    # A number must not come back after its row was removed: pages and running jobs know rows by it.
    return Table(name, metadata, *columns.values(), *rest, sqlite_autoincrement=len(key) == 1)


def columns_of(table: Table, row: type[DataclassInstance], **names: str) -> list[Column[Any]]:
    """Return the columns of the fields, in order; ``names`` has those named otherwise, by field."""
    return [table.c[names.get(each.name, each.name)] for each in fields(row)]


def values_of(row: DataclassInstance, *but: str) -> dict[str, Any]:
    """Return a row's values by column, without the fields ``but``; ``asdict`` would copy each."""
    return {each.name: getattr(row, each.name) for each in fields(row) if each.name not in but}


class Tables:
    """Tables of a database; thread-safe. Each private method here is one transaction.

    Every public method of a subclass blocks, so that the event loop calls it in a thread, and may
    raise :class:`~mograder.core.errors.Busy`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def _rows(self, kind: Callable[..., T], wanted: Select[Any]) -> tuple[T, ...]:
        with reading(self._engine) as connection:
            return tuple(kind(*row) for row in connection.execute(wanted))

    def _row(self, kind: Callable[..., T], wanted: Select[Any]) -> T | None:
        return next(iter(self._rows(kind, wanted)), None)

    def _values(self, wanted: Select[Any]) -> Sequence[Any]:
        """Return what a query for one column finds."""
        with reading(self._engine) as connection:
            return connection.execute(wanted).scalars().all()

    def _value(self, wanted: Select[Any]) -> Any | None:
        return next(iter(self._values(wanted)), None)

    def _change(self, statement: UpdateBase, values: Any = None, *, fleeting: bool = False) -> int:
        """Run a statement that writes; return the number of rows. See :func:`writing`."""
        with writing(self._engine, fleeting=fleeting) as connection:
            return connection.execute(statement, values).rowcount

    def _put(self, table: Table, values: dict[str, Any], *, fleeting: bool = False) -> None:
        with writing(self._engine, fleeting=fleeting) as connection:
            connection.execute(upsert(connection, table, values), values)


def _column(name: str, hint: Any, primary: bool, default: Any) -> Column[Any]:
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    given = [each for each in marks if isinstance(each, TypeEngine)]
    foreign = [each for each in marks if isinstance(each, ForeignKey)]
    optional = NoneType in get_args(kind)
    if optional:
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is tuple:
        adapter = TypeAdapter(kind)
        (impl,) = given or [Text()]
        given = [
            Converted(impl, lambda each: adapter.dump_json(each).decode(), adapter.validate_json)
        ]
    stored = given[0] if given else _type_of(kind)
    return Column(
        name, stored, *foreign, primary_key=primary, nullable=optional, server_default=default
    )


def _type_of(kind: Any) -> TypeEngine[Any]:
    if issubclass(kind, StrEnum):
        words = [each.value for each in kind]
        return Enum(kind, native_enum=False, length=20, values_callable=lambda _: words)
    return _TYPES[kind]()
