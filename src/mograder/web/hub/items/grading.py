"""Grading of an item on the hub, by instructors: its source, its jobs, and the marks as a list.

A source has solutions and hidden tests: it is taken and never given out. A job goes on without a
client, and after a restart.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Request
from pydantic import Field, StrictBool
from starlette.responses import Response

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.core.names import ItemName, Username, nfc
from mograder.core.tasks import to_its_end
from mograder.grading.submissions.grading_jobs import GradingJobs, GradingRequest
from mograder.hub.notifier import Part
from mograder.publishing.publish import check_upload
from mograder.store.gradebook.grading_records import (
    MANUAL,
    NEEDS_ATTENTION,
    UNPROTECTED,
    StudentGrade,
    utc_iso,
)
from mograder.store.hub.grading_jobs import JobRow, JobState
from mograder.store.releases.releases import ItemKind
from mograder.store.submissions.submitted_files import submitted_files
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, Run
from mograder.web.hub.core.items import item_name, item_page
from mograder.web.hub.core.responses import Body, Done, UnixTime, tell
from mograder.web.hub.items.publishing import received, staging, uploads
from mograder.web.pages import with_outcome
from mograder.web.request_body import MEGABYTE, closing, is_form, read_form, read_json
from mograder.web.route import INSTRUCTOR, FileBody, JsonBody, Route

_MOST_STUDENTS = 10_000
_SHOWN = 5


_NOT_GRADED = "not graded"
_NEWER = "The newest submission is not graded yet"
_TODO = {
    NEEDS_ATTENTION: "Grade it again; if this stays, look at the hub's log.",
    UNPROTECTED: "The checks ran beside the answers: confirm the marks on the marking page.",
}


class HeldSource(Done):
    """The files that an instructor sent as an item's source, with their SHA-256, never their text.

    ``own``: the hub has a source in its course directory and takes no other. ``most_mb`` and
    ``most_files`` are the limits, as of a release.
    """

    files: dict[str, str]
    own: bool
    most_mb: int
    most_files: int


class SourceKept(Done):
    """A source was replaced; ``files`` are its files, sorted."""

    files: list[str]


class GradedStudent(Body):
    """The result of one student: ``mark`` of ``max_mark``, null while there is none.

    ``state`` is how the marks came about. ``problem`` says why there is no mark, or what a teacher
    should look at; empty if nothing.
    """

    student: str
    state: str
    mark: float | None
    max_mark: float
    problem: str


class GradingJob(Body):
    """The last grading job of an item; the times are Unix times.

    ``completed`` of ``total`` submissions are graded, of which ``attention`` have no result.
    ``warnings`` are sentences about the assignment. ``error`` says why the job failed.
    """

    item: str
    state: JobState
    who: str
    students: list[str]
    force: bool
    failed: bool = Field(validation_alias="failed_only")
    total: int
    completed: int
    attention: int
    warnings: list[str]
    error: str
    asked: UnixTime = Field(validation_alias="asked_at")
    started: UnixTime | None = Field(validation_alias="started_at")
    ended: UnixTime | None = Field(validation_alias="ended_at")


class Grading(Done):
    """The grading of an item: its last job, null before the first, and the students' results.

    ``source`` is where the hub has the item's source from: its own course directory, or an
    instructor. Results without a source are unprotected.
    """

    job: GradingJob | None
    source: Literal["own", "sent", "none"]
    students: list[GradedStudent]


class GradingCancelled(Done):
    """The job has ended; ``cancelled`` is whether there was one. Its results stay."""

    cancelled: bool


@dataclass(frozen=True, slots=True)
class MarkLine:
    """The result of one student.

    ``mark`` is None while there is none. ``problem`` says what is wrong or to be decided, ``todo``
    what a teacher can do; both are empty if nothing. ``to_mark`` is the number of questions without
    checks that nobody has marked yet.
    """

    student: str
    state: str
    mark: float | None
    max_mark: float
    problem: str = ""
    todo: str = ""
    to_mark: int = 0

    @property
    def is_graded(self) -> bool:
        return self.mark is not None or self.state not in ("", _NOT_GRADED)

    @property
    def is_user(self) -> bool:
        """Whether the name can be that of a user of the hub, who has a page."""
        return Username.valid(self.student) is not None


def mark_lines(
    grades: Iterable[StudentGrade],
    submitted: Collection[str] = (),
    problems: Iterable[tuple[str, str]] = (),
) -> list[MarkLine]:
    """Return the lines of all students: what needs attention first, then by name.

    ``problems`` are newer submissions, and those that the last job told, by student.
    """
    told: dict[str, list[str]] = defaultdict(list)
    for student, problem in problems:
        told[student].append(problem)
    lines = {grade.student: _line(grade) for grade in grades}
    for student in (*submitted, *filter(None, told)):
        lines.setdefault(student, MarkLine(student, _NOT_GRADED, None, 0.0))
    for student, sentences in told.items():
        if student and lines[student].state != NEEDS_ATTENTION:
            lines[student] = _with(lines[student], sentences)
    return sorted(lines.values(), key=lambda line: (_rank(line), line.student))


def _with(line: MarkLine, sentences: Iterable[str]) -> MarkLine:
    problem = " ".join([*filter(None, [line.problem]), *map(_sentence, sentences)])
    if line.mark is None and line.state == _NOT_GRADED:
        return dataclasses.replace(
            line, state=NEEDS_ATTENTION, problem=problem, todo=_TODO[NEEDS_ATTENTION]
        )
    return dataclasses.replace(line, problem=problem)


def _sentence(text: str) -> str:
    """Return a text with a full stop, which some parts of the program leave out."""
    return f"{text.rstrip('.')}."


def _rank(line: MarkLine) -> int:
    if line.state == NEEDS_ATTENTION:
        return 0
    return 1 if line.problem else 2


def _line(grade: StudentGrade) -> MarkLine:
    waiting = [question for question in grade.questions if question.open]
    unclear = [f"{each.key} {each.open}" for each in waiting if each.state != MANUAL]
    problems = [*grade.flags, *([", ".join(unclear)] if unclear else [])]
    return MarkLine(
        student=grade.student,
        state=grade.state,
        mark=grade.final,
        max_mark=grade.max_mark,
        problem=" ".join(map(_sentence, problems)),
        todo=_TODO.get(grade.state, "") if problems else "",
        to_mark=sum(question.state == MANUAL for question in waiting),
    )


class _Request(Body):
    students: list[str] = Field(default=[], max_length=_MOST_STUDENTS)
    force: StrictBool = False
    failed: StrictBool = False


async def start(
    item: str,
    request: Annotated[Request, JsonBody(_Request, required=False)],
    app: CurrentApp,
    caller: Caller,
) -> Annotated[Response, GradingJob]:
    """Grade an item's submissions: those without an up-to-date result, or as the body says."""
    name = item_name(item)
    asked = await _asked(request)
    wish = GradingRequest(tuple(sorted(set(asked.students))), asked.force, asked.failed)
    await to_thread.run_sync(_demand_submissions, app, name, wish)
    job = await app.services.grading.jobs.ask(name, caller.username, wish)
    await app.audit.record(request, "grade", name)
    return tell(request, _job(job), with_outcome(item_page(name), "grading", name), 202)


