"""Statistics of an assignment: its marks, its questions, and its checks.

Difficulty is the mean share of the marks that students have; discrimination is the correlation of a
question's marks with the sum of all other questions' (corrected item-total correlation). Both are
by the students with a mark for the question. A question that is open for a student does not count.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradingResult,
    GradingState,
    last_results,
)
from mograder.marks import sum_of_marks
from mograder.store.gradebook.grading_records import StudentGrade

if TYPE_CHECKING:  # `mograder quality` counts checks where SQLAlchemy is not installed
    from mograder.grading.course_late import CourseLate
    from mograder.store.gradebook.gradebook import Gradebook

_BINS = 10
_FEWEST = 5
"""Students from whom on a correlation, or the share of a check, says something."""

_HARDLY, _NEARLY = 0.05, 0.95
"""Shares of students up to which hardly any, and from which on nearly all, pass a check."""

CSV_COLUMNS = (
    *("question", "available", "students", "mean", "difficulty", "discrimination"),
    *("without_marks", "full_marks", "changed"),
)
"""The columns of :func:`csv_rows`."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The marks of a class. ``bins`` are ten equal parts from 0 to ``available`` marks."""

    available: float
    students: int
    mean: float
    median: float
    deviation: float
    lowest: float
    highest: float
    bins: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConditionStatistics:
    """The conditions with one text for those who fail: the students they were tried on, and those
    who passed all of them."""

    message: str
    students: int
    passed: int


@dataclass(frozen=True, slots=True)
class WrongResult:
    """A result of one call in checks that did not pass, and the number of students who got it.

    ``example`` is one of them, for a link to an answer that does not name its student.
    """

    call: str
    result: str
    students: int
    example: str


@dataclass(frozen=True, slots=True)
class CheckStatistics:
    """One label: the number of students with a result for it, and of those who passed.

    ``conditions`` are in the check's order. ``wrong`` is the commonest wrong result, None where no
    two students have the same, or where no student passed, so that it is not known which are right.
    """

    label: str
    students: int
    passed: int
    conditions: tuple[ConditionStatistics, ...] = ()
    wrong: WrongResult | None = None

    @property
    def advice(self) -> str:
        """A sentence about a check that tells nothing about students, else empty."""
        if self.students < _FEWEST:
            return ""
        share = self.passed / self.students
        if share <= _HARDLY:
            return "Hardly any student passes: is the task clear, and the check right?"
        return "Nearly every student passes." if share >= _NEARLY else ""


@dataclass(frozen=True, slots=True)
class QuestionStatistics:
    """One question; ``discrimination`` (-1 to 1) is None where too few students or equal marks.

    ``none`` and ``full`` are the numbers of students with 0 and with all marks. ``changed`` is when
    a mark of the question was given last, as ISO 8601 in UTC, empty if it is not known.
    """

    key: str
    available: float
    students: int
    mean: float
    difficulty: float
    discrimination: float | None
    none: int
    full: int
    changed: str
    checks: tuple[CheckStatistics, ...] = ()


@dataclass(frozen=True, slots=True)
class ItemStatistics:
    """An assignment; ``marks`` is None while no student has a total."""

    assignment: str
    students: int
    marks: Distribution | None
    questions: tuple[QuestionStatistics, ...] = field(default_factory=tuple)


def course_statistics(
    late: CourseLate, book: Gradebook, assignment: str, key: bytes
) -> ItemStatistics:
    """Return the statistics of the present marks; results not signed by ``key`` do not count."""
    found = last_results(key, book, assignment)
    results = {name: last.result for name, last in found.items() if last.result is not None}
    return item_statistics(assignment, late.grades(book, assignment), results)


def item_statistics(
    assignment: str, grades: Sequence[StudentGrade], results: Mapping[str, GradingResult]
) -> ItemStatistics:
    totals = [grade.total for grade in grades if grade.total is not None]
    available = max((grade.max_mark for grade in grades), default=0.0)
    checks = _checks(results)
    keys = dict.fromkeys(q.key for grade in grades for q in grade.questions if q.available)
    questions = (_question(key, grades, checks.get(key, ())) for key in keys)
    return ItemStatistics(
        assignment, len(grades), distribution(totals, available), tuple(filter(None, questions))
    )


