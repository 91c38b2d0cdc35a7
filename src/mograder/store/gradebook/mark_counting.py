"""Which marks of a student count: the history of marks, and the row that 0.3.16 reads; pure.

A mark by a person counts before the one by grading. 0.3.16 keeps one mark for all questions
without checks together; the newer of this mark and those by question counts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mograder.marks import sum_of_marks
from mograder.store.gradebook.gradebook_rows import AssignmentRow, Marks, unix_time
from mograder.store.gradebook.grading_records import (
    DOUBTFUL,
    EARLIER,
    EARLIER_MARKER,
    IMPORTED,
    MACHINE,
    MANUAL,
    NEEDS_ATTENTION,
    REMOVED,
    UNPROTECTED,
    WHOLE,
    QuestionGrade,
    RecordedMark,
    StudentGrade,
)

_PERCENT = 100.0
_CLOSE = 1e-6
_PENALTY_ROUNDING = 0.5
"""0.3.16 rounds a penalised mark to a whole number."""

OTHER_PENALTY = "The penalty belongs to another mark; `mograder feedback` computes it again"
"""The flag of a penalised mark that does not belong to the total."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A grading run without its result."""

    number: int
    submission_sha256: str
    state: str
    problem: str


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The values that our marks last put into the row that 0.3.16 reads."""

    updated_at: str
    auto_mark: float | None
    manual_mark: float | None
    graded_at: str


@dataclass(frozen=True, slots=True)
class StudentRows:
    """Everything that the gradebook holds about one student's work for an assignment.

    ``marks`` and ``runs`` are oldest first.
    """

    assignment: AssignmentRow
    student: str
    row: Marks | None = None
    mirrored: Mirrored | None = None
    marks: Sequence[RecordedMark] = ()
    runs: Sequence[RunFacts] = ()


def grade_of(rows: StudentRows) -> StudentGrade:
    """Return the marks that count."""
    if not rows.marks and not rows.runs:
        return _earlier_grade(rows)
    whole = whole_mark(rows)
    questions = _questions(rows, whole)
    auto = _automatic(questions, rows)
    manual = _manual(questions, whole)
    waiting = any(each.open for each in (*questions, *([whole] if whole else [])))
    parts = [each for each in (auto, manual) if each is not None]
    total = sum_of_marks(parts) if parts and not waiting else None
    row = rows.row or Marks(rows.assignment.name, rows.student)
    grade = StudentGrade(
        rows.assignment.name,
        rows.student,
        questions,
        auto,
        manual,
        total,
        rows.assignment.max_mark,
        whole=whole,
        state=rows.runs[-1].state if rows.runs else "",
        run=rows.runs[-1].number if rows.runs else None,
    )
    return _flagged(_with_row(grade, row, rows), rows)


def short_grade(row: Marks, run: int | None) -> StudentGrade:
    """Return the marks of a row that we wrote last, without questions; ``run`` is the newest."""
    penalised, final = _after_penalty(row.total_mark, row)
    return StudentGrade(
        row.assignment,
        row.student,
        total=row.total_mark,
        penalty_pct=row.penalty_pct,
        penalised=penalised,
        final=final,
        run=run,
        submitted_at=unix_time(row.submitted_at),
    )


def question_grade(rows: StudentRows, key: str) -> QuestionGrade | None:
    """Return the mark of one question that counts; None if there is no such question.

    As :func:`grade_of`; of other questions, ``rows`` needs only the newest marks by people. The
    key :data:`WHOLE` stands for all questions without checks together.
    """
    whole = whole_mark(rows)
    if key == WHOLE:
        return whole or whole_ungraded(rows.assignment)
    graded, given = latest_by_question(each for each in rows.marks if each.question == key)
    found = graded.get(key)
    is_known = key in graded or key in given or key in (rows.assignment.marks or {})
    if not is_known or (found is not None and found.state == REMOVED):
        return None
    return _question(key, found, given.get(key), rows, covered=whole is not None)


def whole_ungraded(assignment: AssignmentRow) -> QuestionGrade:
    """Return the record of the whole submission while it has no mark of its own.

    It waits for one only in an assignment without marks by question.
    """
    waits = "" if assignment.marks else "not marked yet"
    return QuestionGrade(WHOLE, None, available_to_people(assignment) or None, MANUAL, open=waits)


def manual_percent(assignment: AssignmentRow, points: float | None) -> float | None:
    """Return the marks of the questions without checks as 0.3.16's percentage, 0 to 100."""
    available = assignment.manual_available
    if points is None or available <= 0:
        return None
    return min(max(points / available, 0.0), 1.0) * _PERCENT


