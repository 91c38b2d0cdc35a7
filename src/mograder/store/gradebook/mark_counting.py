"""Which marks of a student count, from the history of marks; pure.

A mark by a person counts before the one by grading. There may be one mark for all questions
without checks together, as markers of 0.3.16 give it; the newer of it and those by question counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import takewhile
from operator import attrgetter

from mograder.marks import sum_of_marks
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
    AssignmentRow,
    GradingRun,
    QuestionGrade,
    RecordedMark,
    StudentGrade,
    Work,
    unix_time,
)

_PERCENT = 100.0
CLOSE = 1e-6
"""Marks that differ by less are the same."""

_PENALTY_ROUNDING = 0.5
"""0.3.16 rounds a penalised mark to a whole number."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    number: int
    submission_sha256: str
    state: str
    problem: str


@dataclass(frozen=True, slots=True)
class StudentRows:
    """All that is held about one student's work; ``marks`` and ``runs`` are oldest first."""

    assignment: AssignmentRow
    student: str
    work: Work | None = None
    marks: Sequence[RecordedMark] = ()
    runs: Sequence[RunFacts] = ()


def grade_of(rows: StudentRows) -> StudentGrade:
    """Return the marks that count, without deductions for lateness."""
    whole = whole_mark(rows)
    graded, given = latest_by_question(rows.marks)
    questions = tuple(
        _question(key, graded.get(key), given.get(key), rows, covered=whole is not None)
        for key in dict.fromkeys([*(rows.assignment.marks or {}), *graded, *given])
        if key != WHOLE and not (key in graded and graded[key].state == REMOVED)
    )
    if any(mark.marker == MACHINE for mark in rows.marks):
        counted = (q.points for q in questions if q.state != MANUAL and q.available is not None)
        auto = _sum(counted)
    else:
        auto = rows.work.earlier_auto if rows.work is not None else None
    by_people = (q.points for q in questions if q.state == MANUAL and q.available)
    manual = whole.points if whole is not None else _sum(by_people)
    waiting = any(each.open for each in (*questions, *([whole] if whole else [])))
    parts = [each for each in (auto, manual) if each is not None]
    total = sum_of_marks(parts) if parts and not waiting else None
    grade = StudentGrade(
        rows.assignment.name,
        rows.student,
        questions,
        auto,
        manual,
        total,
        rows.assignment.max_mark,
        final=total,
        whole=whole,
        state=rows.runs[-1].state if rows.runs else "",
        run=rows.runs[-1].number if rows.runs else None,
        version=rows.marks[-1].number if rows.marks else 0,
    )
    grade = _with_work(grade, rows, rows.work or Work())
    return replace(grade, flags=tuple(_flags(grade, rows)))


def question_grade(rows: StudentRows, key: str) -> QuestionGrade | None:
    """Return the mark of one question that counts; None if there is no such question.

    As :func:`grade_of`; of other questions, ``rows`` needs only those that people have marked. The
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
    """Return the whole submission without a mark; it waits where no question has marks."""
    waits = "" if assignment.marks else "not marked yet"
    return QuestionGrade(WHOLE, None, available_to_people(assignment) or None, MANUAL, open=waits)


def manual_percent(assignment: AssignmentRow, points: float | None) -> float | None:
    """Return the marks of the questions without checks as 0.3.16's percentage, 0 to 100."""
    available = assignment.manual_available
    if points is None or available <= 0:
        return None
    return min(max(points / available, 0.0), 1.0) * _PERCENT


def available_to_people(assignment: AssignmentRow) -> float:
    """Return the marks of the questions without checks; all where no question has marks."""
    return assignment.manual_available if assignment.marks else assignment.max_mark


def is_stale(total: float | None, percent: float | None, penalised: float | None) -> bool:
    """Return whether a mark after a deduction by 0.3.16 does not belong to the total."""
    if total is None or percent is None:
        return False
    if penalised is None:
        return True
    expected = max(total * (1 - percent / _PERCENT), 0.0)
    # 0.3.16 computes it from the total without its fraction.
    lowest = max(math.trunc(total) * (1 - percent / _PERCENT), 0.0)
    below, above = lowest - _PENALTY_ROUNDING - CLOSE, expected + _PENALTY_ROUNDING + CLOSE
    return not below <= penalised <= above


def waiting_for(grade: StudentGrade) -> tuple[str, ...]:
    """Return why a student has no total: "Q2 is not marked yet" and the like."""
    waiting = [f"{each.key} is {each.open}" for each in grade.questions if each.open]
    if grade.whole is not None and grade.whole.open:
        waiting.append(f"the mark for the questions without checks is {grade.whole.open}")
    return tuple(waiting)


