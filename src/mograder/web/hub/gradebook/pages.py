"""The instructors' pages of the gradebook: the class, one student, and the files to download."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.roles import Role
from mograder.core.csv_table import number_text, write_table
from mograder.core.names import Username
from mograder.grading.marking.answer_names import question_title
from mograder.store.gradebook.late_work import Extension, LateFacts, LateWork
from mograder.store.marking.regrade_requests import RegradeRequests
from mograder.web.downloads import saved_file
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.gradebook.table import Line, Table, Work, WorkState, read_table
from mograder.web.pages import outcome, page
from mograder.web.route import Access, Route
from mograder.web.workbook import write_workbook

_HANDED_IN_LATE = WorkState.HANDED_IN, WorkState.LATE
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


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
        """Return the parameters of this choice with some others, without those that are usual."""
        usual, wanted = asdict(Choice()), asdict(replace(self, **news))
        return {key: text for key, text in wanted.items() if text != usual[key]}


async def gradebook_page(request: Request, app: CurrentApp) -> Response:
    """Show the class's work; the parameters choose, as :class:`Choice`."""
    choice = _choice(request)
    table, lines = await _chosen(app, choice)
    shown = partial(
        page,
        request,
        "gradebook/class.html",
        here="gradebook",
        table=table,
        counted=app.copy_counts.last.at is not None,
        lines=lines,
        choice=choice,
        states=tuple(WorkState),
        number=number_text,
    )
    return await to_thread.run_sync(shown)  # ten thousand cells take long to render


async def gradebook_csv(request: Request, app: CurrentApp) -> Response:
    """Return the chosen lines as a CSV file."""
    head, rows = _cells(*await _chosen(app, _choice(request)))
    await app.audit.record(request, "export gradebook", "CSV")
    return saved_file(write_table(head, rows), "gradebook.csv", "text/csv; charset=utf-8")


async def gradebook_xlsx(request: Request, app: CurrentApp) -> Response:
    """Return the chosen lines as a workbook."""
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
    """Return the lines of a choice, in its order; students without what is sorted by come last."""
    items = [column.item for column in table.columns]
    places = [items.index(choice.item)] if choice.item in items else list(range(len(items)))

    def wanted(line: Line) -> bool:
        text = choice.q.casefold()
        if text not in line.student.casefold() and text not in line.name.casefold():
            return False
        return not choice.state or any(_is(line.works[at], choice.state) for at in places)

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


def _is(work: Work, state: str) -> bool:
    late = state == WorkState.LATE and work.late
    return work.state == state or late or (state, work.state) == _HANDED_IN_LATE


def _choice(request: Request) -> Choice:
    names = asdict(Choice())
    text, item, state, sort, order = (request.query_params.get(each, "")[:100] for each in names)
    known = state if state in tuple(WorkState) else ""
    return Choice(text.strip(), item, known, sort or "name", "down" if order == "down" else "")


def _cells(table: Table, lines: Sequence[Line]) -> tuple[list[str], list[list[str | float | None]]]:
    """Return the head and the rows of a file: a mark and a state for each item, and the totals."""
    columns = [text for each in table.columns for text in (each.item, f"{each.item} state")]
    head = ["student", "name", *columns, "total %", "so far %"]
    rows: list[list[str | float | None]] = []
    for line in lines:
        works = [cell for work in line.works for cell in (work.mark, work.text)]
        rows.append([line.student, line.name, *works, line.total, line.so_far])
    return head, rows


def _values(app: HubApp, user: Username) -> dict[str, object]:
    """Return what a student's page shows of files and of the gradebook."""
    copies, book = app.services.workspaces.facts_of(user), app.book()
    table = read_table(app, {user: copies}, user)
    (line,) = table.lines
    return {
        "enrolled": app.services.roster.allows(user, Role.STUDENT),
        "copies": [(each, app.results.of(user, each.item)) for each in copies],
        "line": line,
        "full_name": line.name,
        "items": list(zip(table.columns, line.works, strict=True)),
        "requests": RegradeRequests(book).of(student=user) if book else (),
        "extensions": _extensions(LateWork(book).facts(), user) if book else (),
    }


def _extensions(facts: LateFacts, user: Username) -> list[Extension]:
    groups = {group for group, student in facts.members if student == user}
    return [
        each for each in facts.extensions.values() if each.student == user or each.group in groups
    ]


ROUTES = (
    Route("GET", "/course/gradebook", gradebook_page, Access.INSTRUCTOR),
    Route("GET", "/course/gradebook.csv", gradebook_csv, Access.INSTRUCTOR),
    Route("GET", "/course/gradebook.xlsx", gradebook_xlsx, Access.INSTRUCTOR),
    Route("GET", "/course/students/{user}", student_page, Access.INSTRUCTOR),
)
"""The routes of the gradebook."""
