"""The page of late work: due dates, extensions, the rule, and the class before and after a change.

Every form leads to a preview, whose own form has the same fields and records them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from anyio import to_thread
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from mograder.core.errors import InvalidInput
from mograder.core.files.disk import closing_fd
from mograder.core.item_dates import (
    END_OF_DAY,
    course_zone,
    given_zone,
    is_changed,
    read_moment,
    read_opening,
)
from mograder.core.names import ItemName
from mograder.grading.course_late import CourseLate
from mograder.grading.late_changes import (
    RULE_KEYS,
    demand_known,
    described,
    doubts,
    extension,
    known_assignments,
    membership,
    policy_change,
    preview_late,
    read_changes,
    removal,
)
from mograder.grading.late_work import late_sentence
from mograder.notebook.pep723 import ItemKind
from mograder.publishing.schedule import zone_of_form
from mograder.store.gradebook.late_work import ALL_ASSIGNMENTS, Change, LateWork
from mograder.store.marking.question_marking import QuestionMarks
from mograder.store.releases.published_release import open_release, release_at
from mograder.web.context import request_context
from mograder.web.marking.context import CurrentMarker, CurrentMarking, MarkingApp
from mograder.web.pages import go_to, page, path_segment, sheet_of, with_outcome
from mograder.web.request_body import MEGABYTE, closing, read_form, receive

_LARGEST_CSV = MEGABYTE
_LARGEST_FORM = 4 * MEGABYTE
"""A CSV file in a form's field, in which a character may take several bytes."""
_MOST_LOGGED = 100
"""Lines of the audit log for one import; the gradebook has every change."""


def late_page(a: str, request: Request, marking: CurrentMarking) -> Response:
    name = ItemName.parse(a)
    values = _values(marking, name)
    sheet = sheet_of(values["lines"], request)
    return page(request, "marking/late.html", here="marking", name=name, sheet=sheet, **values)


async def preview(a: str, request: Request, marking: CurrentMarking) -> Response:
    """Show what a form of the page would change, and record nothing."""
    fields = await _fields(request)
    name = ItemName.parse(a)
    changes = await to_thread.run_sync(_changes, marking, name, fields)
    return await show_preview(request, marking, name, changes, fields)


async def show_preview(
    request: Request,
    marking: MarkingApp,
    name: ItemName,
    changes: Sequence[Change],
    fields: Mapping[str, str],
    back: str = "",
    record_at: str = "",
) -> Response:
    """Show what changes would do; ``fields`` are sent to ``record_at`` to record them.

    ``back`` and ``record_at`` are addresses below the prefix, by default the page of late work.
    """
    values = await to_thread.run_sync(_preview, marking, changes)
    prefix, at = request_context(request).prefix, f"/marking/{path_segment(name)}/late"
    return page(
        request,
        "marking/late_preview.html",
        here="marking",
        name=name,
        fields=fields,
        back=f"{prefix}{back or at}",
        record_at=f"{prefix}{record_at or at}",
        **values,
    )