def marked_by_earlier(rows: StudentRows) -> QuestionGrade | None:
    """Return the mark that 0.3.16 gave after our own ones, or without any; None if there is none.

    A mark without a new time of marking was read from the text of a notebook, which may be the
    student's own; over our own marks it does not count.
    """
    row, mirrored = rows.row, rows.mirrored
    if row is None or row.manual_mark is None or row.total_mark is None:
        return None
    if mirrored is not None:
        ours = mirrored.manual_mark
        same = ours is not None and (
            _is_close(row.manual_mark, ours) or row.manual_mark == math.trunc(ours)
        )
        if same or row.graded_at in ("", mirrored.graded_at):
            return None
    if row.auto_mark is not None and rows.assignment.manual_available <= 0:
        return None  # 0.3.16 saves its slider as the total although there is nothing to mark
    state = MANUAL if row.graded_at else IMPORTED
    return QuestionGrade(
        WHOLE,
        _manual_points(row, rows.assignment),
        available_to_people(rows.assignment),
        DOUBTFUL if is_doubtful(row, rows.assignment) else state,
        marker=EARLIER_MARKER,
        at=row.graded_at,
    )


def available_to_people(assignment: AssignmentRow) -> float:
    """Return the marks of the questions without checks; all where no question has marks."""
    return assignment.manual_available if assignment.marks else assignment.max_mark


def is_doubtful(row: Marks, assignment: AssignmentRow) -> bool:
    """Return whether 0.3.16 has graded again and added its percentage to the total as points."""
    if row.manual_mark is None or row.auto_mark is None or row.total_mark is None:
        return False
    again = bool(row.graded_at) and row.graded_at < row.autograded_at
    added = _is_close(row.total_mark, row.auto_mark + row.manual_mark)
    percentage = not _is_close(assignment.manual_available, _PERCENT)
    return again and added and percentage and row.manual_mark > 0


def is_stale(total: float | None, percent: float | None, penalised: float | None) -> bool:
    """Return whether a penalised mark does not belong to the total."""
    if total is None or percent is None:
        return False
    if penalised is None:
        return True
    expected = max(total * (1 - percent / _PERCENT), 0.0)
    # 0.3.16 computes it from the total without its fraction.
    lowest = max(math.trunc(total) * (1 - percent / _PERCENT), 0.0)
    below, above = lowest - _PENALTY_ROUNDING - _CLOSE, expected + _PENALTY_ROUNDING + _CLOSE
    return not below <= penalised <= above


def waiting_for(grade: StudentGrade) -> tuple[str, ...]:
    """Return why a student has no total: "Q2 is not marked yet" and the like."""
    waiting = [f"{each.key} is {each.open}" for each in grade.questions if each.open]
    if grade.whole is not None and grade.whole.open:
        waiting.append(f"the mark for the questions without checks is {grade.whole.open}")
    return tuple(waiting)


def mark_after(mark: float, percent: float) -> float:
    """Return a mark after a deduction in per cent, to one decimal and at least 0."""
    return max(round(mark * (1 - percent / _PERCENT), 1), 0.0)


def version_of(rows: StudentRows) -> str:
    """Return a text that changes with every mark and comment of a student's work."""
    row = rows.row
    last = rows.marks[-1].number if rows.marks else 0
    text = repr((row.feedback, row.manual_mark) if row else ("", None))
    return f"{last}.{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:12]}"


def latest_by_question(
    marks: Iterable[RecordedMark],
) -> tuple[Mapping[str, RecordedMark], Mapping[str, RecordedMark]]:
    """Return the newest mark of each question by grading, and the newest by a person."""
    graded: dict[str, RecordedMark] = {}
    given: dict[str, RecordedMark] = {}
    for mark in marks:
        (graded if mark.marker == MACHINE else given)[mark.question] = mark
    return graded, given


def whole_mark(rows: StudentRows) -> QuestionGrade | None:
    """Return the mark for all questions without checks together, None if none counts."""
    if later := marked_by_earlier(rows):
        return later
    graded, given = latest_by_question(rows.marks)
    mark = given.get(WHOLE)
    if mark is None or mark.points is None:
        return None
    single = [
        each.number
        for key, each in given.items()
        if key != WHOLE and _is_manual(key, graded, rows.assignment)
    ]
    if single and max(single) > mark.number:
        return None
    available = available_to_people(rows.assignment)
    return QuestionGrade(
        WHOLE,
        mark.points,
        available,
        mark.state,
        marker=mark.marker,
        at=mark.at,
        open="not confirmed yet" if mark.state == IMPORTED else "",
        look_again=_is_other_work(mark, rows.runs) or mark.available != available,
    )


