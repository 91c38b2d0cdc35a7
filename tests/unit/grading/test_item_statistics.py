"""Statistics of an assignment's questions and checks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mograder.core.csv_table import write_table
from mograder.grading.item_statistics import (
    CSV_COLUMNS,
    CheckStatistics,
    WrongResult,
    csv_rows,
    distribution,
    item_statistics,
)
from mograder.grading.submissions.grading_result import GradingResult, GradingState
from mograder.sandbox.execution.judging import JudgedCall, JudgedCondition
from mograder.store.gradebook.grading_records import UNPROTECTED, QuestionGrade, StudentGrade
from tests.support.graded_results import graded_result


def _grade(student: str, *points: float | None) -> StudentGrade:
    questions = tuple(
        QuestionGrade(f"Q{number}", mark, 10.0, "judged", at=f"2026-11-0{number}")
        for number, mark in enumerate(points, 1)
    )
    known = [mark for mark in points if mark is not None]
    total = sum(known) if len(known) == len(points) else None
    return StudentGrade("A1", student, questions, total=total, max_mark=10.0 * len(points))


def test_a_question_that_good_students_solve_discriminates() -> None:
    """The correlation is with the marks of the other questions."""
    grades = [_grade(f"s{n}", n, 10 - n, 2 * n) for n in range(1, 9)]
    one, two, three = item_statistics("A1", grades, {}).questions
    assert one.discrimination == pytest.approx(1)
    assert two.discrimination == pytest.approx(-1)
    assert (one.mean, one.difficulty, one.none, one.full) == (4.5, 0.45, 0, 0)
    assert three.changed == "2026-11-03"


def test_a_negative_discrimination_is_a_number_in_the_csv() -> None:
    """And not a text with an apostrophe, as those that a spreadsheet takes for formulas."""
    grades = [_grade(f"s{n}", n, 10 - n, 2 * n) for n in range(1, 9)]
    rows = write_table(CSV_COLUMNS, csv_rows(item_statistics("A1", grades, {}))).splitlines()
    assert rows[0].startswith("question,available,students,mean,difficulty,discrimination,")
    assert rows[2] == "Q2,10,8,5.5,0.55,-1,0,0,2026-11-02"


def test_few_students_and_equal_marks_have_no_discrimination() -> None:
    """A number without a meaning is left out, also in the CSV."""
    few = item_statistics("A1", [_grade("a", 1, 2), _grade("b", 2, 3)], {})
    equal = item_statistics("A1", [_grade(f"s{n}", 10, n) for n in range(9)], {})
    assert few.questions[0].discrimination is None
    assert equal.questions[0].discrimination is None
    assert equal.questions[0].full == 9
    assert csv_rows(equal)[0][5] is None


def test_open_questions_do_not_count() -> None:
    """A student without a mark for a question is neither good nor bad at it."""
    waiting = _grade("c", None, 10)
    unconfirmed = replace(waiting.questions[1], state=UNPROTECTED, open="not confirmed yet")
    waiting = replace(waiting, questions=(waiting.questions[0], unconfirmed))
    item = item_statistics("A1", [_grade("a", 10, None), _grade("b", 0, 5), waiting], {})
    assert [(each.key, each.students, each.mean) for each in item.questions] == [
        ("Q1", 2, 5.0),
        ("Q2", 1, 5.0),
    ]
    assert item.marks is not None
    assert (item.students, item.marks.students) == (3, 1)


def test_a_mark_of_fewer_marks_counts_by_its_share() -> None:
    """As one that stays after the source gave the question more marks, since grading it failed."""
    older = _grade("a", 5)
    older = replace(older, questions=(replace(older.questions[0], available=5.0),))
    (found,) = item_statistics("A1", [older, _grade("b", 10)], {}).questions
    assert (found.available, found.difficulty, found.full) == (10.0, 1.0, 2)


def test_an_assignment_without_students_has_no_statistics() -> None:
    """Neither a division by zero nor a mean of nothing."""
    item = item_statistics("A1", [], {})
    assert (item.marks, item.questions, csv_rows(item)) == (None, (), ())


def test_full_marks_are_in_the_last_bin() -> None:
    """And marks above the maximum, which older gradebooks have."""
    found = distribution([0, 9.9, 10, 99.9, 100, 105], 100)
    assert found is not None
    assert found.bins == (2, 1, 0, 0, 0, 0, 0, 0, 0, 3)
    assert (found.lowest, found.highest, found.median) == (0, 105, 54.95)


@pytest.mark.parametrize(
    ("passed", "word"),
    [(0, "Hardly"), (2, "Hardly"), (3, ""), (37, ""), (38, "Nearly"), (40, "Nearly")],
)
def test_checks_that_tell_nothing_are_named(passed: int, word: str) -> None:
    """From five students on."""
    advice = CheckStatistics("Q1: mean", 40, passed).advice
    assert advice.startswith(word) if word else not advice
    assert not CheckStatistics("Q1: mean", 4, 0).advice


def test_checks_are_counted_by_label() -> None:
    """Of the students' last results."""
    failed = graded_result()
    (check,) = failed.checks
    passed = check.model_copy(
        update={"labels": (check.labels[0].model_copy(update={"passed": True}),)}
    )
    results = {"a": failed, "b": graded_result(checks=(passed,))}
    item = item_statistics("A1", [_grade("a", 10), _grade("b", 0)], results)
    (found,) = item.questions[0].checks
    assert (found.label, found.students, found.passed) == ("Q1: sum", 2, 1)
    assert [(each.message, each.students, each.passed) for each in found.conditions] == [
        ("right", 2, 2),
        ("wrong", 2, 0),
    ]


