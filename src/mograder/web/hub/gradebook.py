"""The gradebook in the browser: a table of students by items, a student's page, and files of both.

Each source of the table is read once for the whole class. A workbook (XLSX, ECMA-376) is written
from a template.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.core.clock import is_after
from mograder.core.csv_table import number_text, write_table
from mograder.core.item_dates import DueDates
from mograder.core.names import INSTRUCTOR, ItemName, Username, is_rehearsal, nfc
from mograder.grading.course_late import CountedGrade, CourseLate
from mograder.grading.release.feedback import NO_KEY, CourseFeedback
from mograder.grading.release.student_marks import telling, untold_students
from mograder.store.copies.workspaces import CopyFacts, CopyState
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import LateFacts, LateWork
from mograder.store.gradebook.mark_release import MarkReleases
from mograder.store.marking.regrade_requests import RegradeRequests
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.items.grading import ungraded
from mograder.web.marking.context import question_title
from mograder.web.pages import load_pages, outcome, page, saved_file, saved_table, sheet_of
from mograder.web.route import Access, Route

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_PERCENT = 100.0

_LINES_SHOWN = 500
"""Students on a page: a class is searched as one, but 3,000 by 20 items are 6.5 MB of HTML."""

_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_PARTS = (
    *("[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"),
    *("xl/_rels/workbook.xml.rels", "xl/worksheets/sheet1.xml"),
)
_LONGEST_TEXT = 32_767
_WIDEST = 60
_FIRST = (1980, 1, 1, 0, 0, 0)
_Cell = str | float | None


class WorkState(StrEnum):
    """How far a student's work on an item is; the last that applies."""

    NOT_BEGUN = "not begun"
    WORKING = "working"
    HANDED_IN = "handed in"
    LATE = "late"
    """Handed in after the student's own due date, and without a mark."""
    MARKED = "marked"
    RELEASED = "released"
    REQUESTED = "requested"
    """The student asks to look at a mark again, and that is not decided."""


_HANDED_IN_LATE = WorkState.HANDED_IN, WorkState.LATE


@dataclass(frozen=True, slots=True)
class Column:
    """One item; ``most`` is its full mark, None while nothing of it was graded."""

    item: str
    weight: float
    most: float | None
    due: DueDates


@dataclass(frozen=True, slots=True)
class Work:
    """A student's work on an item; ``late`` is whether it was received after its due date.

    Of work that was graded it is about the submission with the mark. ``received`` is when the
    newest one was; ``newer`` is whether that one waits, and one before is graded.
    """

    state: WorkState
    mark: float | None = None
    late: bool = False
    received: datetime | None = None
    newer: bool = False

    @property
    def text(self) -> str:
        late = self.late and self.state is not WorkState.LATE
        told = (self.state.value, "late" if late else "", "newer submission" if self.newer else "")
        return ", ".join(filter(None, told))


@dataclass(frozen=True, slots=True)
class Line:
    """One student. ``total`` and ``so_far`` are per cent, None where they say nothing.

    ``total`` counts an item without a mark as 0, ``so_far`` leaves it out.
    """

    student: str
    name: str
    works: tuple[Work, ...]
    total: float | None
    so_far: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """The lines are in alphabetical order, the columns by due date, those without one last."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The lines that a person wants: of untrusted parameters, so unknown ones choose nothing.

    ``q`` is in the name. ``state`` is a state of the work on ``item``, or on any if that is empty.
    ``sort`` is "name", "total", "far", or an item; ``order`` is "down" to reverse it.
    """

    q: str = ""
    item: str = ""
    state: str = ""
    sort: str = "name"
    order: str = ""

    def query(self, **news: str) -> dict[str, str]:
        usual, wanted = asdict(Choice()), asdict(replace(self, **news))
        return {key: text for key, text in wanted.items() if text != usual[key]}


