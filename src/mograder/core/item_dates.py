"""The dates of an item, as ``mograder.toml`` and others have them, and who sees it when; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from datetime import time as daytime
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime

from mograder.core.clock import from_unix_or_none, is_after, within_reach
from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.name_lookup import counted
from mograder.core.names import nfc
from mograder.core.sections.settings_model import Settings
from mograder.core.sections.settings_values import END_OF_DAY as END_OF_DAY
from mograder.core.sections.settings_values import written_time

D = TypeVar("D", bound=date)


def demand_reach(at: D) -> D:
    """Return a time that is :func:`within_reach`. Raises: ValueError for any other."""
    if not within_reach(at):
        raise ValueError("must be a time that can be meant")
    return at


SentTime = Annotated[AwareDatetime, AfterValidator(demand_reach)]


@dataclass(frozen=True, slots=True)
class ItemDates:
    """When an item opens, is due and closes, in UTC; None for each that is not set."""

    opens: datetime | None = None
    due: datetime | None = None
    closes: datetime | None = None

    def demand_order(self, name: str) -> None:
        pairs = (
            ("due", self.due, "opens", self.opens),
            ("closes", self.closes, "opens", self.opens),
            ("closes", self.closes, "is due", self.due),
        )
        for later, after, earlier, before in pairs:
            if after is not None and before is not None and after < before:
                word = "is due" if later == "due" else later
                raise InvalidInput(
                    f"{name} {word} before it {earlier}.", hint="Correct one of the two dates."
                )


NO_DATES = ItemDates()


@dataclass(frozen=True, slots=True)
class OwnDates:
    """The dates of an item for one student.

    ``closes`` is when submissions end; ``extended`` is whether an extension moves the due date.
    """

    due: datetime | None = None
    closes: datetime | None = None
    extended: bool = False

    def is_late(self, at: datetime) -> bool:
        return self.due is not None and is_after(at, self.due)

    def lateness(self, at: datetime) -> str:
        """Return how late a time is, such as "12 minutes late"; "" for one in time."""
        if self.due is None or not is_after(at, self.due):
            return ""
        minutes = max(1, int((at - self.due).total_seconds() // 60))
        count, unit = minutes // (24 * 60), "day"
        if minutes < 120:
            count, unit = minutes, "minute"
        elif minutes < 48 * 60:
            count, unit = minutes // 60, "hour"
        return f"{counted(count, unit)} late"

    def is_closed(self, at: datetime) -> bool:
        return self.closes is not None and is_after(at, self.closes)

    def urgency(self, now: datetime, *, handed_in: bool) -> tuple[int, float]:
        """Return the key by which lists are in the order of what is next."""
        last = self.due or self.closes
        if last is None:
            return (2, 0.0)
        if last >= now:
            return (1, last.timestamp())
        waits = not handed_in and not self.is_closed(now)
        return (0 if waits else 3, -last.timestamp())


@dataclass(frozen=True, slots=True)
class DueDates:
    """The dates of an assignment, None for each that it does not have, and students' exceptions.

    ``extensions`` are later due dates, ``exempt`` the students without deductions. ``closes`` is
    when submissions end, ``closings`` when they end for students to whom ``assignments.json`` gives
    another time. ``opens`` is when students see it, unless a rule of visibility says another time.
    ``due_from``, ``closes_from`` and ``opens_from`` say where the general dates come from.
    """

    general: datetime | None = None
    extensions: Mapping[str, datetime] = field(default_factory=dict)
    exempt: frozenset[str] = frozenset()
    closes: datetime | None = None
    closings: Mapping[str, datetime] = field(default_factory=dict)
    due_from: str = ""
    closes_from: str = ""
    opens: datetime | None = None
    opens_from: str = ""

    def own(self, student: str) -> OwnDates:
        """Submissions end neither before the student's due date or extension nor those of all."""
        due, closes = self.of(student), self.closings.get(student, self.closes)
        if closes is not None:
            closes = self.not_before(student, max(closes, due or closes, self.closes or closes))
        return OwnDates(due, closes, extended=due != self.general)

    def of(self, student: str) -> datetime | None:
        """Return a student's due date; an extension never shortens it."""
        return self.general if self.general is None else self.not_before(student, self.general)

    def not_before(self, student: str, time: datetime) -> datetime:
        """Return a time, or the end of the student's extension where that is later."""
        return max(time, self.extensions.get(student, time))

    @property
    def last(self) -> datetime | None:
        """The time after which no student may improve their work in time.

        Where nothing is due, it is the end of submissions, by an extension or without.
        """
        found = [*self.extensions.values(), *([self.general] if self.general else [])]
        ends = [*self.closings.values(), *([self.closes] if self.closes else [])]
        return max([*found, *ends] if self.general is None else found, default=None)


