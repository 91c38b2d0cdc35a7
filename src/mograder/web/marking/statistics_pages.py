"""The statistics of an assignment: a page with a picture of the distribution, and a CSV file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.csv_table import number_text, write_table
from mograder.grading.course_late import CourseLate
from mograder.grading.item_statistics import (
    CSV_COLUMNS,
    Distribution,
    ItemStatistics,
    course_statistics,
    csv_rows,
)
from mograder.web.marking.context import (
    CurrentMarking,
    MarkingApp,
    answer_id,
    question_address,
    question_title,
    stamp_of,
    working_page,
)
from mograder.web.marking.release_pages import demand_assignment
from mograder.web.pages import page, saved_table

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 640, 220, 40, 40, 24
"""The picture in pixels, and its margins."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of the picture: its place in pixels, the marks from and to, and the students."""

    x: float
    y: float
    width: float
    height: float
    first: str
    last: str
    students: int


async def statistics_page(a: str, request: Request, marking: CurrentMarking) -> Response:
    found = await statistics_of(marking, a)
    if found is None:
        return working_page(request, a, "statistics")

    def answer_at(student: str, key: str) -> str:
        return f"{question_address(key)}?answer={answer_id(marking.key, a, student)}"

    return page(
        request,
        "marking/statistics.html",
        here="marking",
        assignment=a,
        found=found,
        bars=tuple(bars(found.marks)) if found.marks else (),
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        floor=_HEIGHT - _BOTTOM,
        title_of=question_title,
        answer_at=answer_at,
        number=number_text,
        moment=_moment,
    )


async def statistics_csv(a: str, request: Request, marking: CurrentMarking) -> Response:
    found = await to_thread.run_sync(_compute, marking, a)
    await marking.record(request, "statistics", a)
    table = write_table(CSV_COLUMNS, csv_rows(found))
    return saved_table(table, f"{a}-statistics.csv")


def bars(marks: Distribution) -> Iterator[Bar]:
    """Yield the bars of a distribution; the highest has the picture's whole height."""
    most = max(*marks.bins, 1)
    step = (_WIDTH - _LEFT) / len(marks.bins)
    room = _HEIGHT - _BOTTOM - _TOP
    for at, count in enumerate(marks.bins):
        height = room * count / most
        edges = (marks.available * edge / len(marks.bins) for edge in (at, at + 1))
        first, last = (number_text(edge, 2) for edge in edges)
        top = _HEIGHT - _BOTTOM - height
        yield Bar(_LEFT + at * step + 3, top, step - 6, height, first, last, count)


async def statistics_of(
    marking: MarkingApp, a: str, patience_seconds: float | None = None
) -> ItemStatistics | None:
    """Return the statistics of an assignment; None while they are still being computed."""
    path = marking.loaded.gradebook_path
    files = (path, path.with_name(f"{path.name}-wal"))
    await to_thread.run_sync(lambda: demand_assignment(marking.book(), a))
    stamp = await to_thread.run_sync(stamp_of, files)

    async def make() -> ItemStatistics:
        return await to_thread.run_sync(_compute, marking, a)

    return await marking.reports.get(("statistics", a), stamp, make, patience_seconds)


def _compute(marking: MarkingApp, a: str) -> ItemStatistics:
    demand_assignment(marking.book(), a)
    return course_statistics(CourseLate(marking.loaded), marking.book(), a, marking.key)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