async def gradebook_page(request: Request, app: CurrentApp) -> Response:
    choice = _choice(request)
    table, lines = await _chosen(app, choice)
    shown = partial(
        page,
        request,
        "gradebook/class.html",
        here="gradebook",
        table=table,
        counted=app.copy_counts.last.at is not None,
        sheet=sheet_of(lines, request, _LINES_SHOWN),
        choice=choice,
        states=tuple(WorkState),
        number=number_text,
    )
    return await to_thread.run_sync(shown)  # ten thousand cells take long to render


async def gradebook_csv(request: Request, app: CurrentApp) -> Response:
    head, rows = _cells(*await _chosen(app, _choice(request)))
    await app.audit.record(request, "export gradebook", "CSV")
    return saved_table(write_table(head, rows), "gradebook.csv")


async def gradebook_xlsx(request: Request, app: CurrentApp) -> Response:
    head, rows = _cells(*await _chosen(app, _choice(request)))
    await app.audit.record(request, "export gradebook", "XLSX")
    data = await to_thread.run_sync(write_workbook, head, rows)
    return saved_file(data, "gradebook.xlsx", _XLSX)


async def student_page(user: str, request: Request, app: CurrentApp) -> Response:
    """Show all about one student; only this student's folder is read."""
    name = Username.of_account(user)
    values = await to_thread.run_sync(_values, app, name)
    sessions = [each for each in app.services.pool.all() if each.key.user == name]
    opened = sorted({each.key.item for each in sessions})
    done, item = outcome(request)
    return page(
        request,
        "gradebook/student.html",
        200,
        here="gradebook",
        **values,
        name=name,
        sessions=sessions,
        messages=[each for one in opened for each in app.desk.messages(one, name)],
        help=[each for each in app.desk.requests() if each.username == name],
        now=app.services.clock.now(),
        number=number_text,
        title_of=question_title,
        done=done,
        done_item=item,
    )


async def _chosen(app: HubApp, choice: Choice) -> tuple[Table, list[Line]]:
    count = await app.copy_counts.look()
    table = await to_thread.run_sync(read_table, app, count.copies)
    return table, choose(table, choice)


def choose(table: Table, choice: Choice) -> list[Line]:
    items = [column.item for column in table.columns]
    places = [items.index(choice.item)] if choice.item in items else list(range(len(items)))

    def is_so(work: Work) -> bool:
        late = choice.state == WorkState.LATE and work.late
        return work.state == choice.state or late or (choice.state, work.state) == _HANDED_IN_LATE

    def wanted(line: Line) -> bool:
        text = choice.q.casefold()
        if text not in line.student.casefold() and text not in line.name.casefold():
            return False
        return not choice.state or any(is_so(line.works[at]) for at in places)

    lines = [line for line in table.lines if wanted(line)]
    if choice.sort == "name":
        return lines[::-1] if choice.order else lines
    at = items.index(choice.sort) if choice.sort in items else -1
    sign = -1 if choice.order else 1

    def key(line: Line) -> tuple[bool, float]:
        value = {"total": line.total, "far": line.so_far}.get(choice.sort)
        if at >= 0:
            value = line.works[at].mark
        return value is None, sign * (value or 0.0)

    return sorted(lines, key=key)


def _choice(request: Request) -> Choice:
    names = asdict(Choice())
    text, item, state, sort, order = (request.query_params.get(each, "")[:100] for each in names)
    known = state if state in tuple(WorkState) else ""
    return Choice(text.strip(), item, known, sort or "name", "down" if order == "down" else "")


def _cells(table: Table, lines: Sequence[Line]) -> tuple[list[str], list[list[str | float | None]]]:
    columns = [text for each in table.columns for text in (each.item, f"{each.item} state")]
    head = ["student", "name", *columns, "total %", "so far %"]
    rows: list[list[str | float | None]] = []
    for line in lines:
        works = [cell for work in line.works for cell in (work.mark, work.text)]
        rows.append([line.student, line.name, *works, line.total, line.so_far])
    return head, rows


