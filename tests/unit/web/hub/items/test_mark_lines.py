"""The list of an item's marks: who needs a teacher stands first, each with a reason."""

from __future__ import annotations

from mograder.store.gradebook.grading_records import QuestionGrade, StudentGrade
from mograder.web.hub.items.grading import mark_lines


def grade(student: str, *questions: QuestionGrade, **more: object) -> StudentGrade:
    """A student's marks for A1."""
    facts = {"state": "judged", **more}
    return StudentGrade("A1", student, questions, **facts)  # type: ignore[arg-type]


def test_the_order_is_by_need_and_then_by_name() -> None:
    unclear = QuestionGrade("Q1", 2.0, 2.0, "unprotected", open="not confirmed yet")
    lines = mark_lines(
        [
            grade("dora", final=3.0),
            grade("ann", final=1.0),
            grade("carl", unclear, state="unprotected"),
            grade("bert", state="needs attention", flags=("The last grading needs attention",)),
        ]
    )
    assert [line.student for line in lines] == ["bert", "carl", "ann", "dora"]
    assert lines[0].problem == "The last grading needs attention."
    assert lines[0].todo.startswith("Grade it again")
    assert lines[1].problem == "Q1 not confirmed yet."
    assert (lines[2].problem, lines[2].todo, lines[2].mark) == ("", "", 1.0)


def test_questions_for_people_are_counted_and_are_no_problem() -> None:
    essay = QuestionGrade("Essay", None, 5.0, "manual", open="not marked yet")
    (line,) = mark_lines([grade("ann", essay)])
    assert (line.to_mark, line.problem) == (1, "")


def test_who_has_submitted_and_has_no_result_is_listed() -> None:
    (line,) = mark_lines([], ["ann"])
    assert (line.student, line.state, line.mark) == ("ann", "not graded", None)


def test_what_the_last_job_told_is_shown_once() -> None:
    lines = mark_lines(
        [grade("ann", final=2.0), grade("bert", state="needs attention", flags=("It broke",))],
        ["ann", "bert", "carl"],
        [
            ("", "The release is old."),
            ("ann", "text was taken out"),
            ("bert", "It broke"),
            ("carl", "carl.py is a link."),
        ],
    )
    found = {line.student: (line.state, line.problem) for line in lines}
    assert found == {
        "ann": ("judged", "text was taken out."),
        "bert": ("needs attention", "It broke."),
        "carl": ("needs attention", "carl.py is a link."),
    }