def _questions(rows: StudentRows, whole: QuestionGrade | None) -> tuple[QuestionGrade, ...]:
    graded, given = latest_by_question(rows.marks)
    told = rows.assignment.marks or {}
    keys = dict.fromkeys([*told, *graded, *given])
    return tuple(
        _question(key, graded.get(key), given.get(key), rows, covered=whole is not None)
        for key in keys
        if key != WHOLE and not (key in graded and graded[key].state == REMOVED)
    )


def _question(
    key: str,
    graded: RecordedMark | None,
    given: RecordedMark | None,
    rows: StudentRows,
    *,
    covered: bool,
) -> QuestionGrade:
    question = _question_by_grading(key, graded, rows)
    if given is None or given.points is None:
        waits = why_open(question, covered=covered)
        comment = given.comment if given else ""
        if not waits and not comment:
            return question
        return replace(question, open=waits, comment=comment)
    return QuestionGrade(  # `replace` takes three times as long, and a class has thousands of these
        question.key,
        given.points,
        question.available,
        question.state,
        question.graded,
        question.reason,
        given.marker,
        given.comment,
        given.at,
        look_again=given.available != question.available
        or _is_other_work(given, rows.runs)
        or _is_other_mark(given, rows.marks),
    )


def _question_by_grading(key: str, graded: RecordedMark | None, rows: StudentRows) -> QuestionGrade:
    if graded is not None:
        points, reason = graded.points, graded.comment
        state = graded.state
        return QuestionGrade(key, points, graded.available, state, points, reason, at=graded.at)
    state = _state_without_run(key, rows.assignment)
    if state != MANUAL and rows.row is not None and rows.row.auto_mark is not None:
        return QuestionGrade(key, None, None, EARLIER)
    return QuestionGrade(key, None, (rows.assignment.marks or {}).get(key), state)


def _state_without_run(key: str, assignment: AssignmentRow) -> str:
    return NEEDS_ATTENTION if key in assignment.automatic else MANUAL


def _is_manual(key: str, graded: Mapping[str, RecordedMark], assignment: AssignmentRow) -> bool:
    found = graded.get(key)
    return (found.state if found else _state_without_run(key, assignment)) == MANUAL


def why_open(question: QuestionGrade, *, covered: bool) -> str:
    """Return what a question without a mark by a person waits for, "" if for nothing.

    ``covered`` is whether a mark for all questions without checks together counts.
    """
    if question.available is None:
        return ""
    if question.state == MANUAL:
        return "" if covered else "not marked yet"
    if question.points is None:
        return "no result yet"
    return "not confirmed yet" if question.state == UNPROTECTED else ""


def replaces_automatic(question: QuestionGrade) -> bool:
    """Return whether another mark than grading's needs a reason."""
    return question.state != MANUAL and question.graded is not None


def _is_other_work(mark: RecordedMark, runs: Sequence[RunFacts]) -> bool:
    """Return whether a person marked another submission than the one graded last."""
    then = next((run.submission_sha256 for run in runs if run.number == mark.run), None)
    return then is not None and then != runs[-1].submission_sha256


def _is_other_mark(given: RecordedMark, marks: Sequence[RecordedMark]) -> bool:
    """Return whether grading has changed its mark since a person marked the question.

    The run tells what the person saw: a mark that was computed again is newer than that.
    """
    graded = [m for m in marks if m.question == given.question and m.marker == MACHINE]
    seen = given.run or 0
    before = [each for each in graded if each.number < given.number and (each.run or 0) <= seen]
    return bool(before) and before[-1].points != graded[-1].points


def _automatic(questions: Sequence[QuestionGrade], rows: StudentRows) -> float | None:
    if rows.row is not None and not _has_graded_marks(rows):
        return rows.row.auto_mark
    return _sum(q.points for q in questions if q.state != MANUAL and q.available is not None)


def _has_graded_marks(rows: StudentRows) -> bool:
    return any(mark.marker == MACHINE for mark in rows.marks)


def _manual(questions: Sequence[QuestionGrade], whole: QuestionGrade | None) -> float | None:
    if whole is not None:
        return whole.points
    points = [q.points for q in questions if q.state == MANUAL and q.available is not None]
    return _sum(points)


def _sum(points: Iterable[float | None]) -> float | None:
    """Return the sum; None if there is nothing to add, or if a mark is missing."""
    found = list(points)
    known = [each for each in found if each is not None]
    return sum_of_marks(known) if found and len(known) == len(found) else None