def _values(app: HubApp, user: Username) -> dict[str, object]:
    copies, book = app.services.workspaces.facts_of(user), app.book()
    table = read_table(app, {user: copies}, user)
    facts = LateWork(book).facts() if book else LateFacts()
    (line,) = table.lines
    return {
        "enrolled": app.services.roster.allows(user, Role.STUDENT),
        "copies": [(each, app.results.of(user, each.item)) for each in copies],
        "line": line,
        "full_name": line.name,
        "items": list(zip(table.columns, line.works, strict=True)),
        "requests": RegradeRequests(book).of(student=user) if book else (),
        "extensions": [
            each
            for each in facts.extensions.values()
            if each.student == user or (each.group, user) in facts.members
        ],
    }


@dataclass(frozen=True, slots=True)
class _Facts:
    """The facts about all work on an item, by student: the marks, and the times of receipt.

    ``newer`` have handed in again since they were graded; ``begun`` have edited a copy.
    """

    marks: Mapping[str, CountedGrade]
    shown: Set[str]
    asked: Set[str]
    received: Mapping[str, datetime]
    newer: Set[str]
    begun: Set[str]


def read_table(
    app: HubApp, copies: Mapping[Username, Sequence[CopyFacts]], student: Username | None = None
) -> Table:
    """Return the table of the class, or of one student, from the known ``copies``; blocks."""
    book = app.book()
    columns = _columns(app, book)
    facts = _facts(app, columns, book, copies, student)
    names = book.students() if book else {}
    people = [student] if student is not None else _people(app, facts.values(), names, copies)
    works = [[_work(each, name, facts[each.item]) for name in people] for each in columns]
    lines = []
    for at, name in enumerate(people):
        own = tuple(each[at] for each in works)
        lines.append(Line(name, names.get(name, ""), own, *totals(columns, own)))
    return Table(columns, tuple(lines))


def totals(columns: Sequence[Column], works: Sequence[Work]) -> tuple[float | None, float | None]:
    """Return the weighted means in per cent: of all items, and of those with a mark."""
    parts = [
        (column.weight, None if work.mark is None or not column.most else work.mark / column.most)
        for column, work in zip(columns, works, strict=True)
        if column.weight and column.most != 0  # nothing can be earned in one of 0
    ]
    got = sum(weight * part for weight, part in parts if part is not None)
    everything = sum(weight for weight, _ in parts)
    marked = sum(weight for weight, part in parts if part is not None)
    return (
        _PERCENT * got / everything if everything else None,
        _PERCENT * got / marked if marked else None,
    )


def _columns(app: HubApp, book: Gradebook | None) -> tuple[Column, ...]:
    most = {each.name: each.max_mark for each in (book.assignments() if book else ())}
    published = {str(name) for name in app.services.releases.assignments()}
    settings = app.services.loaded.settings
    columns = (
        Column(each, settings.of_item(each).weight, most.get(each), app.dates.of(each))
        for each in published | most.keys()
    )

    def by_due(column: Column) -> tuple[float, str]:
        due = column.due.general
        return (due.timestamp() if due else float("inf"), column.item.casefold())

    return tuple(sorted(columns, key=by_due))


def _facts(
    app: HubApp,
    columns: Iterable[Column],
    book: Gradebook | None,
    copies: Mapping[Username, Sequence[CopyFacts]],
    student: str | None,
) -> Mapping[str, _Facts]:
    marks: defaultdict[str, dict[str, CountedGrade]] = defaultdict(dict)
    only = None if student is None else (student,)
    course = CourseLate(app.services.loaded).course(book, only) if book else {}
    for name, counted in course.items():
        marks[name] = {nfc(each.grade.student): each for each in counted}
    requests = RegradeRequests(book).of(student=student) if book else ()
    asked = _by_item((each.assignment, each.student) for each in requests if each.waits)
    shown = _shown(app, book, student) if book else defaultdict(set)
    begun = _by_item(
        (each.item, user)
        for user, found in copies.items()
        for each in found
        if each.state is not CopyState.DOWNLOADED
    )
    found = {}
    for name in (column.item for column in columns):
        received, newer = _arrivals(app, name, marks[name])
        found[name] = _Facts(marks[name], shown[name], asked[name], received, newer, begun[name])
    return found


