"""Makes the object that the handlers of marking need, for the hub and `mograder grader`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import Request

from mograder.core.clock import Clock
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.grading.late.course_dates import CourseDates
from mograder.store.course.sources import Sources
from mograder.web.marking.context import MarkingApp
from mograder.web.marking.gradebook import SharedGradebook
from mograder.web.marking.reports import Reports


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