def _manual_points(row: Marks, assignment: AssignmentRow) -> float:
    """Return the points of 0.3.16's mark; its total tells them, which has lost auto's fraction."""
    total, percent = row.total_mark or 0.0, row.manual_mark or 0.0
    if row.auto_mark is None:
        return total
    scaled = round(percent / _PERCENT * assignment.manual_available)
    if is_doubtful(row, assignment) or _is_close(total, math.trunc(row.auto_mark) + scaled):
        return float(scaled)
    return sum_of_marks([total, -row.auto_mark])


def _after_penalty(total: float | None, row: Marks) -> tuple[float | None, float | None]:
    """Return the mark after the penalty of the row, None without one, and the mark that counts."""
    stale = is_stale(total, row.penalty_pct, row.penalised_mark)
    penalised = None if stale or row.penalty_pct is None else row.penalised_mark
    final = total if row.penalty_pct is None else penalised
    return penalised, None if total is None else final


def _with_row(grade: StudentGrade, row: Marks, rows: StudentRows) -> StudentGrade:
    """Add what the row that 0.3.16 reads holds: comment, penalty, checks."""
    penalised, final = _after_penalty(grade.total, row)
    return replace(
        grade,
        penalty_pct=row.penalty_pct,
        penalised=penalised,
        final=final,
        comment=row.feedback,
        cell_errors=row.cell_errors,
        tampered=row.tampered,
        checks=row.check_results,
        submitted_at=unix_time(row.submitted_at),
        graded_at=row.graded_at,
        version=version_of(rows),
    )


def _flagged(grade: StudentGrade, rows: StudentRows) -> StudentGrade:
    return replace(grade, flags=tuple(_flags(grade, rows)))


def _flags(grade: StudentGrade, rows: StudentRows) -> Iterable[str]:
    last = rows.runs[-1] if rows.runs else None
    if last is not None and last.state == NEEDS_ATTENTION:
        why = f" ({last.problem})" if last.problem else ""
        yield f"The last grading needs attention{why}"
        if any(run.submission_sha256 != last.submission_sha256 for run in rows.runs):
            yield "Its submission is newer than some of these marks"
    changed = [q.key for q in grade.questions if q.look_again]
    if changed:
        yield f"Look again at {', '.join(changed)}: the work or its grading changed after the mark"
    known = {WHOLE, *(each.key for each in grade.questions)}
    gone = {m.question for m in rows.marks if m.marker != MACHINE and m.question not in known}
    if gone:
        yield f"The marks of {', '.join(sorted(gone))} do not count: there is no such question now"
    if grade.whole is not None and grade.whole.look_again:
        yield "Look again: the work changed after the mark for the questions without checks"
    if grade.whole is not None and grade.whole.state == IMPORTED:
        yield "The mark from 0.3.16 is from the text of a notebook, not saved by a marker"
    if grade.whole is not None and grade.whole.state == DOUBTFUL:
        points = f"{grade.whole.points:g}" if grade.whole.points is not None else "none"
        yield f"0.3.16 added its percentage to the total as points; in marks it is {points}"
    row, mirrored = rows.row, rows.mirrored
    if row is not None and mirrored is not None and _is_graded_again(row, mirrored):
        yield "mograder 0.3.16 graded this again; its result does not count here"
    if is_stale(grade.total, grade.penalty_pct, grade.penalised):
        yield OTHER_PENALTY


def _is_graded_again(row: Marks, mirrored: Mirrored) -> bool:
    return row.updated_at != mirrored.updated_at and row.auto_mark != mirrored.auto_mark


def _earlier_grade(rows: StudentRows) -> StudentGrade:
    """Return the marks of a student whom only 0.3.16 has graded: its totals, as they are."""
    row = rows.row or Marks(rows.assignment.name, rows.student)
    whole = marked_by_earlier(rows)
    # The sum is that of 0.3.16, also where it is doubtful.
    known = row.total_mark is not None and whole is not None
    manual = sum_of_marks([row.total_mark or 0.0, -(row.auto_mark or 0.0)]) if known else None
    grade = StudentGrade(
        rows.assignment.name,
        rows.student,
        _questions(rows, whole),
        auto=row.auto_mark,
        manual=manual,
        total=row.total_mark,
        max_mark=rows.assignment.max_mark,
        whole=whole,
        graded_at=row.graded_at,
    )
    grade = _with_row(grade, row, rows)
    if row.penalised_mark is not None:
        grade = replace(grade, penalised=row.penalised_mark, final=row.penalised_mark)
    return _flagged(grade, rows)


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=_CLOSE)
