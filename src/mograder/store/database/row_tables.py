"""Tables that are declared by the dataclasses of their rows, and the types of their columns.

A field's annotation is its column: ``Name`` and the like are texts of bounded length, ``str`` any
text, an enumeration of words is stored by its values, a tuple as JSON, and ``X | None`` may be
empty. A ``select`` of the table finds the class's arguments, and :func:`values_of` is what is
stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter
from sqlalchemy import (
    Boolean,
    Column,
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
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeEngine

from mograder.store.database.database import reading, upsert, writing

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
