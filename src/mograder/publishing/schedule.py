"""A term's schedule: the opening times of items (compatibility-0.3.16.md 10, ``hub schedule``).

Pure: parses TOML. Keys: ``start`` (a date), ``time``, ``timezone``, ``hide_unlisted``, ``[weeks]``
number = [names], ``[items]`` name = date.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as daytime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from mograder.core.errors import InvalidInput
from mograder.core.item_dates import demand_reach
from mograder.core.names import ItemName
from mograder.core.sections.settings_values import complaint, written_time
from mograder.core.settings import with_seconds

DEFAULT_ZONE = "Europe/London"
_MOST_WEEKS = 520


@dataclass(frozen=True, slots=True)
class Schedule:
    """Opening times by item, in order of time; ``hide_unlisted`` hides all other items."""

    opens: Mapping[str, datetime]
    hide_unlisted: bool
    zone: ZoneInfo


def _time_of_day(value: object) -> daytime:
    # pydantic would take a number as seconds since midnight: 9 for nine seconds past it.
    try:
        at = daytime.fromisoformat(str(value) if isinstance(value, str | daytime) else "")
    except ValueError:
        at = None
    if at is None or at.tzinfo is not None:
        raise ValueError('must be a time such as "09:00", without an offset')
    return at


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid")

    start: Annotated[date, AfterValidator(demand_reach)] | None = None
    time: Annotated[daytime, BeforeValidator(_time_of_day)] = daytime(9, 0)
    timezone: str = ""
    hide_unlisted: bool = False
    weeks: dict[Annotated[str, Field(pattern=r"^\d{1,3}$")], list[str]] = {}
    items: dict[str, Annotated[datetime | date, BeforeValidator(written_time)]] = {}


def parse_zone(name: str) -> ZoneInfo:
    """Raise :class:`InvalidInput` for an unknown name."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise InvalidInput(
            f"{name!r} is not a time zone.", hint="Write it as in Europe/London."
        ) from error


def zone_of_form(fields: Mapping[str, str]) -> ZoneInfo:
    """Return the zone of a form's times, its field ``timezone``; UTC without one."""
    return parse_zone((fields.get("timezone") or "UTC")[:60])


def parse_schedule(text: str, filename: str, timezone: str = DEFAULT_ZONE) -> Schedule:
    """Return the schedule in a TOML text; ``filename`` is its name in messages.

    ``timezone`` is that of a text that names none.

    Raises: :class:`InvalidInput` naming the key that is wrong.
    """
    try:
        words = _Words.model_validate(tomllib.loads(with_seconds(text)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        is_unknown = first["type"] == "extra_forbidden"
        what = "is not a key of a schedule" if is_unknown else complaint(first)
        raise InvalidInput(f"{filename}: {place} {what}.") from error
    except ValueError as error:  # no TOML, or a number of thousands of digits
        raise InvalidInput(f"{filename}: {error}.") from error
    except RecursionError as error:
        raise InvalidInput(f"{filename} is nested too deeply.") from error
    zone = parse_zone(words.timezone or timezone)
    if words.weeks and words.start is None:
        raise InvalidInput(f"{filename}: [weeks] needs a date in 'start'.")
    opens: dict[ItemName, datetime] = {}
    for number, names in words.weeks.items():
        if int(number) > _MOST_WEEKS or words.start is None:
            raise InvalidInput(f"{filename}: there is no week {number}.")
        at = _in_zone(words.start + timedelta(weeks=int(number) - 1), zone, words.time)
        for item in (_item(name, filename) for name in names):
            if opens.setdefault(item, at) != at:
                raise InvalidInput(f"{filename}: {item} is in week {number} and in another one.")
    for name, day in words.items.items():
        opens[_item(name, filename)] = _in_zone(day, zone, words.time)
    ordered = sorted(opens.items(), key=lambda entry: (entry[1], entry[0]))
    return Schedule(dict(ordered), words.hide_unlisted, zone)


def _item(name: str, filename: str) -> ItemName:
    try:
        return ItemName.parse(name)
    except InvalidInput as error:
        raise InvalidInput(f"{filename}: {error.message}", hint=error.hint) from error


def _in_zone(day: date | datetime, zone: ZoneInfo, at: daytime) -> datetime:
    if not isinstance(day, datetime):
        return datetime.combine(day, at, zone)
    return day if day.tzinfo else day.replace(tzinfo=zone)
