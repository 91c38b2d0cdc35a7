"""Marking one question: the mark of each student as it stands, a change, and taking one back.

Each change is one transaction. A marker names the version of the mark that was looked at; if
another person, or grading, changed the mark meanwhile, nothing is saved. Equal answers are marked
together, but for those that a marker takes out of their group.

The points of saved comments are the question's rubric; their sum may make the mark.
:mod:`mograder.store.marking.saved_comments` changes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from shlex import quote

from sqlalchemy import Connection, func, select

from mograder.core.errors import Conflict, InvalidInput, NotFound
from mograder.marks import sum_of_marks
from mograder.store.database.database import add_row, columns_of
from mograder.store.gradebook.gradebook import Gradebook, OfBook
from mograder.store.gradebook.gradebook_marks import (
    MARKS,
    GivenMarks,
    demand_work,
    insert_details,
    insert_mark,
    markable,
    put_total,
    read_details,
    read_rows,
    read_student,
    record_given,
)
from mograder.store.gradebook.gradebook_tables import (
    answer_separations,
    question_marks,
    rubrics,
    saved_comments,
    student_work,
)
from mograder.store.gradebook.grading_records import (
    EARLIER_MARKER,
    MACHINE,
    MANUAL,
    WHOLE,
    MarkDetails,
    MarkEntry,
    QuestionGrade,
    RecordedMark,
    StudentGrade,
    utc_iso,
)
from mograder.store.gradebook.mark_counting import (
    StudentRows,
    grade_of,
    is_superseded,
    question_grade,
)

NO_DETAILS = MarkDetails()
NOTHING_SAID: tuple[object, ...] = (None, NO_DETAILS, "")
"""The content of a mark that was taken back, or never given."""


@dataclass(frozen=True, slots=True)
class GivenMark:
    """A mark that a person gave, with how it came about."""

    mark: RecordedMark
    details: MarkDetails = NO_DETAILS

    @property
    def is_empty(self) -> bool:
        """Whether it is empty: it took back the mark before it."""
        return self.mark.points is None and not self.mark.comment and not self.details.saved

    def says(self) -> tuple[object, ...]:
        """Return what the marker said; points only if they were given as a number."""
        given = self.mark.points if self.details.adjustment is None else None
        return given, self.details, self.mark.comment

    def counts_again(self, before: GivenMark | None) -> bool:
        """Return whether it is the mark before it with other points of its saved comments."""
        if before is None or before.says() != self.says():
            return False
        return before.mark.points != self.mark.points


def steps_of(marks: Iterable[GivenMark]) -> tuple[GivenMark, ...]:
    """Return the steps that led to the present mark of a question, from its rows, oldest first.

    A row of the same marker and run that says the same as the last step, such as one that was
    computed again, belongs to that step. One that takes a step back leaves the one before, or
    stands for it if that did not count.
    """
    steps: list[GivenMark] = []
    for each in marks:
        if each.details.takes_back:
            del steps[-1:]
            if steps and each.says() != steps[-1].says():
                steps[-1] = each
        elif _origin(each) != _origin(steps[-1]) if steps else each.says() != NOTHING_SAID:
            steps.append(each)
    return tuple(steps)


def _origin(given: GivenMark) -> tuple[object, ...]:
    return given.says(), given.mark.marker, given.mark.run


@dataclass(frozen=True, slots=True)
class AnswerMark:
    """The mark of a student's question as it stands.

    ``question`` is the mark that counts. ``given`` is the last one by a person, None if there is
    none or it was taken back. ``whole`` is the mark for all questions without checks together, if
    one counts. ``steps`` are those that can be taken back. ``submission_sha256`` is that of the
    work that was graded last, "" if only mograder 0.3.16 has graded it; ``run`` is that grading.
    """

    student: str
    question: QuestionGrade
    given: GivenMark | None
    whole: QuestionGrade | None
    total: float | None
    version: str
    steps: tuple[GivenMark, ...]
    submission_sha256: str
    run: int | None
    comment: str

    def is_undoable_by(self, marker: str) -> bool:
        return bool(self.steps) and self.steps[-1].mark.marker == marker


class AnswerChanged(Conflict):
    """Raised when an answer's mark was changed meanwhile; ``now`` is what it is."""

    def __init__(self, now: AnswerMark) -> None:
        name = now.question.key or "the submission"
        by = now.given.mark.marker if now.given else ""
        message = f"The mark of {name} was changed meanwhile{f' by {by}' if by else ''}."
        super().__init__(message, hint="Look at it, then save yours again.")
        self.now = now


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the mark of a question; ``version`` is that of the mark looked at.

    ``run`` is that of the answer looked at, None for the newest: a mark that was made on an earlier
    submission asks to look again, and equal answers do not get it.
    """

    question: str
    entry: MarkEntry
    marker: str
    at: datetime
    version: str
    run: int | None = None


class QuestionMarks(OfBook):
    def students(self, assignment: str) -> tuple[str, ...]:
        """Return the students whose work for an assignment can be marked, sorted."""
        wanted = select(student_work.c.student).where(student_work.c.assignment == assignment)
        with self._book.reading() as connection:
            return tuple(sorted(connection.execute(wanted).scalars()))

    def state(self, assignment: str, student: str, question: str) -> AnswerMark:
        """Raise NotFound if the student has no graded work, or there is no such question."""
        with self._book.reading() as connection:
            return _state(connection, read_student(connection, assignment, student), question)

    def history(self, assignment: str, student: str, question: str) -> tuple[GivenMark, ...]:
        """Return every mark that a question had, by grading and by people, oldest first."""
        with self._book.reading() as connection:
            rows = read_student(connection, assignment, student)
            return _history(rows, question, _details_of(connection, [rows], question))

    def give(self, assignment: str, student: str, change: Change) -> AnswerMark:
        """The same change sent again by the same marker is recorded once.

        Raises:
            AnswerChanged: The mark was changed since the change's version.
            InvalidInput: The mark is out of its range, a saved comment does not exist, or a reason
                is missing.
            NotFound: As :meth:`state`.
        """
        return self.give_together(assignment, student, change, {})[0]

    def give_together(
        self, assignment: str, student: str, change: Change, others: Mapping[str, str]
    ) -> tuple[AnswerMark, tuple[str, ...], int]:
        """Record a mark, and the same for other students with an equal answer.

        ``others`` has for each the SHA-256 of the submission whose answer was found equal ("" for
        none): another one that was graded since may hold another answer, and keeps its mark.
        Others that are marked already keep their mark, unless it is the one that this change
        replaces, or one that they got from this answer or together with it; so do those to whom
        grading gave something else. Returns the first one's mark, the others who got it, and how
        many of them keep another one. All of it is one transaction.

        Raises: as :meth:`give`.
        """
        with self._book.writing() as connection:
            rows = read_student(connection, assignment, student)
            now = _state(connection, rows, change.question)
            rubric = read_rubric(connection, assignment, change.question)
            entry = _rubric_entry(
                rubric, change.question, change.entry, now.question.available or 0
            )
            told = {change.question: replace(entry, details=entry.details or NO_DETAILS)}
            given = GivenMarks(told, change.marker, change.at)
            is_newest = change.run not in {each.number for each in rows.runs[:-1]}
            is_said = now.is_undoable_by(change.marker) and not now.question.look_again
            is_said = is_said and now.steps[-1].says() == _said_by(entry)
            if is_superseded(rows, change.question) or not is_said:
                if now.version != change.version:
                    raise AnswerChanged(now)
                seen = given if is_newest else replace(given, run=change.run)
                record_given(connection, rows, seen)
            wanted = {each: work for each, work in others.items() if is_newest and each != student}
            follow, kept = _followers(connection, rows, now, wanted, entry) if wanted else ((), 0)
            for each in follow:
                record_given(connection, each, given)
            after = read_student(connection, assignment, student)
            same = tuple(sorted(each.student for each in follow))
            return _state(connection, after, change.question), same, kept

    def undo(
        self,
        assignment: str,
        student: str,
        question: str,
        *,
        marker: str,
        at: datetime,
        version: str,
    ) -> AnswerMark:
        """Take back the marker's own last change: the mark is again as it was before.

        Raises:
            AnswerChanged: The mark was changed since that version, or the last change is another
                person's.
            Conflict: There is nothing to take back, or newer marks count in place of this one.
            NotFound: As :meth:`give`.
        """
        with self._book.writing() as connection:
            rows = read_student(connection, assignment, student)
            now = _state(connection, rows, question)
            if now.version != version or (now.steps and not now.is_undoable_by(marker)):
                raise AnswerChanged(now)
            if not now.steps:
                raise Conflict("There is no change of yours to take back.")
            if is_superseded(rows, question):
                raise Conflict(
                    "This mark does not count any more: newer ones count in its place.",
                    hint="Give the mark that shall count.",
                )
            before = _before(connection, now, rows, marker)
            write_mark(connection, rows, before, at, takes_back=True)
            return _state(connection, read_student(connection, assignment, student), question)


class Separations(OfBook):
    """The answers of a gradebook that are marked apart from the equal ones."""

    def of(self, assignment: str, question: str) -> frozenset[str]:
        c = answer_separations.c
        own = select(func.max(c.id)).filter_by(assignment=assignment, question=question)
        wanted = select(c.student).where(c.id.in_(own.group_by(c.student)), c.separate)
        with self._book.reading() as connection:
            return frozenset(connection.execute(wanted).scalars())

    def put(
        self,
        assignment: str,
        question: str,
        student: str,
        *,
        separate: bool,
        by: str,
        at: datetime,
    ) -> None:
        """Separate an answer, or put it back. Raises: NotFound without graded work."""
        owner = {"assignment": assignment, "question": question, "student": student}
        with self._book.writing() as connection:
            demand_work(connection, assignment, student)
            made = {"separate": separate, "by": by, "at": utc_iso(at)}
            add_row(connection, answer_separations, **owner, **made)


def write_mark(
    connection: Connection,
    rows: StudentRows,
    given: GivenMark,
    at: datetime,
    *,
    takes_back: bool = False,
) -> StudentGrade:
    """Add a mark to the history; ``rows`` is all that is known of the student so far."""
    rows = insert_mark(connection, rows, replace(given.mark, at=utc_iso(at)))
    insert_details(connection, rows.marks[-1].number, given.details, takes_back=takes_back)
    return put_total(connection, rows)


def _state(connection: Connection, rows: StudentRows, question: str) -> AnswerMark:
    return _answer(rows, question, _details_of(connection, [rows], question))


def _answer(rows: StudentRows, question: str, details: Mapping[int, MarkDetails]) -> AnswerMark:
    if rows.work is None:
        raise NotFound(
            f"The gradebook has no submission of this student for {rows.assignment.name}.",
            hint=f"Grade it first: mograder autograde {quote(rows.assignment.name)}",
        )
    grade = grade_of(rows)
    found = question_grade(rows, question)
    if found is None:
        raise NotFound(f"{grade.assignment} has no question {question[:100]!r}.")
    history = _history(rows, question, details)
    people = [each for each in history if each.mark.marker != MACHINE]
    steps = steps_of(people)
    return AnswerMark(
        rows.student,
        found,
        people[-1] if people and not people[-1].is_empty else None,
        grade.whole,
        grade.total,
        str(max((e.number for e in rows.marks if _is_replaced(e, question, grade)), default=0)),
        steps,
        rows.runs[-1].submission_sha256 if rows.runs else "",
        rows.runs[-1].number if rows.runs else None,
        grade.comment,
    )


def _is_replaced(mark: RecordedMark, question: str, grade: StudentGrade) -> bool:
    """Return whether a new mark of a question would count in place of this one.

    Points that people give for the whole and to questions without checks replace each other.
    """
    if mark.question == question:
        return True
    if WHOLE not in (mark.question, question) or mark.marker == MACHINE or mark.points is None:
        return False
    single = mark.question or question
    return any(each.key == single and each.state == MANUAL for each in grade.questions)


def _details_of(
    connection: Connection, several: Iterable[StudentRows], question: str
) -> Mapping[int, MarkDetails]:
    """Return how the marks of a question by people came about, of several students at once."""
    marks = (mark for rows in several for mark in rows.marks)
    given = (each for each in marks if each.question == question and each.marker != MACHINE)
    return read_details(connection, (each.number for each in given))


def _history(
    rows: StudentRows, question: str, details: Mapping[int, MarkDetails]
) -> tuple[GivenMark, ...]:
    marks = (each for each in rows.marks if each.question == question)
    return tuple(GivenMark(each, details.get(each.number, NO_DETAILS)) for each in marks)


def _gave(history: Sequence[GivenMark], mark: GivenMark) -> bool:
    """Return whether another answer got its mark while one with this history had it, or with it."""
    people = [each for each in history if each.mark.marker != MACHINE]
    until = [each for each in people if each.mark.number < mark.mark.number]
    made = mark.mark.marker, mark.mark.at
    along = [each for each in people if (each.mark.marker, each.mark.at) == made]
    return any(each.says() == mark.says() for each in (*until[-1:], *along))


def _followers(
    connection: Connection,
    first_rows: StudentRows,
    before: AnswerMark,
    wanted: Mapping[str, str],
    entry: MarkEntry,
) -> tuple[tuple[StudentRows, ...], int]:
    """Return the wanted students who get the mark of an equal answer, and the number of the others.

    ``first_rows`` and ``before`` are those of the answer that is marked, before the change.
    """
    key, follow, kept = before.question.key, [], 0
    every = read_rows(connection, first_rows.assignment.name)
    asked = [each for each in every if each.student in wanted and each.work is not None]
    details = _details_of(connection, [first_rows, *asked], key)
    history = _history(first_rows, key, details)
    for rows in asked:
        if question_grade(rows, key) is None:
            continue
        now = _answer(rows, key, details)
        # A mark by saved comments may say the same with other points: of another maximum.
        points = now.given.mark.points if now.given else None
        is_same = _said_now(now) == _said_by(entry) and points == entry.points
        if is_same and not now.question.look_again:
            continue
        if now.submission_sha256 == wanted[rows.student] and _follows(rows, now, before, history):
            follow.append(rows)
        else:
            kept += 1
    return tuple(follow), kept


def _follows(
    rows: StudentRows, now: AnswerMark, first: AnswerMark, history: Sequence[GivenMark]
) -> bool:
    """Return whether a student, whose answer is ``now``, gets the mark of an equal answer.

    That one was ``first`` before the change, with the ``history`` of its marks until then.
    """
    key, before = now.question.key, first.question
    if key == WHOLE and any(
        each.question != WHOLE and each.marker != MACHINE for each in rows.marks
    ):
        return False
    if (now.question.graded, now.question.available) != (before.graded, before.available):
        return False
    if key != WHOLE and now.whole is not None:
        return False
    if _said_now(now) in (NOTHING_SAID, _said_now(first)):
        return True
    return bool(now.steps) and _gave(history, now.steps[-1])


def _said_now(answer: AnswerMark) -> tuple[object, ...]:
    return answer.given.says() if answer.given else NOTHING_SAID


def _said_by(entry: MarkEntry) -> tuple[object, ...]:
    details = entry.details or NO_DETAILS
    return entry.points if details.adjustment is None else None, details, entry.comment


def _before(connection: Connection, now: AnswerMark, rows: StudentRows, marker: str) -> GivenMark:
    """Return the mark before the last step, which the marker takes back.

    It keeps its marker, whose mark it is again, the run on which it was given, so that it is known
    if the work has changed since, and its state: to take a change back confirms no mark from the
    text of a notebook. Points that did not count then are left out: in a new row they would count
    before the newer ones.
    """
    available = markable(grade_of(rows), rows.assignment).get(now.question.key)
    if len(now.steps) == 1:
        run = rows.runs[-1].number if rows.runs else None
        nothing = RecordedMark(0, now.question.key, None, available, MANUAL, "", marker, run)
        return GivenMark(nothing)
    before = now.steps[-2]
    points, details = before.mark.points, before.details
    changed = now.steps[-1].mark.number
    then = replace(rows, marks=[each for each in rows.marks if each.number < changed])
    if is_superseded(then, now.question.key):
        points, details = None, replace(details, adjustment=None)
    elif details.adjustment is not None:
        rubric = read_rubric(connection, rows.assignment.name, now.question.key)
        points = rubric.points(details, before.mark.available or 0.0)
    return GivenMark(replace(before.mark, points=points), details)


def answers_to(book: Gradebook, assignment: str, question: str) -> Mapping[str, QuestionGrade]:
    """Return the marks by student, without those whose work has no such question."""
    with book.reading() as connection:
        rows = read_rows(connection, assignment, question=question)
    found = ((each.student, question_grade(each, question)) for each in rows)
    return {student: grade for student, grade in found if grade is not None}


def markers_of(book: Gradebook, assignment: str) -> frozenset[str]:
    marks = (each for grade in book.grades(assignment) for each in (*grade.questions, grade.whole))
    found = {each.marker for each in marks if each is not None}
    return frozenset(found - {MACHINE, EARLIER_MARKER})


def last_given(
    connection: Connection, assignment: str, question: str
) -> Mapping[str, RecordedMark]:
    """Return the last mark by a person of each student's question, also one taken back."""
    own = (question_marks.c.assignment == assignment) & (question_marks.c.question == question)
    given = own & (question_marks.c.marker != MACHINE)
    last = select(func.max(question_marks.c.id)).where(given).group_by(question_marks.c.student)
    found = connection.execute(MARKS.where(question_marks.c.id.in_(last)))
    return {row[0]: RecordedMark(*row[1:]) for row in found}


