"""Values of Moodle's JSON, converted to ours: times, grades, texts."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BeforeValidator

from mograder.clients.moodle.html_text import plain
from mograder.core.clock import from_unix_or_none


def moment(seconds: int | None) -> datetime | None:
    """Return an aware time; None for Moodle's 0 and for times out of range."""
    return from_unix_or_none(seconds or None)


def number(text: str | float | None) -> Decimal | None:
    """Return a grade as Moodle stores it; None for its "-1.00000"."""
    if text is None or text == "":
        return None
    try:
        value = Decimal(str(text))
    except InvalidOperation:
        return None
    return None if not value.is_finite() or value < 0 else short(value)


def short(value: Decimal) -> Decimal:
    """Return a number without needless zeros: 87.5, and 100 rather than 1E+2."""
    whole = value.to_integral_value()
    return whole if value == whole else value.normalize()


def _none_as_empty(value: object) -> object:
    return "" if value is None else value


def _plain(value: object) -> object:
    return plain(value) if isinstance(value, str) else _none_as_empty(value)


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else _none_as_empty(value)


def _none_as_zero(value: object) -> object:
    return 0 if value is None else value


def _moment(value: object) -> object:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return moment(value) if isinstance(value, int | None) else value


def _number(value: object) -> object:
    return number(value) if isinstance(value, str | int | float | None) else value


Text = Annotated[str, BeforeValidator(_none_as_empty)]
"""A text that may also be null in Moodle's JSON."""

Plain = Annotated[str, BeforeValidator(_plain)]
"""A text that Moodle escapes for HTML, without the escapes."""

Stripped = Annotated[str, BeforeValidator(_stripped)]
"""A text without spaces around it."""

Count = Annotated[int, BeforeValidator(_none_as_zero)]
"""A number that may also be null in Moodle's JSON."""

Moment = Annotated[datetime | None, BeforeValidator(_moment)]
"""A time in Unix seconds; None for 0 and null."""

Points = Annotated[Decimal | None, BeforeValidator(_number)]
"""A grade; None for null and for a negative number."""