async def record(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Record the previewed changes; a change by another person meanwhile is a conflict."""
    fields = await read_form(request, _LARGEST_FORM)
    name = ItemName.parse(a)
    told = await to_thread.run_sync(_record, marking, name, fields, marker.name)
    for line in told[:_MOST_LOGGED]:
        await marking.record(request, "late work", line)
    where = with_outcome(f"/marking/{path_segment(name)}/late", "late")
    return go_to(request, where)


async def _fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; the file of a CSV becomes the field ``csv``."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await read_form(request, _LARGEST_FORM)
    form = await receive(request, _LARGEST_CSV, 1, field="file")
    async with closing(form):
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidInput("Choose a CSV file.")
        data = await file.read()
    try:  # else names and reasons would be recorded with other characters
        return {"action": "csv", "csv": data.decode("utf-8-sig")}
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8 text.", hint="Save it as CSV UTF-8.") from error


def _demand_assignment(marking: MarkingApp, name: ItemName) -> None:
    directory = marking.loaded.path(marking.loaded.settings.hub.release_dir) / name
    if (fd := open_release(directory)) is None:
        demand_known(marking.loaded, marking.book(), name)
        return
    with closing_fd(fd):
        release = release_at(fd, directory, name)
    if release is None or release.kind is ItemKind.ASSIGNMENT:
        return
    if not QuestionMarks(marking.book()).students(name):
        raise InvalidInput(f"{name} is a {release.kind}, which has no due date.")


def _values(marking: MarkingApp, name: ItemName) -> dict[str, Any]:
    _demand_assignment(marking, name)
    book, late = marking.book(), CourseLate(marking.loaded)
    facts, zone = LateWork(book).facts(), course_zone(marking.loaded.settings)
    terms, counted = late.terms(name, facts), late.counted(book, name)
    return {
        "dates": terms.due,
        "elsewhere": sorted(terms.due.extensions.keys() - facts.by_student(name).keys()),
        "enabled": terms.rule.enabled,
        "extensions": facts.of_assignment(name),
        "groups": facts.groups(),
        "rules": late.rule_lines(name, facts),
        "course_rules": late.rule_lines(ALL_ASSIGNMENTS, facts),
        "lines": [
            (each.grade, late_sentence(each.grade, each.deduction, zone)) for each in counted
        ],
    }


def _preview(marking: MarkingApp, changes: Sequence[Change]) -> dict[str, Any]:
    book, zone = marking.book(), course_zone(marking.loaded.settings)
    found = preview_late(marking.loaded, book, changes, marking.clock.now())
    sentences = (
        late_sentence(each.after.grade, each.after.deduction, zone) for each in found.differing
    )
    return {
        "found": found,
        "rows": list(zip(found.differing, sentences, strict=True)),
        "doubts": list(doubts(marking.loaded, book, changes)),
        "changes": [(each, described(each, zone)) for each in changes],
    }


def _record(
    marking: MarkingApp, name: ItemName, fields: Mapping[str, str], by: str
) -> Sequence[str]:
    """Record changes, and write the columns that follow; return them in words."""
    book, now = marking.book(), marking.clock.now()
    changes = _changes(marking, name, fields)
    version = fields.get("version", "")
    LateWork(book).record(changes, by=by, at=now, version=version)
    zone = course_zone(marking.loaded.settings)
    return [described(each, zone) for each in changes]


def _changes(marking: MarkingApp, name: ItemName, fields: Mapping[str, str]) -> Sequence[Change]:
    _demand_assignment(marking, name)
    book, facts = marking.book(), LateWork(marking.book()).facts()
    of = ALL_ASSIGNMENTS if fields.get("of") == "course" else name
    student, group = fields.get("student", ""), fields.get("group", "")
    match fields.get("action"):
        case "add":
            text, reason = fields.get("until", ""), fields.get("reason", "")
            until = read_moment(text, zone_of_form(fields), END_OF_DAY) if text else None
            exempt = fields.get("exempt") == "1"
            return [extension(of, student, group, until=until, exempt=exempt, reason=reason)]
        case "remove":
            return [removal(facts, of, student, group)]
        case "member":
            return [membership(group, student, removed=fields.get("leaves") == "1")]
        case "dates":
            dates, opens = marking.dates.of(name), marking.visibility.of(name).visible_from
            given = typed_dates(name, fields, {"due": dates.general, "closes": dates.closes})
            return [CourseLate(marking.loaded).dates_change(facts, name, given, opens)]
        case "policy":
            typed = {key: fields[key] for key in RULE_KEYS if key in fields}
            # An unchanged field changes nothing: another instructor may have stored a value since.
            entries = {
                key: text or "none"
                for key, text in typed.items()
                if text != fields.get(f"{key}-shown")
            }
            return [policy_change(facts, of, entries)]
        case "csv":
            names = known_assignments(marking.loaded, book)
            data = fields.get("csv", "").encode()
            return read_changes(data, "The file", names, name, given_zone(marking.loaded.settings))
    raise InvalidInput("The form has no action that this page knows.")


def typed_dates(
    name: str, fields: Mapping[str, str], shown: Mapping[str, datetime | None]
) -> dict[str, datetime | None]:
    """Return the dates of a form that are not as it showed them: others stay where they are set.

    ``shown`` are the item's present dates by the form's fields.

    Raises: Conflict, as `is_changed`.
    """
    zone = zone_of_form(fields)

    def typed(key: str, text: str) -> datetime | None:
        if key == "opens" and text:
            return read_opening(text, zone)
        return read_moment(text, zone, END_OF_DAY) if text else None

    given = {key: typed(key, fields[key]) for key in shown if key in fields}
    return {
        key: _to_the_end(at, shown[key])
        for key, at in given.items()
        if is_changed(at, shown[key], fields.get(f"{key}-shown"), name, zone)
    }


def _to_the_end(typed: datetime | None, shown: datetime | None) -> datetime | None:
    """Return a typed time with the seconds of the end of a day, if it takes the place of one."""
    last = END_OF_DAY.minute, END_OF_DAY.second
    if typed and shown and (typed.minute, shown.second) == last:
        return typed.replace(second=END_OF_DAY.second)
    return typed
