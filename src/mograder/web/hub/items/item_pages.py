"""The instructors' pages: all items, and of one its source, the grading, and the marks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.item_dates import OwnDates, Visibility
from mograder.core.names import ItemName
from mograder.grading.item_statistics import CheckStatistics
from mograder.grading.marking.graded_work import graded_page
from mograder.grading.release.releasing import changed_marks
from mograder.hub.counts import Count
from mograder.sessions.launch_spec import script_of
from mograder.store.gradebook.mark_release import MarkReleases
from mograder.store.hub.grading_jobs import JobRow
from mograder.store.releases.releases import Release
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, PlatformFacts
from mograder.web.hub.core.items import item_name
from mograder.web.hub.items.dates import dates_of
from mograder.web.hub.items.grading import MarkLine, mark_lines, newer_work, submitters
from mograder.web.marking.release_pages import feedback_of
from mograder.web.marking.statistics_pages import statistics_of
from mograder.web.pages import inert_page, page, sheet_of
from mograder.web.route import INSTRUCTOR, Route

_PATIENCE_SECONDS = 0.1


async def item(name: str, request: Request, app: CurrentApp) -> Response:
    parsed = item_name(name)
    job = await app.services.grading.jobs.of(parsed)
    values = await to_thread.run_sync(_values, app, request, parsed, job)
    return page(
        request,
        "item.html",
        200,
        **values,
        here="items",
        name=parsed,
        now=app.services.clock.now(),
        job=job,
        noticed=await _noticed_checks(app, parsed),
        limits=app.services.loaded.settings.limits,
    )


def _values(app: HubApp, request: Request, name: ItemName, job: JobRow | None) -> dict[str, object]:
    source, submitted = app.services.grading.sources.find(name), submitters(app, name)
    known = source is not None or submitted or job is not None
    release = app.items.find(name) if known else app.items.get(name)
    platforms = app.find(PlatformFacts)
    lines, trouble = _lines(app, name, submitted, () if job is None else job.problems)
    sheet = sheet_of(lines, request)
    return {
        "release": release,
        "source": source,
        "submitted": len(submitted),
        "dates": dates_of(app, name),
        "sheet": sheet,
        "graded": sum(each.is_graded for each in lines),
        "warnings": () if job is None else job.warnings,
        "pages": frozenset(path.stem for path in _autograded(app, name).glob("*.html")),
        "changed": _changed(app, name),
        "trouble": trouble,
        "scores": None if platforms is None else platforms.scores(name),
    }


async def graded(name: str, user: str, request: Request, app: CurrentApp) -> Response:
    """Show a graded notebook as it ran, under a strict policy: its text is a student's."""
    item = item_name(name)
    data = await to_thread.run_sync(graded_page, _autograded(app, item), user)
    await app.audit.record(request, "read result", f"{user}/{item}")
    return inert_page(data)


async def _noticed_checks(app: HubApp, item: ItemName) -> list[CheckStatistics]:
    if not app.services.loaded.gradebook_path.is_file():
        return []
    try:
        found = await statistics_of(app.marking, item, _PATIENCE_SECONDS)
    except MograderError:
        return []  # nothing is graded yet, or the page says why the marks cannot be shown
    questions = () if found is None else found.questions  # the next load of the page has them
    return [check for question in questions for check in question.checks if check.advice]


def _changed(app: HubApp, item: ItemName) -> int:
    if not app.services.loaded.gradebook_path.is_file():
        return 0
    try:
        feedback = feedback_of(app.marking, item)
        if item not in MarkReleases(feedback.book).newest():
            return 0
        return changed_marks(feedback, ())
    except MograderError:
        return 0  # the page says why the marks cannot be shown


def _autograded(app: HubApp, item: ItemName) -> Path:
    loaded = app.services.loaded
    return loaded.path(loaded.settings.dirs.autograded) / item


def _lines(
    app: HubApp, name: ItemName, submitted: Collection[str], problems: Iterable[tuple[str, str]]
) -> tuple[list[MarkLine], str]:
    try:
        told = (*newer_work(app, name), *problems)
        return mark_lines(app.services.grading.grades(name), submitted, told), ""
    except MograderError as error:
        return [], str(error)


@dataclass(frozen=True, slots=True)
class ItemLine:
    """One item; ``environment`` is ready, building, failed or waiting, ``said`` is the error."""

    release: Release
    visibility: Visibility
    visible: bool
    dates: OwnDates
    environment: str
    said: str
    begun: int


async def items_page(request: Request, app: CurrentApp) -> Response:
    count = await app.copy_counts.look()
    lines = await to_thread.run_sync(_item_lines, app, count)
    return page(
        request,
        "items.html",
        here="items",
        items=lines,
        now=app.services.clock.now(),
        count=count,
        limits=app.services.loaded.settings.limits,
    )


def failed_items(app: HubApp) -> list[ItemLine]:
    return [line for line in _item_lines(app, Count()) if line.environment == "failed"]


def _item_lines(app: HubApp, count: Count) -> list[ItemLine]:
    begun, now = count.begun, app.services.clock.now()
    app.checks.look()
    lines = []
    for release in app.services.releases.all():
        rule = app.visibility.of(release.name)
        environment, said = _environment(app, release)
        line = ItemLine(
            release,
            rule,
            rule.visible(now),
            app.dates.usual(release.name),
            environment,
            said,
            begun[str(release.name)],
        )
        lines.append(line)
    return lines


def _environment(app: HubApp, release: Release) -> tuple[str, str]:
    environments = app.services.environments
    try:
        script = script_of(release)
    except (InvalidInput, OSError, UnicodeDecodeError) as error:
        return "failed", str(error)
    if environments.ready(script) is not None:
        return "ready", ""
    if environments.building(script):
        return "building", ""
    said = environments.trouble(script)
    return ("failed", said) if said else ("waiting", "")


ROUTES = (
    Route("GET", "/course/items", items_page, INSTRUCTOR),
    Route("GET", "/course/items/{name}", item, INSTRUCTOR),
    Route("GET", "/course/items/{name}/{user}", graded, INSTRUCTOR),
)
