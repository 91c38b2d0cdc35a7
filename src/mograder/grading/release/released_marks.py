"""The marks of a student at the time of their release, as JSON in the gradebook; pure.

Students see these marks until the next release, also if the gradebook changes meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter

from mograder.core.errors import InvalidInput
from mograder.grading.feedback.feedback_view import GradedWork
from mograder.grading.late.late_work import NO_DEDUCTION, Deduction
from mograder.grading.results.recorded_results import LastResult
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.gradebook.mark_release import ReleaseRow
from mograder.store.marking.mark_reasons import MarkReasons


@dataclass(frozen=True, slots=True)
class ReleasedMarks:
    """A student's marks with what explains them.

    ``run`` is the number of the run whose result explains the marks, None without one.
    ``hidden_tests`` is whether hidden tests are part of a mark, which may not be told before the
    last due date. ``reasons`` are what people said about their marks, by question.
    """

    grade: StudentGrade
    run: int | None = None
    deduction: Deduction = NO_DEDUCTION
    hidden_tests: bool = False
    reasons: Mapping[str, MarkReasons] = field(default_factory=dict)

    def work(self, last: LastResult) -> GradedWork:
        """Return the marks for a page; ``last`` is the result of the run."""
        return GradedWork(self.grade, last, self.deduction, self.reasons)


_FORM = TypeAdapter(ReleasedMarks)


def marks_now(work: GradedWork) -> ReleasedMarks:
    """Return a student's present marks, as a release keeps them."""
    checks = () if work.last.result is None else work.last.result.checks
    return ReleasedMarks(
        grade=work.grade,
        run=work.last.run,
        deduction=work.deduction,
        hidden_tests=any(label.hidden for check in checks for label in check.labels),
        reasons=work.reasons,
    )


def render_marks(marks: ReleasedMarks) -> str:
    """Return the JSON of marks; ASCII, since labels may have code points that UTF-8 has not."""
    return json.dumps(_FORM.dump_python(marks, mode="json"))


def parse_marks(text: str) -> ReleasedMarks:
    """Return the marks of a release.

    Raises:
        InvalidInput: The text is damaged.
    """
    try:  # pydantic's own parser refuses a label with a surrogate code point
        return _FORM.validate_python(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            "The released marks in the gradebook are damaged.", hint="Release them again."
        ) from error


def readable_marks(row: ReleaseRow | None) -> ReleasedMarks | None:
    """Return the marks of a release; None without one, or if they are damaged."""
    try:
        return None if row is None else parse_marks(row.grade)
    except InvalidInput:
        return None


def differ(one: StudentGrade, other: StudentGrade) -> bool:
    """Return whether a student would see other marks or comments."""
    return _seen(one) != _seen(other)


def _seen(grade: StudentGrade) -> object:
    questions = [(each.key, each.points, each.available, each.comment) for each in grade.questions]
    marks = grade.total, grade.penalty_pct, grade.final, grade.max_mark
    return questions, marks, grade.comment