async def look(item: str, app: CurrentApp) -> Grading:
    """Return an item's last grading job, how far it is, and the results of all students."""
    name = item_name(item)
    job = await app.services.grading.jobs.of(name)
    return await to_thread.run_sync(_grading, app, name, job)


async def cancel(
    item: str, request: Request, app: CurrentApp
) -> Annotated[Response, GradingCancelled]:
    """End an item's grading job; the results that it has made stay."""
    name = item_name(item)
    cancelled = await app.services.grading.jobs.cancel(name)
    if cancelled:
        await app.audit.record(request, "cancel grading", name)
    where = with_outcome(item_page(name), "cancelled" if cancelled else "", name)
    return tell(request, GradingCancelled(cancelled=cancelled), where)


async def _asked(request: Request) -> _Request:
    if is_form(request):
        fields = await read_form(request)
        return _Request(force="force" in fields, failed="failed" in fields)
    chunked = "transfer-encoding" in request.headers
    if request.headers.get("content-length", "0") == "0" and not chunked:
        return _Request()
    return await read_json(request, _Request, MEGABYTE)


def _demand_submissions(app: HubApp, name: ItemName, wish: GradingRequest) -> None:
    release = app.services.releases.get(name)
    if release is not None and release.kind is not ItemKind.ASSIGNMENT:
        raise InvalidInput(f"{name} is a {release.kind.value}, which has no marks.")
    submitted = submitters(app, name)
    if not submitted and release is None:
        raise NotFound("Assignment not found")
    if not submitted:
        raise Conflict(f"There is no submission of {name} on this hub.")
    unknown = [student for student in wish.students if student not in submitted]
    if unknown:
        shown = ", ".join(each[:100] for each in unknown[:_SHOWN])
        raise InvalidInput(f"There is no submission of {name} by: {shown}")


