"""The object that the handlers of marking work with, and the person who asks.

The app that mounts the routes (the hub, or the grader of a course on one's own machine) admits the
request first; its object in the request's scope has the course's parts as ``marking``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request

from mograder.core.clock import Clock
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_dates import CourseDates
from mograder.grading.marking.shown_work import Works
from mograder.store.course.sources import Sources
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.marking.marking_progress import MarkingProgress
from mograder.web.marking.access import MARKER, Marker
from mograder.web.marking.gradebook import SharedGradebook
from mograder.web.marking.reports import Reports
from mograder.web.pages import APP


@dataclass(frozen=True, slots=True)
class MarkingApp:
    """The parts of a course that marking needs.

    ``book`` returns the gradebook, which all requests share and must not close. It opens it first,
    and may raise its errors; it blocks, and so do all of its methods.
    ``dates`` are those of its items. ``key`` verifies signed results, and makes the names of
    answers that hide their student.
    ``source`` finds an assignment's source notebook. ``record`` writes to the audit log: the
    action, and the object that it concerns. ``works`` shows submissions, ``progress``
    counts what is marked. ``reports`` keeps what takes seconds to compute.
    """

    loaded: LoadedSettings
    clock: Clock
    key: bytes
    book: Callable[[], Gradebook]
    dates: CourseDates
    source: Callable[[str], Path | None]
    record: Callable[[Request, str, str], Awaitable[None]]
    works: Works = field(default_factory=Works)
    reports: Reports = field(default_factory=Reports)
    progress: MarkingProgress = field(default_factory=MarkingProgress)


def make_marking(
    loaded: LoadedSettings,
    clock: Clock,
    key: bytes,
    *,
    book: SharedGradebook,
    sources: Sources,
    record: Callable[[Request, str, str], Awaitable[None]],
    reports: Reports | None = None,
) -> MarkingApp:
    """Return the parts of a course that marking needs; ``key`` is that of results' signatures."""

    def source(assignment: str) -> Path | None:
        name = ItemName.valid(assignment)
        found = None if name is None else sources.find(name)
        return None if found is None else found.notebook

    return MarkingApp(
        loaded=loaded,
        clock=clock,
        key=key,
        book=book.get,
        dates=CourseDates(loaded, book.get),
        source=source,
        record=record,
        reports=reports or Reports(),
    )


async def _marking(request: Request) -> MarkingApp:
    await _marker(request)
    return cast(MarkingApp, request.scope[APP].marking)


async def _marker(request: Request) -> Marker:
    return cast(Marker, request.scope[MARKER])  # a student that got here by mistake fails


CurrentMarking = Annotated[MarkingApp, Depends(_marking)]
CurrentMarker = Annotated[Marker, Depends(_marker)]