def mark_after(mark: float, percent: float) -> float:
    """Return a mark after a deduction in per cent, to one decimal and at least 0.

    It is computed exactly, and a tie goes to the even digit, as all marks of 0.3.16: with floats
    69 less 5 % would be 65.5, and not 65.6.
    """
    exact = Fraction(repr(mark)) * (100 - Fraction(repr(percent))) / 100
    return max(float(round(exact, 1)), 0.0)


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
    graded, given = latest_by_question(rows.marks)
    mark = given.get(WHOLE)
    if mark is None or mark.points is None:
        return None
    single = [
        each.number
        for key, each in given.items()
        if key != WHOLE and each.points is not None and _is_manual(key, graded, rows.assignment)
    ]
    if single and max(single) > mark.number:
        return None
    available = available_to_people(rows.assignment)
    same = attrgetter("points", "available", "state", "run")
    people = (m for m in reversed(rows.marks) if m.question == WHOLE and m.marker != MACHINE)
    *_, first = takewhile(lambda each: same(each) == same(mark), people)  # then only comments came
    return QuestionGrade(
        WHOLE,
        mark.points,
        available,
        mark.state,
        marker=first.marker,
        at=first.at,
        open="not confirmed yet" if mark.state == IMPORTED and rows.runs else "",
        look_again=_is_other_work(mark, rows.runs) or mark.available != available,
    )


def row_for_comment(rows: StudentRows) -> RecordedMark:
    """Return a row for a comment alone, which leaves the mark for the whole as it is.

    So the history still tells on which work that was given, and out of how many marks.
    """
    held = latest_by_question(rows.marks)[1].get(WHOLE)
    if held is not None and whole_mark(rows) is not None:
        return held
    run = rows.runs[-1].number if rows.runs else None
    available = available_to_people(rows.assignment)
    return RecordedMark(0, WHOLE, None, available, MANUAL, run=run)


def is_superseded(rows: StudentRows, key: str) -> bool:
    """Return whether the points that a person gave do not count, since newer ones do.

    Those for the whole are replaced by marks of questions without checks, and these by it.
    """
    graded, given = latest_by_question(rows.marks)
    if key not in given or given[key].points is None:
        return False
    counts = whole_mark(rows) is not None
    if key == WHOLE:
        return not counts
    return counts and _is_manual(key, graded, rows.assignment)


def _question(
    key: str,
    graded: RecordedMark | None,
    given: RecordedMark | None,
    rows: StudentRows,
    *,
    covered: bool,
) -> QuestionGrade:
    question = _question_by_grading(key, graded, rows)
    is_replaced = covered and question.state == MANUAL  # by the newer mark for all of these
    if given is None or given.points is None or is_replaced:
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
    if state != MANUAL and rows.work is not None and rows.work.earlier_auto is not None:
        return QuestionGrade(key, None, None, EARLIER)
    return QuestionGrade(key, None, (rows.assignment.marks or {}).get(key), state)


def _state_without_run(key: str, assignment: AssignmentRow) -> str:
    return NEEDS_ATTENTION if key in assignment.automatic else MANUAL


def _is_manual(key: str, graded: Mapping[str, RecordedMark], assignment: AssignmentRow) -> bool:
    found = graded.get(key)
    return (found.state if found else _state_without_run(key, assignment)) == MANUAL


def why_open(question: QuestionGrade, *, covered: bool) -> str:
    """Return what a question without a mark by a person waits for, "" if for nothing.

    ``covered`` is whether a mark for all questions without checks together counts. Nobody has to
    mark or confirm a question of 0 marks.
    """
    if question.available is None:
        return ""
    if question.state == MANUAL:
        return "" if covered or not question.available else "not marked yet"
    if question.points is None:
        return "no result yet"
    return "not confirmed yet" if question.state == UNPROTECTED and question.available else ""


def explaining_run(rows: StudentRows) -> RunFacts:
    """Return the run whose result explains a student's marks; there is at least one run.

    It is the newest, unless that needs attention: then it has left the marks of its submission
    that an earlier one gave, and those of another submission if it has no questions at all.
    """
    last = rows.runs[-1]
    if last.state != NEEDS_ATTENTION:
        return last
    marking = {mark.run for mark in rows.marks if mark.marker == MACHINE}
    own = [run for run in rows.runs if run.submission_sha256 == last.submission_sha256]
    left = own if any(run.number in marking for run in own) else rows.runs
    return next((run for run in reversed(left) if run.state != NEEDS_ATTENTION), last)