def _shown(app: HubApp, book: Gradebook, student: str | None) -> Mapping[str, Set[str]]:
    now, late_work = app.services.clock.now(), LateWork(book).facts()
    found = _by_item(MarkReleases(book).shown(now, student))
    for item, students in found.items():
        feedback = CourseFeedback(app.services.loaded, book, item, NO_KEY, now)
        untold = untold_students(feedback, telling(feedback, late_work))
        found[item] = students - set(map(nfc, untold))
    return found


def _by_item(pairs: Iterable[tuple[str, str]]) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for item, student in pairs:
        found[item].add(nfc(student))
    return found


def _arrivals(
    app: HubApp, item: str, marks: Mapping[str, CountedGrade]
) -> tuple[Mapping[str, datetime], Set[str]]:
    """Return when the newest work came, and the students with a mark of other work; blocks."""
    name = ItemName.valid(item)
    if name is None:
        return {}, set()
    received = app.submissions.arrivals(name)
    later = {
        user: at
        for user, at in received.items()
        if (graded := _graded_at(marks.get(user))) is not None and at != graded
    }
    waiting = ungraded(app, name, later) if later else {}
    return received, {user for user, before in waiting.items() if before}


def _graded_at(counted: CountedGrade | None) -> datetime | None:
    time = counted.deduction.time if counted else None
    return time.received if time else None


def _people(
    app: HubApp,
    facts: Iterable[_Facts],
    names: Mapping[str, str],
    copies: Mapping[Username, Sequence[CopyFacts]],
) -> list[str]:
    """Return the students who may enter, and those with a copy, a submission or a mark.

    Where every user may, also the people whom the gradebook names: a name stays when its owner
    leaves.
    """
    roster = app.services.roster.students()
    worked = {user for each in facts for user in (*each.marks, *each.received)}
    listed = {*(names if roster is None else roster), *map(str, copies)}
    found = (listed - app.services.policy.staff) | worked
    shown = (each for each in found if each != INSTRUCTOR and not is_rehearsal(each))
    return sorted(shown, key=str.casefold)


def _work(column: Column, student: str, facts: _Facts) -> Work:
    counted, at = facts.marks.get(student), facts.received.get(student)
    mark = counted.grade.final if counted else None
    judged, due = _graded_at(counted) or at, column.due.of(student)
    late = judged is not None and due is not None and is_after(judged, due)
    if student in facts.asked:
        state = WorkState.REQUESTED
    elif student in facts.shown:
        state = WorkState.RELEASED
    elif mark is not None:
        state = WorkState.MARKED
    elif late:
        state = WorkState.LATE
    elif at is not None or counted is not None:
        state = WorkState.HANDED_IN
    else:
        state = WorkState.WORKING if student in facts.begun else WorkState.NOT_BEGUN
    return Work(state, mark, late, at, student in facts.newer)


def write_workbook(columns: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> bytes:
    """Return a workbook whose first row names the columns.

    Every text is an inline string, which no spreadsheet program takes for a formula.
    """

    def fit(cell: _Cell) -> _Cell:
        if not isinstance(cell, str):
            return cell
        return _REFUSED.sub("\N{REPLACEMENT CHARACTER}", cell)[:_LONGEST_TEXT] or None

    lines = [[fit(cell) for cell in line] for line in (columns, *rows)]
    lengths = (
        [len(cell) for cell in column if isinstance(cell, str)]
        for column in zip(*lines, strict=True)
    )
    widths = [min(max(each, default=0), _WIDEST) + 2 for each in lengths]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for part in _PARTS:
            text = load_pages().render("workbook.xml", "", part=part, lines=lines, widths=widths)
            packed.writestr(zipfile.ZipInfo(part, _FIRST), text.strip(), zipfile.ZIP_DEFLATED)
    return file.getvalue()


ROUTES = (
    Route("GET", "/course/gradebook", gradebook_page, Access.INSTRUCTOR),
    Route("GET", "/course/gradebook.csv", gradebook_csv, Access.INSTRUCTOR),
    Route("GET", "/course/gradebook.xlsx", gradebook_xlsx, Access.INSTRUCTOR),
    Route("GET", "/course/students/{user}", student_page, Access.INSTRUCTOR),
)
