"""Marking's first page: the assignments that the person may mark, and the switch for markers."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request
from starlette.responses import RedirectResponse, Response

from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.store.open_marking import open_for_marking, set_open_for_marking
from mograder.web.context import request_context
from mograder.web.marking.context import CurrentMarker, CurrentMarking, Marker, MarkingApp
from mograder.web.pages import outcome, page, with_outcome
from mograder.web.request_body import read_form

_ANSWERS = {"1": True, "0": False}


async def course(request: Request, marking: CurrentMarking, marker: CurrentMarker) -> Response:
    """Show the assignments: all to instructors, to markers those that are open for marking."""
    names, opened = await to_thread.run_sync(_assignments, marking, marker)
    done, item = outcome(request)
    return page(
        request,
        "marking/course.html",
        here="marking",
        names=names,
        opened=opened,
        instructor=marker.role is Role.INSTRUCTOR,
        done=done,
        done_item=item,
    )


async def open_or_close(
    a: str, request: Request, marking: CurrentMarking, marker: CurrentMarker
) -> Response:
    """Open an assignment for markers, or close it: the form's field ``open`` is 1 or 0."""
    answer = (await read_form(request)).get("open", "")
    if answer not in _ANSWERS:
        raise InvalidInput("The field open must be 1 or 0.")
    name, is_open = ItemName.parse(a), _ANSWERS[answer]

    def change() -> None:
        set_open_for_marking(marking.loaded.course_dir, name, is_open=is_open)

    await to_thread.run_sync(change)
    action = "open for marking" if is_open else "close for marking"
    await marking.record(request, action, name)
    where = with_outcome("/marking", "opened" if is_open else "closed", name)
    return RedirectResponse(f"{request_context(request).prefix}{where}", 303)


def _assignments(marking: MarkingApp, marker: Marker) -> tuple[list[str], frozenset[str]]:
    opened = open_for_marking(marking.loaded.course_dir)
    names = [each.name for each in marking.book().assignments()]
    return [each for each in names if marker.role is Role.INSTRUCTOR or each in opened], opened