def distribution(totals: Sequence[float], available: float) -> Distribution | None:
    if not totals:
        return None
    bins = [0] * _BINS
    for total in totals:
        share = total / available if available > 0 else 0.0
        bins[min(max(int(share * _BINS), 0), _BINS - 1)] += 1
    return Distribution(
        available,
        len(totals),
        statistics.fmean(totals),
        statistics.median(totals),
        statistics.pstdev(totals),
        min(totals),
        max(totals),
        tuple(bins),
    )


def csv_rows(item: ItemStatistics) -> tuple[tuple[str | float | None, ...], ...]:
    """Return a row for each question; numbers stay numbers, which may be negative."""
    return tuple(
        (
            each.key,
            each.available,
            each.students,
            round(each.mean, 2),
            round(each.difficulty, 3),
            None if each.discrimination is None else round(each.discrimination, 3),
            each.none,
            each.full,
            each.changed,
        )
        for each in item.questions
    )


def _question(
    key: str, grades: Iterable[StudentGrade], checks: Sequence[CheckStatistics]
) -> QuestionStatistics | None:
    own, shares, others, changed = [], [], [], ""
    available = 0.0
    for grade in grades:
        found = next((q for q in grade.questions if q.key == key), None)
        if found is None or found.open or found.points is None or not found.available:
            continue
        others_own = (q for q in grade.questions if q.key != key and not q.open)
        rest = [q.points for q in others_own if q.points is not None]
        own.append(found.points)
        shares.append(found.points / found.available)
        others.append(sum_of_marks(rest) if rest else 0.0)
        changed, available = max(changed, found.at), found.available
    if not own:
        return None
    tells = len(own) >= _FEWEST and len(set(own)) > 1 and len(set(others)) > 1
    return QuestionStatistics(
        key,
        available,
        len(own),
        statistics.fmean(own),
        statistics.fmean(shares),
        statistics.correlation(own, others) if tells else None,
        sum(points <= 0 for points in own),
        sum(share >= 1 for share in shares),
        changed,
        tuple(checks),
    )


def _checks(results: Mapping[str, GradingResult]) -> Mapping[str, Sequence[CheckStatistics]]:
    """Return the statistics of the labels by the key of their question."""
    counts: dict[tuple[str, str], _Count] = defaultdict(_Count)
    for student, result in results.items():
        for check in result.checks:
            has_result = check.state is not GradingState.NEEDS_ATTENTION
            for label in check.labels if has_result else ():
                counts[label.key, label.label].add(student, check, label)
    found: dict[str, list[CheckStatistics]] = defaultdict(list)
    for (key, name), count in counts.items():
        found[key].append(count.told(name))
    return found


@dataclass(slots=True)
class _Count:
    """The results of one label so far.

    ``right`` are what answers that passed returned to each call, which are no wrong results.
    """

    students: int = 0
    passed: int = 0
    conditions: dict[str, list[int]] = field(default_factory=dict)
    right: set[tuple[str, str]] = field(default_factory=set)
    wrong: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def add(self, student: str, check: GradedCheck, label: GradedLabel) -> None:
        self.students += 1
        self.passed += label.passed
        held: dict[str, bool] = {}  # several conditions may have the same text
        for each in label.conditions:
            held[each.message] = held.get(each.message, True) and each.passed
        for message, passed in held.items():
            tried = self.conditions.setdefault(message, [0, 0])
            tried[0] += 1
            tried[1] += passed
        # In the check's order, so that of results as common as each other always one is told.
        calls = dict.fromkeys((each.call, each.result or each.status) for each in check.calls)
        if label.passed:
            self.right.update(calls)
        else:
            for call in calls:
                self.wrong.setdefault(call, []).append(student)

    def told(self, label: str) -> CheckStatistics:
        conditions = (
            ConditionStatistics(text, *counts) for text, counts in self.conditions.items()
        )
        wrong = None
        others = [pair for pair in self.wrong.items() if pair[0] not in self.right]
        if others and self.passed:
            (call, result), students = max(others, key=lambda pair: len(pair[1]))
            if len(students) > 1:
                wrong = WrongResult(call, result, len(students), min(students))
        return CheckStatistics(label, self.students, self.passed, tuple(conditions), wrong)
