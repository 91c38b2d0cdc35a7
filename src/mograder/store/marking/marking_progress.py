"""The marking of each assignment: whether markers may mark it, their shares, how much is left.

The assignments that are open for markers are in ``marking.json`` in the course's directory
(compatibility-0.3.16.md 5); instructors mark every assignment. A file that cannot be read opens
none.

A share is a row for each student: the marker who is to mark all of the answers. The newest counts.
Counting takes long in a large course, and most assignments do not change while one is marked. So
the numbers are kept in memory, and counted again when the gradebook has other rows.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from sqlalchemy import Connection, ScalarSelect, Table, exists, func, insert, select

from mograder.core.errors import InvalidInput
from mograder.core.files.disk import DISK, Disk, look_for
from mograder.core.names import ItemName, is_same_person, nfc
from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook_marks import read_assignment
from mograder.store.gradebook.gradebook_tables import (
    grading_runs,
    marked_assignments,
    marking_shares,
    question_marks,
    student_work,
)
from mograder.store.gradebook.grading_records import (
    MACHINE,
    WHOLE,
    AssignmentRow,
    QuestionGrade,
    StudentGrade,
    utc_iso,
)
from mograder.store.gradebook.mark_counting import whole_ungraded

_Stamp: TypeAlias = tuple[object, ...]
_FILE, _LIMIT = "marking.json", 1_000_000
_NAMES = TypeAdapter(list[str])
_changing = threading.Lock()


def open_for_marking(course_dir: Path) -> frozenset[str]:
    look_for(course_dir)  # on a share another hub may just have replaced the file
    try:
        return _file(course_dir).get() or frozenset()
    except UnreadableFileError:
        return frozenset()


def set_open_for_marking(
    course_dir: Path, name: str, *, is_open: bool, disk: Disk = DISK
) -> frozenset[str]:
    """Open or close an assignment for markers, and return all open ones; blocks.

    Raises:
        InvalidInput: The name is not one of an assignment.
        Busy: The disk is full.
        Conflict: The file cannot be read, so that the others would be closed.
    """
    item = str(ItemName.parse(name))
    file = _file(course_dir, disk)
    hint = 'Mend it, a list such as ["A1", "A2"], or remove it: nothing is open then.'
    with _changing, file.alone() as write:
        known = file.known("no assignment can be opened or closed for marking", hint) or frozenset()
        names = known | {item} if is_open else known - {item}
        write(f"{json.dumps(sorted(names))}\n".encode())
    return names


def _file(course_dir: Path, disk: Disk = DISK) -> ParsedFile[frozenset[str]]:
    otherwise = "no assignment is open for markers"
    return ParsedFile(course_dir / _FILE, _parse, _LIMIT, otherwise, disk=disk)


def _parse(content: bytes) -> frozenset[str]:
    return frozenset(map(nfc, _NAMES.validate_json(content, strict=True)))


class Shares:
    """The shares of markers in a gradebook; ``chance`` shuffles."""

    def __init__(self, book: Gradebook, chance: random.Random | None = None) -> None:
        self._book = book
        self._chance = chance or random.SystemRandom()

    def of(self, assignment: str) -> Mapping[str, str]:
        """Return the marker of each student's answers, "" for any."""
        wanted = (marking_shares.c.student, marking_shares.c.marker)
        # A row of older gradebooks may be about one question, which says nothing of the others.
        own = (marking_shares.c.assignment == assignment) & (marking_shares.c.question == "")
        ordered = select(*wanted).where(own).order_by(marking_shares.c.id)
        with self._book.reading() as connection:
            return {row.student: row.marker for row in connection.execute(ordered)}

    def share_out(self, assignment: str, markers: Sequence[str], *, by: str, at: datetime) -> None:
        """Share out the answers in equal parts, at random.

        Those that one of the markers has marked stay with that marker. Without markers, every
        marker may mark all.

        Raises: InvalidInput for a marker without a name, or one that is listed twice.
        """
        if len(set(markers)) < len(markers):
            raise InvalidInput("markers: a marker is there twice.")
        if any(not name.strip() or not name.isprintable() for name in markers):
            raise InvalidInput("markers: a marker has no name.")
        made = {"assignment": assignment, "question": "", "by": by, "at": utc_iso(at)}
        with self._book.writing() as connection:
            own = select(student_work.c.student).where(student_work.c.assignment == assignment)
            students = sorted(connection.execute(own).scalars())
            kept = _marked_by(connection, assignment, markers)
            shares = self._parts(students, kept, markers)
            rows = [{**made, "student": each, "marker": shares.get(each, "")} for each in students]
            if rows:
                connection.execute(insert(marking_shares), rows)

    def _parts(
        self, students: Sequence[str], kept: Mapping[str, str], markers: Sequence[str]
    ) -> Mapping[str, str]:
        """Return each student's marker: those who have more marks already get fewer new ones.

        A marker who is a student too gets an own answer only if there is no other marker.
        """
        if not markers:
            return {}
        shares = {student: kept[student] for student in students if student in kept}
        counts = Counter(shares.values())
        free = [student for student in students if student not in shares]
        names = list(markers)
        self._chance.shuffle(free)
        self._chance.shuffle(names)
        # The own answers of markers come first, so that the others can still make the parts equal.
        others_of = {
            each: [name for name in names if not is_same_person(name, each)] for each in free
        }
        for student in sorted(free, key=lambda each: len(others_of[each])):
            others = others_of[student]
            name = min(others or names, key=lambda each: counts[each])
            shares[student] = name
            counts[name] += 1
        return shares


