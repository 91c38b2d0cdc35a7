"""The things that the handlers of marking share: a course's parts, the person, and the answers.

The app that mounts the routes (the hub, or the grader of a course on one's own machine) admits the
request first, and puts the person into it; its object in the request's scope has the course's
parts as ``marking``: one gradebook, and the reports that may take seconds. Those are made once, and
kept until their data changes. ``Here`` is a request about one assignment, with the answers of that
assignment in the marker's order.

The name of an answer in addresses hides its student: only the course's key tells which one it is.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar, cast

from anyio import to_thread
from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.core.clock import Clock, SystemClock
from mograder.core.context_managers import Closing
from mograder.core.errors import Forbidden, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName, is_same_person, nfc
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import (
    CourseDates,
    GradebookFailure,
    export_if_set,
    gradebook_stamp,
)
from mograder.store.course.sources import Sources
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import WHOLE
from mograder.store.marking.marking_progress import MarkingProgress, open_for_marking
from mograder.store.marking.question_marking import QuestionMarks, markers_of
from mograder.store.releases.release_times import VisibilityRules
from mograder.web.pages import APP, page
from mograder.web.request_body import read_json

if TYPE_CHECKING:
    from mograder.grading.marking.shown_work import Works

_log = get_logger(__name__)

ASSIGNMENT = "a"

MARKER = "mograder.marker"

B = TypeVar("B", bound=BaseModel)
_LIMIT = 256 * 1024
"""Bytes of a body with a comment, a reason and identifiers."""

_KEPT = 64
_NAME_LENGTH = 16
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")
_CODED, _WHOLE = "~=", "~whole"
_WHOLE_TITLE = "The whole submission"
T = TypeVar("T")


class SharedGradebook(Closing):
    """One gradebook for all requests; thread-safe.

    Mutable state: ``_book``, None until it is first needed, and ``_failure``, why it could not be
    opened.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        self._loaded = loaded
        self._opening = threading.Lock()
        self._book: Gradebook | None = None
        self._failure: GradebookFailure | None = None

    def get(self) -> Gradebook:
        """Return the gradebook, which the first call opens or creates; blocks.

        One that could not be opened is tried again when its file has changed or after ten seconds,
        and other threads do not wait for that: they get the error of the last try.

        Raises: as :class:`~mograder.store.gradebook.gradebook.Gradebook`.
        """
        failure = self._failure
        if failure is None:
            self._opening.acquire()
        elif not self._opening.acquire(blocking=False):
            raise failure.error.with_traceback(None)
        try:
            if self._book is None:
                self._book = self._open()
            return self._book
        finally:
            self._opening.release()

    def _open(self) -> Gradebook:
        path, failure = self._loaded.gradebook_path, self._failure
        if failure is not None and failure.lasts(gradebook_stamp(path)):
            raise failure.error.with_traceback(None)
        try:
            book = Gradebook(path)
        except MograderError as error:
            self._failure = GradebookFailure.of(path, error)
            raise
        self._failure = None
        return book

    def close(self) -> None:
        with self._opening:
            book, self._book = self._book, None
            if book is None:
                return
            with book:
                try:
                    export_if_set(self._loaded, book, SystemClock().now())
                except MograderError as error:
                    _log.error("the marks were not exported for mograder 0.3.16: %s", error)


class Reports:
    """The reports that are made, or were made last.

    ``patience_seconds`` is how long a caller waits for a report that is being made. Mutable state:
    ``_made``, by name, each with the stamp of its data.
    """

    def __init__(self, patience_seconds: float = 1.0) -> None:
        self.patience_seconds = patience_seconds
        self._made: OrderedDict[Hashable, tuple[Hashable, asyncio.Task[Any]]] = OrderedDict()

    async def get(
        self,
        name: Hashable,
        stamp: Hashable,
        make: Callable[[], Awaitable[T]],
        patience_seconds: float | None = None,
    ) -> T | None:
        """Return a report, or None if it is not made within ``patience_seconds``.

        It is made again for another ``stamp``, and after a failure.
        """
        found = self._made.get(name)
        if found is None or (found[1].done() and (found[0] != stamp or _failed(found[1]))):
            found = stamp, asyncio.ensure_future(make())
            self._made[name] = found
        self._made.move_to_end(name)
        while len(self._made) > _KEPT and next(iter(self._made.values()))[1].done():
            self._made.popitem(last=False)
        patience = self.patience_seconds if patience_seconds is None else patience_seconds
        done, _ = await asyncio.wait([found[1]], timeout=patience)
        if not done:
            return None
        result: T = found[1].result()
        return result


def working_page(request: Request, assignment: str, what: str) -> Response:
    return page(
        request, "marking/report_working.html", here="marking", assignment=assignment, what=what
    )


def stamp_of(paths: Iterable[Path]) -> Hashable:
    """Return a value that changes with these files, and the files of these directories; blocks."""
    return frozenset(state for path in paths for state in _states(path))


