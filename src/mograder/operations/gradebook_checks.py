"""Checks of the gradebook: marks of 0.3.16 that mean something else than they seem to, and damage.

``mograder gradebook check`` prints all of them, ``mograder hub check`` the first of each kind.
compatibility-0.3.16.md 9 describes the traps. Nothing is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from shlex import quote

from mograder.core.names import nfc
from mograder.core.settings import LoadedSettings
from mograder.notebook.points import FEEDBACK
from mograder.operations.report import Line, note, ok, problem
from mograder.store.filesystem.files import entry_named
from mograder.store.gradebook.exchange_0316 import is_doubtful
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.gradebook_0316 import Gradebook0316, Row0316
from mograder.store.gradebook.grading_records import (
    EARLIER_MARKER,
    MACHINE,
    AssignmentRow,
    RecordedRun,
    StudentGrade,
)
from mograder.store.gradebook.mark_counting import is_stale
from mograder.store.submissions.submitted_files import submitted_files

Verifies = Callable[[RecordedRun], bool]
"""Whether a run's signature is that of its result."""

_SHOWN = 3
_LARGEST = 5_000_000
_TEXT_MARK = re.compile(r"^[ \t]*_mark[ \t]*=[ \t]*(\d+(?:\.\d+)?)[ \t]*(?:#.*)?$", re.MULTILINE)
_PERCENT = 100.0
_EARLIER = {MACHINE, EARLIER_MARKER}


def gradebook_lines(loaded: LoadedSettings) -> Iterator[Line]:
    """Yield the findings for a hub's check, the first ones of each kind."""
    found = sorted(check_gradebook(loaded), key=lambda line: line.check)
    for check, lines in groupby(found, key=lambda line: line.check):
        listed = list(lines)
        yield from listed[:_SHOWN]
        if len(listed) > _SHOWN:
            more = f"gradebook: {len(listed) - _SHOWN} more of these"
            yield note(check, more, "All of them: mograder gradebook check")


def check_gradebook(
    loaded: LoadedSettings, verifies: Verifies | None = None, names: Iterable[str] = ()
) -> Iterator[Line]:
    """Yield a line for each finding in these assignments, none for all.

    Without ``verifies`` the signatures of results are not checked.
    """
    wanted = frozenset(names)
    with viewed_gradebook(loaded.gradebook_path) as book:
        for assignment, student, column in book.damaged_0316():
            if not wanted or assignment in wanted:
                who = f"{assignment}, {student}" if student else assignment
                text = f"gradebook: {who}: {column} is no valid JSON"
                hint = "0.3.16 cannot open this; `mograder gradebook export-0316` writes it anew."
                yield problem("gradebook-json", text, hint)
        theirs = book.marks_0316()
        for name in (each.name for each in book.assignments()):
            if not wanted or name in wanted:
                yield from _of_assignment(book, name, theirs, loaded)
                yield from () if verifies is None else _forged(book, name, verifies)


def all_well(lines: Iterable[Line]) -> Iterator[Line]:
    found = list(lines)
    yield from found or [ok("gradebook", "gradebook: nothing to report")]


def _of_assignment(
    book: Gradebook, name: str, theirs: Gradebook0316, loaded: LoadedSettings
) -> Iterator[Line]:
    grades = {each.student: each for each in book.grades(name)}
    yield from _unknown(name, loaded, students=len(grades))
    rows = {row.student: row for row, _ in theirs.submissions if row.assignment == name}
    folder = entry_named(loaded.path(loaded.settings.dirs.submitted), name)
    # Also those whose link is missing, or whose name is stored in another form of Unicode.
    files = submitted_files(folder) if folder.is_dir() else ()
    handed_in = {each.student for each in files if each.path.is_file()}
    for student, grade in grades.items():
        given = (*grade.questions, *([grade.whole] if grade.whole is not None else []))
        # Whether only mograder 0.3.16 has graded and marked the work.
        earlier = grade.run is None and {each.marker for each in given} <= _EARLIER
        row = rows.get(student) if earlier else None
        found = [] if row is None else list(_of_row(row, theirs.assignment(name)))
        yield from found
        for flag in () if found else grade.flags:  # else the flag says it in other words
            yield note("gradebook-flag", f"gradebook: {name}, {student}: {flag}")
        if folder.is_dir() and nfc(student) not in handed_in:
            text = f"gradebook: {name}, {student}: marks without a submission"
            yield note("gradebook-submission", text, f"There is no {student}.py in {folder}.")
    yield from _marks_in_texts(name, grades, loaded)