def test_a_check_without_a_result_is_not_failed() -> None:
    """The judge died, or the disk was full: the student may have passed it."""
    (check,) = graded_result().checks
    label = check.labels[0].model_copy(update={"conditions": (), "earned": 0.0})
    open_check = check.model_copy(
        update={"state": GradingState.NEEDS_ATTENTION, "labels": (label,)}
    )
    lost = graded_result(checks=(open_check,))
    results = {"a": graded_result(), **dict.fromkeys("bcdef", lost)}
    item = item_statistics("A1", [_grade("a", 7.5)], results)
    (found,) = item.questions[0].checks
    assert (found.students, found.passed, found.advice) == (1, 0, "")


def test_conditions_with_the_same_text_count_a_student_once() -> None:
    """As those that a check makes in a loop."""
    (check,) = graded_result().checks
    right, wrong = check.labels[0].conditions
    alike = replace(right, message=wrong.message)

    def result(*conditions: JudgedCondition) -> GradingResult:
        label = check.labels[0].model_copy(update={"conditions": conditions})
        return graded_result(checks=(check.model_copy(update={"labels": (label,)}),))

    results = {"a": result(right, alike, wrong), "b": result(right, alike, alike)}
    item = item_statistics("A1", [_grade("a", 10), _grade("b", 0)], results)
    (found,) = item.questions[0].checks
    assert [(each.message, each.students, each.passed) for each in found.conditions] == [
        ("right", 2, 2),
        ("wrong", 2, 1),
    ]


def test_the_commonest_wrong_result_is_told_if_two_students_share_it() -> None:
    """One that answers return which pass, too, is not wrong."""

    def result(*returned: str, passed: bool = False) -> GradingResult:
        (check,) = graded_result().checks
        calls = tuple(
            JudgedCall(call=f"mean({at})", status="ok", result=each)
            for at, each in enumerate(returned)
        )
        label = check.labels[0].model_copy(update={"passed": passed})
        return graded_result(
            checks=(check.model_copy(update={"labels": (label,), "calls": calls}),)
        )

    def wrong(**results: GradingResult) -> WrongResult | None:
        grades = [_grade(name, 5) for name in results]
        return item_statistics("A1", grades, results).questions[0].checks[0].wrong

    right = result("1", "2", passed=True)
    shared = wrong(a=right, b=result("1", "0"), c=result("1", "0"), d=result("1", "7"))
    assert shared == WrongResult("mean(1)", "0", 2, "b")
    assert wrong(a=right, b=result("1", "0"), c=result("1", "7")) is None
    assert wrong(a=right) is None
    assert wrong(b=result("1", "0"), c=result("1", "0")) is None, "1 may be right"
    tie = result(*map(str, range(20)))
    assert wrong(a=right, b=tie, c=tie) == WrongResult("mean(0)", "0", 2, "b")
