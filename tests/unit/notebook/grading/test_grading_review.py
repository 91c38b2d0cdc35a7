"""What an author is told of a source's grading without running it, and what of it prevents one."""

from __future__ import annotations

import pytest

from mograder.notebook.grading.grading_split import ReviewedGrading, review_grading
from tests.unit.notebook.grading_sources import IMPORTS, MARKS, NAME, solved, source

ANSWER = solved("err = 0")
NEGATED = 'check("Q1", [(not err > 1, "err")])'
BESIDE = 'check("Q1", [(1 == 1, "before")])\n' + ANSWER


def reviewed(*cells: str, unprotected: tuple[str, ...] = ()) -> ReviewedGrading:
    return review_grading(source(IMPORTS, *cells), NAME, unprotected)


def test_a_source_without_checks_has_a_plan_and_nothing_to_tell() -> None:
    found = reviewed(MARKS, ANSWER)
    assert found.plan is not None
    assert (found.errors, found.advice) == ((), ())


def test_mistakes_of_checks_with_marks_leave_no_plan() -> None:
    found = reviewed(MARKS, ANSWER, NEGATED)
    assert found.plan is None
    assert ["holds for NaN" in str(each) for each in found.errors] == [True]
    found = reviewed(MARKS, BESIDE)
    assert found.plan is None
    assert "stands in one cell with the answer" in str(found.errors[0])


def test_without_marks_they_are_advice() -> None:
    found = reviewed(ANSWER, NEGATED)
    assert found.plan is not None
    assert (found.errors, len(found.advice)) == ((), 1)
    found = reviewed(BESIDE)
    assert (found.plan, found.errors) == (None, ())
    assert "stands in one cell with the answer" in str(found.advice[0])


def test_a_question_that_is_unprotected_by_its_key_may_stand_beside_the_answer() -> None:
    found = reviewed(MARKS, BESIDE, unprotected=("Q1",))
    assert found.errors == ()
    assert found.plan is not None
    assert [part.cell for part in found.plan.beside] == [2]


@pytest.mark.parametrize(
    ("label", "told"),
    [('f"Q2: {n}"', 0), ('f"Q{n}"', 1), ('f"Q1: {n}"', 1), ('"Q2: a", []); check(f"Q{n}"', 0)],
)
def test_computed_labels_that_count_for_no_question_are_told(label: str, told: int) -> None:
    """An answer can report any of these beside the check."""
    unprotected = f"# mograder: unprotected\nfor n in (1, 2):\n    check({label}, [(err == n, '')])"
    found = reviewed(MARKS, ANSWER, 'check("Q1", [(err == 0, "err")])', unprotected)
    assert found.errors == ()
    assert ["count for no question" in str(each) for each in found.advice] == [True] * told
