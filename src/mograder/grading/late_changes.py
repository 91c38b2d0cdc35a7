"""Changes of extensions, groups and policies, from fields and CSV files, and their preview.

They move due dates, and with the last of these the time from which students are told marks that
tell results of hidden tests; and they change marks. The preview tells all this before the changes
are recorded. What students see already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import partial

from pydantic import ValidationError

from mograder.core.csv_table import Row, Table, number_text, read_table, refuse, write_table
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.item_dates import END_OF_DAY, course_zone, read_moment
from mograder.core.name_lookup import Words, find_name, listed
from mograder.core.names import ItemName, nfc
from mograder.core.sections.settings_model import CourseRule
from mograder.core.sections.settings_values import complaint
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import CourseLate, Preview
from mograder.grading.late_work import moment
from mograder.grading.release.feedback import NO_KEY, CourseFeedback
from mograder.grading.release.student_marks import shown_with_hidden_tests, telling
from mograder.store.filesystem.records import Records
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import (
    ALL_ASSIGNMENTS,
    Change,
    Extension,
    LateFacts,
    LateWork,
    Membership,
    PolicyChange,
)
from mograder.store.gradebook.mark_release import MarkReleases
from mograder.store.submissions.history import RECEIPTS, History

COLUMNS = ("assignment", "student", "group", "until", "exempt", "reason")
"""The columns of a CSV of extensions."""

RULE_KEYS = tuple(CourseRule.model_fields)
"""The keys of a stored policy."""

_LONGEST_NAME, _LONGEST_REASON = 200, 1000
_TRUE = frozenset({"yes", "true", "1", "x", "exempt"})
_FALSE = frozenset({"", "no", "false", "0"})


def extension(
    assignment: str,
    student: str = "",
    group: str = "",
    *,
    until: datetime | None = None,
    exempt: bool = False,
    reason: str = "",
) -> Extension:
    """Return an extension or exemption that may be recorded.

    Raises:
        InvalidInput: It names both a student and a group, or neither; it has no time and is no
            exemption, or is both; an extension is for all assignments; a text is too long.
    """
    student, group, reason = _name(student, "student"), _name(group, "group"), reason.strip()
    if bool(student) == bool(group):
        raise InvalidInput("An extension is for one student or for one group.")
    if exempt == (until is not None):
        raise InvalidInput("An extension has a new due date, or it is an exemption.")
    if assignment == ALL_ASSIGNMENTS and not exempt:
        raise InvalidInput("Only an exemption can be for all assignments; name one.")
    if len(reason) > _LONGEST_REASON:
        raise InvalidInput(f"A reason has at most {_LONGEST_REASON} characters.")
    return Extension(assignment, student, group, until, exempt, " ".join(reason.split()))


def removal(facts: LateFacts, assignment: str, student: str = "", group: str = "") -> Extension:
    """Return the change that withdraws an extension. Raises: InvalidInput if there is none."""
    entry = (assignment, _name(student, "student"), _name(group, "group"))
    if entry not in facts.extensions:
        whose = student or f"the group {group}"
        raise InvalidInput(f"{whose} has no extension of {assignment or 'all assignments'}.")
    return Extension(*entry, removed=True)


def membership(group: str, student: str, *, removed: bool = False) -> Membership:
    """Raise InvalidInput for a name that is empty or too long."""
    found = Membership(_name(group, "group"), _name(student, "student"), removed)
    if not found.group or not found.student:
        raise InvalidInput("A group has a name, and so has each of its students.")
    return found


def policy_change(facts: LateFacts, assignment: str, entries: Mapping[str, str]) -> PolicyChange:
    """Return the change of some keys of a stored policy; ``none`` withdraws a key.

    Raises: InvalidInput if a key does not exist, or its value cannot be used.
    """
    held = facts.policy(assignment).rule or CourseRule()
    values: dict[str, object] = held.model_dump(exclude_none=True)
    for key, text in entries.items():
        if key not in RULE_KEYS:
            raise InvalidInput(
                f"A policy has no key {key!r}.", hint=f"Its keys: {', '.join(RULE_KEYS)}."
            )
        if key == "late_days" and assignment != ALL_ASSIGNMENTS:
            raise InvalidInput(
                "late_days are for the whole course.", hint="late_days_each is for an assignment."
            )
        values[key] = None if text.strip().casefold() == "none" else text.strip()
    try:
        rule = CourseRule.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(f"{first['loc'][0]} {complaint(first)}.") from error
    for key in ("per_day", "max"):  # 0.3.16's settings, and rules that are stored, may have more
        if key in entries and (getattr(rule, key) or 0) > 100:
            raise InvalidInput(f"{key} is per cent of the mark, so at most 100.")
    empty = not rule.model_dump(exclude_none=True)
    return facts.with_rule(assignment, None if empty else rule)


def described(change: Change, zone: tzinfo | None) -> str:
    """Return a change in words, for people who are about to record it, and for the log."""
    if isinstance(change, Membership):
        return (
            f"{change.student} {'leaves' if change.removed else 'enters'} the group {change.group}"
        )
    if isinstance(change, PolicyChange):
        rule = change.policy.rule
        keys = {} if rule is None else rule.model_dump(exclude_none=True)
        dates = {"due": change.policy.set_due, "closes": change.policy.closes}
        told = ", ".join(
            [f"{key} {moment(at, zone)}" for key, at in dates.items() if at is not None]
            + [f"{key} = {rule_value(value)}" for key, value in keys.items()]
        )
        told = told or "as in the settings"
        return f"{change.assignment or 'the course'}: {told}"
    what = "no deduction" if change.until is None else f"until {moment(change.until, zone)}"
    if change.removed:
        what = "extension withdrawn"
    whose = change.student or f"the group {change.group}"
    return f"{whose}, {change.assignment or 'all assignments'}: {what}"


def rule_value(value: object) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, float) else str(value)


def read_changes(
    data: bytes,
    name: str,
    assignments: Sequence[str],
    assignment: str = "",
    zone: tzinfo = UTC,
) -> tuple[Change, ...]:
    """Return the changes of a CSV file; ``assignment`` is for rows, ``zone`` for times without one.

    A row with a student, a group and no time puts the student into the group. Any other row is an
    extension, or an exemption where the column says yes; of all assignments where none is named, or
    ``all``, unless an assignment has this name.

    Raises:
        InvalidInput: A row cannot be used. All such rows are named, and nothing is to be recorded.
        TooLarge: As :func:`~mograder.core.csv_table.read_table`.
    """
    table = read_table(data, name)
    if table.column("student") is None and table.column("group") is None:
        raise InvalidInput(
            f"{name} is not a file of extensions.",
            hint=f"Its first line names the columns: {', '.join(COLUMNS)}.",
        )
    changes: list[Change] = []
    problems = []
    seen: dict[tuple[str, str, str], int] = {}
    for row in table.rows:
        try:
            change = _change(row, table, assignments, assignment, zone)
            if isinstance(change, Extension) and seen.setdefault(change.entry, row.line) < row.line:
                name, first = change.assignment or "all assignments", seen[change.entry]
                whose = change.student or f"the group {change.group}"
                raise InvalidInput(f"{whose} has another row for {name}, in line {first}.")
            changes.append(change)
        except MograderError as error:
            problems.append(f"line {row.line}: {error.message}")
    refuse(f"{name} cannot be used; nothing was recorded.", problems)
    return tuple(changes)


def write_changes(facts: LateFacts) -> str:
    entries = sorted(facts.extensions.values(), key=lambda each: each.entry)
    rows: Iterable[Sequence[str]] = (
        (
            each.assignment,
            each.student,
            each.group,
            "" if each.until is None else each.until.isoformat(),
            "yes" if each.exempt else "",
            each.reason,
        )
        for each in entries
    )
    members = (("", student, group, "", "", "") for group, student in sorted(facts.members))
    return write_table(COLUMNS, [*rows, *members])


def _change(
    row: Row, table: Table, assignments: Sequence[str], assignment: str, zone: tzinfo
) -> Change:
    cells = {column: row.cell(table.column(column)) for column in COLUMNS}
    exempt = cells["exempt"].casefold()
    if exempt not in _TRUE | _FALSE:
        raise InvalidInput(f"exempt is {cells['exempt'][:20]!r}, and can be yes or no.")
    if cells["student"] and cells["group"] and not cells["until"] and exempt in _FALSE:
        return membership(cells["group"], cells["student"])
    typed = cells["assignment"] or assignment
    is_course = not typed or (typed.casefold() == "all" and typed not in assignments)
    return extension(
        ALL_ASSIGNMENTS if is_course else find_name(typed, assignments, Words()),
        cells["student"],
        cells["group"],
        until=read_moment(cells["until"], zone, END_OF_DAY) if cells["until"] else None,
        exempt=exempt in _TRUE,
        reason=cells["reason"],
    )


def _name(text: str, what: str) -> str:
    name = nfc(text.strip())
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"{name[:40]!r} is no name of a {what}.")
    return name


def known_assignments(loaded: LoadedSettings, book: Gradebook) -> tuple[str, ...]:
    """Return the names of assignments, also of those with only an extension or a stored rule."""
    settings, facts = loaded.settings, LateWork(book).facts()
    names = {each.name for each in book.assignments()} | set(settings.items)
    names |= {each.assignment for each in facts.extensions.values()} | facts.policies.keys()
    names |= {each.item for each in settings.assignments}
    dirs = settings.dirs
    for place in (dirs.submitted, dirs.release, dirs.source, settings.hub.release_dir):
        base = loaded.path(place)
        if base.is_dir():
            names |= {each.name for each in base.iterdir() if each.is_dir()}
    return tuple(sorted({nfc(name) for name in names if name and not name.startswith(".")}))


def demand_known(loaded: LoadedSettings, book: Gradebook, name: str) -> None:
    """Raise NotFound for an assignment that is not among :func:`known_assignments`."""
    if name not in known_assignments(loaded, book):
        hint = "Check the name; one that is not published yet may be in mograder.toml."
        raise NotFound(f"The course has no item {name!r}.", hint=hint)


def doubts(loaded: LoadedSettings, book: Gradebook, changes: Sequence[Change]) -> Iterator[str]:
    """Yield what may be a mistake in changes, as sentences for people who are to record them."""
    facts, late = LateWork(book).facts(), CourseLate(loaded)
    after = facts.after(changes)
    tell = partial(moment, zone=course_zone(loaded.settings))
    extended = [each for each in changes if isinstance(each, Extension) and not each.removed]
    known = {nfc(name) for name in book.known_students()} | {""}
    named = {each.student for each in changes if isinstance(each, Extension | Membership)}
    empty = {each.group for each in extended} - after.groups().keys() - {""}
    if unknown := [*sorted(named - known), *(f"the group {name}" for name in sorted(empty))]:
        yield (
            f"The gradebook does not know {listed(unknown)} yet. Check the spelling, or go on if "
            "the work is still to come."
        )
    for name, until in sorted({(each.assignment, each.until) for each in extended if each.until}):
        due = late.terms(name, facts).due.general
        if due is None:
            yield f"{name} has no due date, and so nothing is late there."
        elif until <= due:
            yield f"{tell(until)} is not after the due date, {tell(due)}, which stays."
    for name in _dated(facts, after, changes):
        yield from _left_aside(loaded, late, name, facts, after)


def preview_late(
    loaded: LoadedSettings, book: Gradebook, changes: Sequence[Change], now: datetime
) -> Preview:
    """Return what changes would do; blocks. Raises: InvalidInput for a damaged stored policy."""
    late, facts = CourseLate(loaded), LateWork(book).facts()
    found = late.preview(book, changes)
    after = facts.after(changes)
    dues: list[str] = []
    told: list[str] = []
    zone = course_zone(loaded.settings)
    for name in _dated(facts, after, changes):
        one, other = (late.terms(name, each).due for each in (facts, after))
        for student in sorted({*one.extensions, *other.extensions}):
            was, due = one.of(student), other.of(student)
            if was is not None and due is not None and was != due:
                before = moment(was, zone)
                dues.append(f"{name}, {student}: due {moment(due, zone)}; before: {before}")
        told.extend(_told(CourseFeedback(loaded, book, name, NO_KEY, now), facts, after))
    changed = {each.after.grade.assignment for each in found.differing}
    is_released = not changed.isdisjoint(MarkReleases(book).newest())
    return replace(found, dues=tuple(dues), told=tuple(told), is_released=is_released)


def _dated(facts: LateFacts, after: LateFacts, changes: Sequence[Change]) -> Sequence[str]:
    """Return the assignments whose due dates changes may move, for all or for some."""
    extended = (
        each.assignment
        for known in (facts, after)
        for each in known.extensions.values()
        if each.until is not None
    )
    dated = (each.assignment for each in changes if isinstance(each, PolicyChange))
    return sorted({*extended, *dated} - {ALL_ASSIGNMENTS})


def _left_aside(
    loaded: LoadedSettings, late: CourseLate, name: str, facts: LateFacts, after: LateFacts
) -> Iterator[str]:
    """Yield in which work changes make in time a version that was late and does not count."""
    was, becomes = late.terms(name, facts).due, late.terms(name, after).due
    item = ItemName.valid(name)
    if item is None or was == becomes:
        return
    records = Records(loaded.state_dir / RECEIPTS / f"{item}.jsonl")
    history = History(loaded.path(loaded.settings.dirs.submitted) / item, records)
    try:
        history.refresh(now=True)
    except OSError:  # the server's own files, which not everybody who may write marks can read
        yield (
            f"{name}: the submissions cannot be read, so it is not known whether this makes a "
            "version in time that was late and does not count."
        )
        return
    found = []
    for user, person in sorted(history.people.items()):
        one, other = was.own(nfc(user)), becomes.own(nfc(user))
        moved = [
            each
            for each in person.submissions
            if one.is_late(each.received) and not other.is_late(each.received)
        ]
        counts = person.counting
        if counts and moved and moved[-1].received > counts.received:
            found.append(f"{user} (submission {moved[-1].sequence})")
    if found:
        yield (
            f"{name}: a version that was late is in time by this, and does not count yet beside an "
            f"earlier one: {', '.join(found)}. `mograder extension pick` lets it count, and so "
            "does the hub's page of the student's submissions."
        )


def _told(feedback: CourseFeedback, facts: LateFacts, after: LateFacts) -> Iterator[str]:
    """Yield from when on marks are told, and of whom: who sees them already goes on seeing them."""
    was, other = telling(feedback, facts).ahead.later, telling(feedback, after)
    then, zone = other.ahead.later, other.ahead.zone
    if was == then:
        return
    grades = feedback.book.grades(feedback.assignment)
    if not any(check.hidden for grade in grades for check in grade.checks):
        return
    shown = shown_with_hidden_tests(feedback)
    waiting = [each for each, rows in shown.items() if other.of(rows).later is not None]
    seen = [each for each in shown if each not in waiting]
    told, before = (f"after {moment(t, zone)}" if t else "at once" for t in (then, was))
    tell = f"{feedback.assignment}: marks that tell results of hidden tests are told {told}"
    words = f"{tell}; before: {before}."
    if waiting:
        words += f" Released, and told then: the marks of {listed(waiting)}."
    if seen and then is not None:
        words += f" Seen already, and so not hidden again: the marks of {listed(seen)}."
    yield words