class StartsAt(StrEnum):
    """From where the points of a question's saved comments count."""

    ZERO = "zero"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class SavedComment:
    """A comment to use again for answers to a question; one with points is an item of the rubric.

    ``version`` changes with every change. A ``retired`` one is not offered any more, and stays in
    the marks that have it.
    """

    comment: str
    text: str
    points: float | None
    position: int
    version: int
    by: str
    at: str
    retired: bool = False


_COMMENTS = select(*columns_of(saved_comments, SavedComment, version="id"))


@dataclass(frozen=True, slots=True)
class Rubric:
    """A question's saved comments by their identifiers, also retired ones, in their order."""

    starts_at: StartsAt = StartsAt.ZERO
    comments: Mapping[str, SavedComment] = field(default_factory=dict)

    def points(self, details: MarkDetails, available: float) -> float | None:
        """Return the points of a mark by saved comments; None for one given as a number."""
        if details.adjustment is None:
            return None
        items = (self.comments[each].points or 0.0 for each in details.saved)
        return rubric_points(self.starts_at, [*items, details.adjustment], available)


def rubric_points(starts_at: StartsAt, items: Iterable[float], available: float) -> float:
    """Return the sum of a rubric's items, within 0 and the marks available."""
    start = available if starts_at is StartsAt.FULL else 0.0
    return min(max(sum_of_marks([start, *items]), 0.0), available)