def _unknown(name: str, loaded: LoadedSettings, *, students: int) -> Iterator[Line]:
    dirs = loaded.settings.dirs
    places = (dirs.source, dirs.release, dirs.submitted)
    if students and not any(entry_named(loaded.path(place), name).is_dir() for place in places):
        text = f"gradebook: {name} has marks ({students} students) and no directory"
        hint = f"Was it renamed? It is not in {', '.join(places)}."
        yield note("gradebook-unknown", text, hint)


def _of_row(row: Row0316, assignment: AssignmentRow) -> Iterator[Line]:
    who = f"gradebook: {row.assignment}, {row.student}"
    if is_doubtful(row, assignment):
        right = (row.auto_mark or 0.0) + round(
            (row.manual_mark or 0.0) / _PERCENT * assignment.manual_available
        )
        text = f"{who}: 0.3.16 graded again and added {row.manual_mark:g} % as points to the total"
        hint = f"It is {row.total_mark:g} and should probably be {right:g}: mark it again."
        yield note("gradebook-regraded", text, hint)
    yield from _of_totals(who, row, assignment)
    if row.penalised_mark == 0 and (row.total_mark or 0) > 0:
        text = f"{who}: the penalty takes all marks, and 0.3.16 exported {row.total_mark:g}"
        yield note("gradebook-zero", text, "Compare the mark on Moodle or the server.")
    if is_stale(row.total_mark, row.penalty_pct, row.penalised_mark):
        text = f"{who}: the mark after the penalty does not belong to the total"
        yield note("gradebook-penalty", text, f"mograder feedback {quote(row.assignment)}")


def _of_totals(who: str, row: Row0316, assignment: AssignmentRow) -> Iterator[Line]:
    if row.manual_mark is not None and row.manual_mark > _PERCENT:
        text = f"{who}: manual_mark is {row.manual_mark:g}, more than 0.3.16's percentage allows"
        yield note("gradebook-percent", text, "It is read as points: the total less auto_mark.")
    if row.total_mark is not None and row.total_mark > assignment.max_mark:
        text = f"{who}: {row.total_mark:g} of {assignment.max_mark:g} marks"
        yield note("gradebook-total", text)
    nothing_manual = row.auto_mark is not None and assignment.manual_available <= 0
    if nothing_manual and row.graded_at and row.total_mark not in (None, row.auto_mark):
        text = f"{who}: every question has checks, and 0.3.16 saved its slider as the total"
        hint = f"The total is {row.total_mark:g}, the checks give {row.auto_mark:g}: grade again."
        yield note("gradebook-slider", text, hint)


def _marks_in_texts(
    name: str, grades: dict[str, StudentGrade], loaded: LoadedSettings
) -> Iterator[Line]:
    """Yield marks in the texts of graded notebooks only, which students could have written."""
    folder = loaded.path(loaded.settings.dirs.autograded) / name
    for path in sorted(folder.glob("*.py")) if folder.is_dir() else ():
        grade = grades.get(path.stem)
        mark = _mark_in(path)
        if mark and (grade is None or (grade.total is None and grade.manual is None)):
            text = f"gradebook: {name}, {path.stem}: _mark = {mark} stands only in {path.name}"
            hint = "It is not read, since a student may have written it. To give it: mograder "
            yield note("gradebook-text", text, f"{hint}gradebook mark {name} {path.stem}")


def _mark_in(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return ""
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
    found = _TEXT_MARK.search(text.partition(FEEDBACK)[2])
    return found[1] if found else ""


def _forged(book: Gradebook, name: str, verifies: Verifies) -> Iterator[Line]:
    # One student after the other: all results at once may be gigabytes.
    for run in (
        run for student in tuple(book.last_works(name)) for run in book.runs(name, student)
    ):
        if not verifies(run):
            text = f"gradebook: {run.assignment}, {run.student}: result {run.number} was changed"
            hint = "Its signature is not ours, or the course's secret changed: grade it again."
            yield problem("gradebook-signature", text, hint)