def kept_questions(run: GradingRun, states: Mapping[str, str]) -> frozenset[str]:
    """Return the questions of which a run leaves the marks of its submission by an earlier one.

    ``states`` are those of these marks. A question that needs attention keeps its mark. If none
    needs it already, the others keep theirs, too: one run explains all (:func:`explaining_run`).
    """
    keeps_all = run.state == NEEDS_ATTENTION and NEEDS_ATTENTION not in states.values()
    return frozenset(
        each.question
        for each in run.questions
        if each.state == NEEDS_ATTENTION or (keeps_all and each.state != MANUAL)
    ).intersection(states)


def replaces_automatic(question: QuestionGrade) -> bool:
    """Return whether another mark than grading's needs a reason."""
    return question.state != MANUAL and question.graded is not None


def _is_other_work(mark: RecordedMark, runs: Sequence[RunFacts]) -> bool:
    """Return whether a person marked another submission than the one graded last."""
    then = next((run.submission_sha256 for run in runs if run.number == mark.run), None)
    return then is not None and then != runs[-1].submission_sha256


def _is_other_mark(given: RecordedMark, marks: Sequence[RecordedMark]) -> bool:
    """Return whether grading changed its mark since the run that a person saw."""
    graded = [m for m in marks if m.question == given.question and m.marker == MACHINE]
    seen = given.run or 0
    before = [each for each in graded if each.number < given.number and (each.run or 0) <= seen]
    return bool(before) and before[-1].points != graded[-1].points


def _sum(points: Iterable[float | None]) -> float | None:
    """Return the sum; None if there is nothing to add, or if a mark is missing."""
    found = list(points)
    known = [each for each in found if each is not None]
    return sum_of_marks(known) if found and len(known) == len(found) else None


def _with_work(grade: StudentGrade, rows: StudentRows, work: Work) -> StudentGrade:
    """Add the comment and what is known of the work; while only 0.3.16 has graded it, its sums.

    A total of 0.3.16 stays as it is, also where it is doubtful.
    """
    people = [each for each in rows.marks if each.marker != MACHINE]
    comment = next((each.comment for each in reversed(people) if each.question == WHOLE), "")
    at = next((each.at for each in reversed(people) if each.state != IMPORTED), "")
    grade = replace(
        grade,
        comment=comment,
        cell_errors=work.cell_errors,
        tampered=work.tampered,
        checks=work.checks,
        submitted_at=submitted_at(work),
        graded_at=at,
    )
    if not only_earlier(rows):
        return grade
    known = work.total is not None and grade.whole is not None
    return replace(
        grade,
        manual=sum_of_marks([work.total or 0.0, -(grade.auto or 0.0)]) if known else None,
        total=work.total,
        penalty_pct=work.earlier_pct,
        penalised=work.earlier_mark,
        final=work.total if work.earlier_mark is None else work.earlier_mark,
    )


def only_earlier(rows: StudentRows) -> bool:
    """Return whether all that is known of a student's work was imported from 0.3.16."""
    return not rows.runs and all(each.marker == EARLIER_MARKER for each in rows.marks)


def submitted_at(work: Work) -> float | None:
    return unix_time(work.received or work.earlier_submitted)


def _flags(grade: StudentGrade, rows: StudentRows) -> Iterable[str]:
    last = rows.runs[-1] if rows.runs else None
    if last is not None and last.state == NEEDS_ATTENTION:
        why = f" ({last.problem})" if last.problem else ""
        yield f"The last grading needs attention{why}"
        if any(run.submission_sha256 != last.submission_sha256 for run in rows.runs):
            yield "Its submission is newer than some of these marks"
    stated = rows.assignment.marks or {}
    if any(q.available != stated.get(q.key) for q in grade.questions if q.state != EARLIER):
        yield "The table of marks is another one than when this was graded: grade it again"
    changed = [q.key for q in grade.questions if q.look_again]
    if changed:
        yield f"Look again at {', '.join(changed)}: the work or its grading changed after the mark"
    known = {WHOLE, *(each.key for each in grade.questions)}
    given = latest_by_question(rows.marks)[1]
    gone = [key for key, mark in given.items() if mark.points is not None and key not in known]
    if gone:
        yield f"The marks of {', '.join(sorted(gone))} do not count: there is no such question now"
    if grade.total is not None and 0 < grade.max_mark < grade.total - CLOSE:
        yield f"The total is more than the maximum: {grade.total:g} of {grade.max_mark:g}"
    if grade.whole is not None and grade.whole.look_again:
        what = "the work or its maximum changed after the mark for the questions without checks"
        yield f"Look again: {what}"
    if grade.whole is not None and grade.whole.state == IMPORTED:
        yield "The mark from 0.3.16 is from the text of a notebook, not saved by a marker"
    if grade.whole is not None and grade.whole.state == DOUBTFUL:
        points = f"{grade.whole.points:g}" if grade.whole.points is not None else "none"
        yield f"0.3.16 added its percentage to the total as points; in marks it is {points}"