def _rubric_entry(rubric: Rubric, question: str, entry: MarkEntry, available: float) -> MarkEntry:
    """Return an entry with the points of saved comments that count. Raises: InvalidInput."""
    details = entry.details
    if details is None:
        return entry
    unknown = [each for each in details.saved if each not in rubric.comments]
    if unknown:
        raise InvalidInput(f"saved: {question or 'The submission'} has no saved comment {unknown}.")
    if len(set(details.saved)) < len(details.saved):
        raise InvalidInput("saved: a saved comment is there twice.")
    if details.adjustment is None:
        return entry
    if not math.isfinite(details.adjustment):
        raise InvalidInput("adjustment: this is no number of marks.")
    return MarkEntry(rubric.points(details, available), entry.comment, details)


def read_rubric(connection: Connection, assignment: str, question: str) -> Rubric:
    starts, c = rubrics.c, saved_comments.c
    own = {"assignment": assignment, "question": question}
    start = select(starts.starts_at).filter_by(**own).order_by(starts.id.desc())
    starts_at = connection.execute(start.limit(1)).scalar()
    last = select(func.max(c.id)).filter_by(**own).group_by(c.comment)
    found = [SavedComment(*row) for row in connection.execute(_COMMENTS.where(c.id.in_(last)))]
    found.sort(key=lambda each: (each.position, each.comment))
    return Rubric(StartsAt(starts_at or StartsAt.ZERO), {each.comment: each for each in found})