@dataclass(frozen=True, slots=True)
class QuestionProgress:
    """A question's answers in numbers.

    ``state`` is "automatic" for a question with checks, else "manual". ``marked`` have a mark by a
    person, ``waiting`` need one, ``shares`` of these are each marker's, by name.
    """

    key: str
    available: float | None
    state: str
    total: int
    marked: int
    waiting: int
    shares: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AssignmentProgress:
    """An assignment in numbers: ``graded`` are the students with a result of grading.

    ``known`` are all its questions in its order, also those without answers. ``flagged`` are the
    students with marks to look at before they are released.
    """

    graded: int
    known: tuple[QuestionProgress, ...]
    flagged: tuple[str, ...] = ()

    @property
    def questions(self) -> tuple[QuestionProgress, ...]:
        return tuple(each for each in self.known if each.total)

    @property
    def waiting(self) -> int:
        return sum(each.waiting for each in self.questions)

    def of_marker(self, name: str) -> int:
        return sum(each.shares.get(name, 0) for each in self.questions)


class MarkingProgress:
    """The progress of assignments; thread-safe.

    Mutable state: ``_known`` and ``_waiting``, the last numbers of each assignment and what they
    were counted from.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[_Stamp, AssignmentProgress]] = {}
        self._waiting: dict[str, tuple[_Stamp, int]] = {}

    def of(self, book: Gradebook, assignment: str) -> AssignmentProgress:
        stamp = _stamp(book, assignment)  # before the rows are read, so that no change is missed
        known = self._known.get(assignment)
        if known is None or known[0] != stamp:
            known = self._known[assignment] = stamp, _count(book, assignment)
        return known[1]

    def waiting(self, book: Gradebook, assignment: str) -> int:
        """Return how many answers wait, from the marks of those students who may have some."""
        stamp = _stamp(book, assignment)
        known, waiting = self._known.get(assignment), self._waiting.get(assignment)
        if known is not None and known[0] == stamp:
            return known[1].waiting
        if waiting is None or waiting[0] != stamp:
            found = _count(book, assignment, _unfinished(book, assignment)).waiting
            waiting = self._waiting[assignment] = stamp, found
        return waiting[1]


def _count(
    book: Gradebook, assignment: str, students: Collection[str] | None = None
) -> AssignmentProgress:
    """Return the numbers of students, or of all; ``graded`` are always all."""
    shares, grades = Shares(book).of(assignment), book.grades(assignment, students)
    with book.reading() as connection:
        row = read_assignment(connection, assignment) or AssignmentRow(assignment)
        graded = connection.execute(
            select(func.count()).where(student_work.c.assignment == assignment)
        ).scalar_one()
    flagged = tuple(each.student for each in grades if each.flags)
    return AssignmentProgress(graded, tuple(_questions(row, grades, shares)), flagged)


def _unfinished(book: Gradebook, assignment: str) -> Collection[str] | None:
    """Return the students of whom an answer may wait for a mark; None for all.

    They have no total then, unless 0.3.16 gave it or no question has marks.
    """
    c, runs = student_work.c, grading_runs.c
    graded = exists().where(runs.assignment == c.assignment, runs.student == c.student)
    wanted = select(c.student).where(c.assignment == assignment, c.total.is_(None) | ~graded)
    with book.reading() as connection:
        row = read_assignment(connection, assignment)
        if row is None or not row.marks:
            return None
        return connection.execute(wanted).scalars().all()


def _questions(
    assignment: AssignmentRow, grades: Sequence[StudentGrade], shares: Mapping[str, str]
) -> Iterator[QuestionProgress]:
    """Yield the questions with answers in the assignment's order, the whole submission last.

    That one is left out where questions are marked one by one, and no submission has a mark for the
    whole. Of others, the questions are marked, or wait, one by one.
    """
    marks = assignment.marks or {}
    answers: defaultdict[str, list[tuple[str, QuestionGrade]]] = defaultdict(list)
    answers.update({key: [] for key in marks or (WHOLE,)})
    for grade in grades:
        for each in grade.questions:
            answers[each.key].append((grade.student, each))
        if grade.whole is not None or not marks:
            whole = grade.whole or whole_ungraded(assignment)
            answers[WHOLE].append((grade.student, whole))
    available = {**marks, WHOLE: whole_ungraded(assignment).available}
    for key in sorted(answers, key=lambda each: each == WHOLE):
        if answers[key] or key == WHOLE:
            waiting = [student for student, each in answers[key] if each.open]
            parts = Counter(shares.get(student, "") for student in waiting)
            yield QuestionProgress(
                key=key,
                available=available.get(key),
                state="automatic" if key in assignment.automatic else "manual",
                total=len(answers[key]),
                marked=sum(bool(each.marker) for _, each in answers[key]),
                waiting=len(waiting),
                shares={name: count for name, count in parts.items() if name},
            )


def _stamp(book: Gradebook, assignment: str) -> _Stamp:
    """Return values of which one differs after every change."""

    def newest(table: Table) -> ScalarSelect[Any]:
        wanted = select(func.max(table.c.id)).where(table.c.assignment == assignment)
        return wanted.scalar_subquery()

    rows = student_work.c
    facts = select(
        newest(question_marks),
        newest(grading_runs),
        newest(marking_shares),
        func.count(),
        func.total(rows.total),
    ).where(rows.assignment == assignment)
    table = select(marked_assignments).where(marked_assignments.c.name == assignment)
    with book.reading() as connection:
        return (*connection.execute(facts).one(), connection.execute(table).one_or_none())


def _marked_by(
    connection: Connection, assignment: str, markers: Sequence[str]
) -> Mapping[str, str]:
    """Return the students with a mark by one of the markers; the last of these counts.

    A comment is no mark, and another person's mark of one question leaves the others.
    """
    marks = question_marks.c
    own = (marks.assignment == assignment) & (marks.marker != MACHINE)
    last = select(func.max(marks.id)).where(own).group_by(marks.student, marks.question)
    given = select(marks.student, marks.marker).where(
        marks.id.in_(last), marks.points.is_not(None), marks.marker.in_(markers)
    )
    return {row.student: row.marker for row in connection.execute(given.order_by(marks.id))}