@dataclass(frozen=True, slots=True)
class Visibility:
    hidden: bool = False
    visible_from: AwareDatetime | None = None

    def visible(self, now: datetime) -> bool:
        return not self.hidden and (self.visible_from is None or self.visible_from <= now)

    def refusal(self, now: datetime) -> NotFound:
        """Return the error for a request (compatibility-0.3.16.md 2.3, start-edit-deep)."""
        if not self.hidden and self.visible_from is not None and self.visible_from > now:
            return NotFound(f"Not available until {self.visible_from:%a %d %b %Y, %H:%M}")
        return NotFound("Not available")

    def words(self) -> dict[str, object]:
        """Return the rule as JSON values, as 0.3.16 writes it: without what is not set."""
        words: dict[str, object] = {"hidden": True} if self.hidden else {}
        if self.visible_from is not None:
            words["visible_from"] = self.visible_from.isoformat()
        return words


def course_zone(settings: Settings) -> tzinfo | None:
    """Return the zone of dates that name none; None for this machine's own."""
    return ZoneInfo(settings.timezone) if settings.timezone else None


def given_zone(settings: Settings) -> tzinfo:
    """Return the zone of times on the command line of marking and in its files: else UTC."""
    return course_zone(settings) or UTC


def written_dates(settings: Settings, name: str) -> ItemDates:
    """Return the dates in ``[items."NAME"]``; raises InvalidInput for an impossible order."""
    item, zone = settings.of_item(name), course_zone(settings)
    dates = ItemDates(
        as_moment(item.opens, zone),
        as_moment(item.due, zone, END_OF_DAY),
        as_moment(item.closes, zone, END_OF_DAY),
    )
    dates.demand_order(name)
    return dates


def moodle_dates(settings: Settings, name: str) -> ItemDates:
    """Return the dates that `moodle sync` wrote for an item.

    They are those of the assignment with its ``dir``, else of the one with its name: when
    assignments are renumbered, their names move and their directories stay.
    """
    item, listed = nfc(name), settings.assignments
    found = [each for each in listed if nfc(each.item) == item]
    found += [each for each in listed if nfc(each.name) == item]
    if not found:
        return NO_DATES
    told = found[0].allowsubmissionsfromdate, found[0].duedate, found[0].cutoffdate
    times = (from_unix_or_none(at if at > 0 else None) for at in told)
    return ItemDates(*(at if at and within_reach(at) else None for at in times))


def as_moment(
    given: datetime | date | None, zone: tzinfo | None, at: daytime = daytime.min
) -> datetime | None:
    """Return a written time in UTC; a date alone is at ``at``, and ``zone`` is as course_zone."""
    if given is None:
        return None
    moment = given if isinstance(given, datetime) else datetime.combine(given, at)
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)  # one without a zone is taken as this machine's


def as_shown(typed: datetime | None, shown: datetime | None, zone: tzinfo | None) -> bool:
    """Return whether a form's field has the time that it showed, in a zone and without seconds.

    In the hour that clocks repeat in autumn it shows two times alike.
    """
    if typed is None or shown is None:
        return typed is shown
    seen = shown.replace(second=0, microsecond=0)
    return typed.astimezone(zone).replace(tzinfo=None) == seen.astimezone(zone).replace(tzinfo=None)


def is_changed(
    typed: datetime | None,
    present: datetime | None,
    shown: str | None,
    name: str,
    zone: tzinfo | None,
) -> bool:
    """Return whether a form asks for another time of an item than there is.

    ``zone`` is that of the form. ``shown`` is what the form's field showed, "" for no time; None
    where the form does not tell. A time that somebody has changed meanwhile is a Conflict.
    """
    if as_shown(typed, present, zone):
        return False
    if shown is None:
        return True
    seen = read_moment(shown, UTC) if shown else None
    if as_shown(typed, seen, zone):
        return False
    if seen != present:
        raise Conflict(
            f"The dates of {name} were changed since you opened this page, so nothing was saved.",
            hint="Go back, reload the page, and look at them.",
        )
    return True


def read_moment(text: str, zone: tzinfo | None, at: daytime = daytime.min) -> datetime:
    """Return a time that a person typed, in UTC, as :func:`as_moment`; raises InvalidInput."""
    try:
        moment = as_moment(written_time(text), zone, at)
    except ValueError:
        moment = None
    if moment is None:
        raise InvalidInput(
            f"{text[:60]!r} is no time.",
            hint="Write it as 2026-12-01T18:00, or 2026-12-01 for the whole day; without an offset "
            f"it is in {zone or 'the zone of this computer'}.",
        )
    return moment


def read_opening(text: str, zone: tzinfo | None) -> datetime:
    """Return a time that a person typed, as :func:`read_moment`, but in the zone where it is typed.

    Students who come too early are told it without a zone, as in 0.3.16.
    """
    return read_moment(text, zone).astimezone(zone)