def _grading(app: HubApp, name: ItemName, job: JobRow | None) -> Grading:
    grading, submitted = app.services.grading, submitters(app, name)
    source = grading.sources.find(name)
    known = job is not None or source is not None or submitted
    if not known and app.services.releases.get(name) is None:
        raise NotFound("Assignment not found")
    problems = (*newer_work(app, name), *(() if job is None else job.problems))
    lines = mark_lines(grading.grades(name), submitted, problems)
    return Grading(
        job=None if job is None else _job(job),
        source="none" if source is None else "own" if source.own else "sent",
        students=[GradedStudent.model_validate(line, from_attributes=True) for line in lines],
    )


def _job(row: JobRow) -> GradingJob:
    return GradingJob.model_validate(row, from_attributes=True)


def submitters(app: HubApp, name: ItemName) -> tuple[str, ...]:
    """Return the students with a submission, gradable or not. Raises: InvalidInput."""
    loaded = app.services.loaded
    directory = loaded.path(loaded.settings.dirs.submitted) / name
    if not directory.is_dir():
        return ()
    return tuple(each.student for each in submitted_files(directory))


def ungraded(app: HubApp, name: ItemName, arrivals: Mapping[str, datetime]) -> Mapping[str, bool]:
    """Return the students whose submission that counts is not graded, and whether one before is.

    ``arrivals`` are the times of these submissions. Blocks; a file is read only if it may be newer
    than what was graded.
    """
    book = app.book()
    graded = {nfc(each): work for each, work in (book.last_works(name) if book else {}).items()}
    found = {}
    for student, at in arrivals.items():
        digest, received = graded.get(nfc(student), ("", ""))
        if not digest:
            found[student] = False
        elif received != utc_iso(at):
            counting = app.submissions.counting(student, name)
            if counting is not None and counting.sha256 not in (None, digest):
                found[student] = True
    return found


def newer_work(app: HubApp, name: ItemName) -> Iterable[tuple[str, str]]:
    found = ungraded(app, name, app.submissions.arrivals(name))
    return ((each, _NEWER) for each, before in found.items() if before)


def open_grading(hub: HubApp) -> Run:
    jobs = hub.services.grading.jobs

    def graded(_: str) -> None:
        hub.numbers.note()
        hub.notifier.notify_instructors(Part.MARKS)

    jobs.on_change = graded
    return partial(_grade, jobs)


@asynccontextmanager
async def _grade(jobs: GradingJobs) -> AsyncIterator[None]:
    await jobs.open()
    try:
        yield
    finally:
        await jobs.close()


def held(name: str, app: CurrentApp) -> HeldSource:
    """Return what the hub has as an item's source: digests of the files that were sent."""
    item, sources = item_name(name), app.services.grading.sources
    limits = app.services.loaded.settings.limits
    found = sources.find(item)
    return HeldSource(
        files=dict(sources.digests(item)),
        own=found is not None and found.own,
        most_mb=limits.upload_mb,
        most_files=limits.upload_files,
    )


async def replace(
    name: str, request: Annotated[Request, FileBody("files", many=True)], app: CurrentApp
) -> Annotated[Response, SourceKept]:
    """Replace an item's source by the uploaded files (multipart field ``files``)."""
    item, sources = item_name(name), app.services.grading.sources
    form = await received(request, app)
    async with closing(form), staging(sources.stage, item, uploads(form)) as staged:
        await to_thread.run_sync(partial(check_upload, item, staged.path, is_source=True))
        await to_its_end(sources.commit, staged)
    await app.audit.record(request, "send source", item)
    app.notifier.notify_instructors(Part.MARKS)
    done = with_outcome(item_page(item), "source", item)
    return tell(request, SourceKept(files=list(staged.files)), done)


ROUTES = (
    Route("POST", "/course/source/{name}", replace, INSTRUCTOR),
    Route("POST", "/course/cancel-grading/{item}", cancel, INSTRUCTOR),
    Route("GET", "/source/{name}", held, INSTRUCTOR, "Grading"),
    Route("PUT", "/source/{name}", replace, INSTRUCTOR, "Grading"),
    Route("POST", "/autograde/{item}", start, INSTRUCTOR, "Grading", 202),
    Route("GET", "/autograde/{item}", look, INSTRUCTOR, "Grading"),
    Route("DELETE", "/autograde/{item}", cancel, INSTRUCTOR, "Grading"),
)