def _states(path: Path) -> Iterator[tuple[str, int, int]]:
    with contextlib.suppress(OSError):
        found = list(os.scandir(path)) if path.is_dir() else [path]
        for each in found:
            status = each.stat(follow_symlinks=False)
            yield os.fspath(each), status.st_mtime_ns, status.st_size


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


class Record(Protocol):
    """Writes to a log what the person behind a request did, and to which objects."""

    def __call__(self, request: Request, action: str, /, *what: str) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class MarkingApp:
    """The parts of a course that marking needs.

    ``book`` returns the gradebook, which all requests share and must not close. It opens it first,
    and may raise its errors; it blocks, and so do all of its methods.
    ``dates`` are those of its items, ``visibility`` is when students see them. ``key`` verifies
    signed results, and makes the names of answers that hide their student.
    ``source`` finds an assignment's source notebook. ``record`` writes to the audit log.
    ``works`` shows submissions, ``progress`` counts what is marked. ``reports`` keeps what
    takes seconds to compute. ``tell`` is called with the students who now see other marks or words.
    """

    loaded: LoadedSettings
    clock: Clock
    key: bytes
    book: Callable[[], Gradebook]
    dates: CourseDates
    visibility: VisibilityRules
    source: Callable[[str], Path | None]
    record: Record
    works: Works
    reports: Reports = field(default_factory=Reports)
    progress: MarkingProgress = field(default_factory=MarkingProgress)
    tell: Callable[[Sequence[str]], None] = lambda _: None


def make_marking(
    loaded: LoadedSettings,
    clock: Clock,
    key: bytes,
    *,
    book: SharedGradebook,
    sources: Sources,
    record: Record,
    works: Works,
) -> MarkingApp:
    def source(assignment: str) -> Path | None:
        name = ItemName.valid(assignment)
        found = None if name is None else sources.find(name)
        return None if found is None else found.notebook

    dates = CourseDates(loaded, book.get)
    rules = loaded.path(loaded.settings.hub.release_dir) / ".visibility.json"
    return MarkingApp(
        loaded=loaded,
        clock=clock,
        key=key,
        book=book.get,
        dates=dates,
        visibility=VisibilityRules(rules, opens=dates.openings),
        source=source,
        record=record,
        works=works,
    )


@dataclass(frozen=True, slots=True)
class Marker:
    """A person who marks: an instructor, or a marker of the items open for marking."""

    name: str
    role: Role


def enter_marking(request: Request, name: str, role: Role) -> None:
    """Put the person into the request; not a student: a handler reached by mistake would fail."""
    if role is not Role.STUDENT:
        request.scope[MARKER] = Marker(name, role)


def marker_of(request: Request) -> Marker | None:
    marker: Marker | None = request.scope.get(MARKER)
    return marker


async def check_marker(request: Request, role: Role, course_dir: Path) -> None:
    """Check that a person with this role may mark the assignment of the path, if it names one."""
    if role is Role.INSTRUCTOR:
        return
    if role is not Role.MARKER:
        raise Forbidden("Marker access required")
    assignment = request.path_params.get(ASSIGNMENT)
    if assignment is None:
        return
    names = await to_thread.run_sync(open_for_marking, course_dir)
    if nfc(assignment) not in names:
        raise Forbidden(
            "This assignment is not open for marking.", hint="Ask an instructor to open it."
        )


def check_instructor(role: Role) -> None:
    if role is not Role.INSTRUCTOR:
        raise Forbidden("Instructor access required")


async def _marking(request: Request) -> MarkingApp:
    await _marker(request)
    return cast(MarkingApp, request.scope[APP].marking)


async def _marker(request: Request) -> Marker:
    return cast(Marker, request.scope[MARKER])  # a student that got here by mistake fails


CurrentMarking = Annotated[MarkingApp, Depends(_marking)]
CurrentMarker = Annotated[Marker, Depends(_marker)]


def answer_id(key: bytes, assignment: str, student: str) -> str:
    """Return the name of a student's work in addresses: 16 hexadecimal digits."""
    return _digest(key, "answer", assignment, student)[:_NAME_LENGTH]


def group_id(key: bytes, assignment: str, question: str, first: str) -> str:
    """Return the name of a group of equal answers; ``first`` is one of its students."""
    return _digest(key, "group", assignment, question, first)[:_NAME_LENGTH]


def student_of(key: bytes, assignment: str, named: str, students: Iterable[str]) -> str:
    """Return whose work has this name. Raises: NotFound if it is none of these students'."""
    for student in students:
        if answer_id(key, assignment, student) == named:
            return student
    raise NotFound("There is no such answer.")


def marking_order(
    key: bytes, assignment: str, marker: str, students: Iterable[str]
) -> tuple[str, ...]:
    """Return the students in a marker's order: random, and always the same."""
    named = ((_digest(key, "order", assignment, marker, each), each) for each in students)
    return tuple(student for _, student in sorted(named))


def question_address(question: str) -> str:
    """Return a question's key as one part of a path; plain keys stay as they are."""
    if question == WHOLE:
        return _WHOLE
    if _PLAIN.fullmatch(question):
        return question
    coded = base64.urlsafe_b64encode(question.encode("utf-8", "surrogatepass"))
    return _CODED + coded.decode().rstrip("=")


def question_of(address: str) -> str:
    """Return the question's key. Raises: NotFound if there is no such address."""
    if address == _WHOLE:
        return WHOLE
    if _PLAIN.fullmatch(address):
        return address
    if not address.startswith(_CODED):
        raise NotFound("There is no such question.")
    coded = address.removeprefix(_CODED).encode("ascii", "replace")
    try:
        data = base64.b64decode(coded + b"=" * (-len(coded) % 4), b"-_", validate=True)
        return data.decode("utf-8")  # the gradebook keeps no key with a lone surrogate
    except (binascii.Error, ValueError) as error:
        raise NotFound("There is no such question.") from error


def question_title(question: str) -> str:
    return question or _WHOLE_TITLE


def _digest(key: bytes, *parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hmac.digest(key, text, "sha256").hex()


@dataclass(frozen=True, slots=True)
class Answers:
    """An assignment's answers in a marker's order; ``labels`` by student: "Answer 12", or names."""

    assignment: ItemName
    order: tuple[str, ...]
    labels: Mapping[str, str]
    key: bytes

    def id_of(self, student: str) -> str:
        return answer_id(self.key, self.assignment, student)

    def student_of(self, answer: str) -> str:
        return student_of(self.key, self.assignment, answer, self.order)


def known_markers(marking: MarkingApp, book: Gradebook, assignment: str) -> tuple[str, ...]:
    """Return the people who may be given a request: those who marked, and the settings' markers.

    Others may have a role that marks by a token or a learning platform.
    """
    settings = marking.loaded.settings
    listed = {*settings.marking.markers, *settings.hub.instructors}
    return tuple(sorted(listed | markers_of(book, assignment)))


def may_mark(marker: Marker, student: str) -> bool:
    """Return whether a person may mark a student's answer: any but, as a marker, their own."""
    return marker.role is Role.INSTRUCTOR or not is_same_person(student, marker.name)


def may_show_names(marking: MarkingApp, marker: Marker) -> bool:
    return marker.role is Role.INSTRUCTOR or marking.loaded.settings.marking.names != "never"


def names_shown(marking: MarkingApp, marker: Marker, asked: bool | None) -> bool:
    """Return whether names are shown; ``asked`` None means as the course's setting says."""
    if asked is None:
        return marking.loaded.settings.marking.names == "shown"
    return asked and may_show_names(marking, marker)


@dataclass(frozen=True, slots=True)
class Here:
    """A request about an assignment; most of its methods block.

    ``question`` is the key of the question in the path, and ``answer`` the name of the answer, ""
    where the path has none.
    """

    request: Request
    marking: MarkingApp
    marker: Marker
    item: ItemName
    question: str
    answer: str

    @property
    def book(self) -> Gradebook:
        return self.marking.book()

    @property
    def autograded(self) -> Path:
        return self.marking.loaded.path(self.marking.loaded.settings.dirs.autograded) / self.item

    @property
    def submitted(self) -> Path:
        return self.marking.loaded.path(self.marking.loaded.settings.dirs.submitted) / self.item

    def answers(self, names: bool | None = None) -> Answers:
        """Return the assignment's answers; ``names`` None means as the course's setting says."""
        key, book = self.marking.key, self.book
        students = QuestionMarks(book).students(self.item)
        order = marking_order(key, self.item, self.marker.name, students)
        shown = names_shown(self.marking, self.marker, names)
        full = book.students() if shown else {}
        labels = {
            student: (full.get(student) or student) if shown else f"Answer {number}"
            for number, student in enumerate(order, start=1)
        }
        return Answers(self.item, order, labels, key)

    def student(self) -> str:
        students = QuestionMarks(self.book).students(self.item)
        return student_of(self.marking.key, self.item, self.answer, students)

    def markable(self) -> str:
        """Return the student of the answer in the path, which the person may mark.

        Instructors have every right in the course and may mark a trial submission of their own.

        Raises: NotFound as :meth:`student`, Forbidden if it is the marker's own.
        """
        student = self.student()
        if not may_mark(self.marker, student):
            raise Forbidden(
                "This is your own answer.", hint="Another marker or an instructor marks it."
            )
        return student

    def demand_question(self, key: str) -> None:
        """Raise NotFound for a question that the assignment does not have."""
        known = (each.key for each in self.marking.progress.of(self.book, self.item).known)
        if key != WHOLE and key not in known:
            raise NotFound(f"{self.item} has no question {key[:100]!r}.")

    async def read(self, shape: type[B]) -> B:
        return await read_json(self.request, shape, _LIMIT)

    async def record(self, action: str, *what: str) -> None:
        await self.marking.record(self.request, action, *what)


async def _here(request: Request, marking: CurrentMarking, marker: CurrentMarker) -> Here:
    named = request.path_params
    question = question_of(named["question"]) if "question" in named else WHOLE
    item = ItemName.valid(named["a"])
    if item is None:
        raise NotFound("There is no such assignment.")
    return Here(request, marking, marker, item, question, named.get("answer", ""))


CurrentHere = Annotated[Here, Depends(_here)]
