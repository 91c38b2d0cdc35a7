"""What grading again would change, before it is recorded."""

from __future__ import annotations

from pathlib import Path

from mograder.grading.submissions.comparison import MarkChange, compare_runs
from mograder.store.gradebook.gradebook import Gradebook
from tests.support.gradebooks import FAIR, a_run, give, only

RENAMED = {"Q1": 10.0, "Q2b": 15.0, "Q3": 15.0}
"""The marks after Q2 was renamed, and Analysis, which people mark, was taken out."""


def test_the_marks_of_questions_that_would_be_removed_are_told(tmp_path: Path) -> None:
    again = a_run(points={"Q1": 7.1, "Q2b": 15.0, "Q3": 0.0}, marks=RENAMED, later=5)
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
        before = give(book, Analysis=30).total or 0.0
        compared = compare_runs(book.grades("A1"), [again], {"alice": again.submission_sha256})
        book.record_run(again)
        after = only(book).total or 0.0
    assert compared.changes == (
        MarkChange("alice", "Q2b", None, 15.0),
        MarkChange("alice", "Q2", 15.0, None),
        MarkChange("alice", "Analysis", 30.0, None),
    )
    assert (compared.gain, compared.lose) == (0, 1)
    assert round(after - before, 6) == sum(each.difference for each in compared.changes) == -30


def test_the_mark_of_a_question_whose_checks_were_taken_out_is_told(tmp_path: Path) -> None:
    """People mark it from then on."""
    again = a_run(points={"Q2": 15.0, "Q3": 0.0}, later=5)
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
        compared = compare_runs(book.grades("A1"), [again], {"alice": again.submission_sha256})
        book.record_run(again)
        left = {each.key: each.points for each in only(book).questions}
    assert compared.changes == (MarkChange("alice", "Q1", 7.1, None),)
    assert (compared.lose, left["Q1"]) == (1, None)


def test_marks_of_an_earlier_submission_do_not_outlast_a_newer_one_without_a_result(
    tmp_path: Path,
) -> None:
    nothing = dict.fromkeys(FAIR, None)
    failed = "needs attention"
    states = dict.fromkeys(FAIR, failed)
    for work, lost in (("first", 0), ("second", 3)):
        again = a_run(points=nothing, state=failed, states=states, work=work, later=5)
        with Gradebook(tmp_path / f"{work}.db") as book:
            book.record_run(a_run(points=FAIR))
            works = {who: digest for who, (digest, _) in book.last_works("A1").items()}
            compared = compare_runs(book.grades("A1"), [again], works)
            book.record_run(again)
            left = {each.key: each.points for each in only(book).questions if each.key in FAIR}
        assert compared.without_result == ("alice",)
        assert len(compared.changes) == lost
        assert left == (nothing if lost else FAIR)


def test_a_run_without_some_results_changes_no_mark_that_another_run_explains(
    tmp_path: Path,
) -> None:
    """Else a page would tell the new mark of one question with the checks of the earlier run."""
    failed = "needs attention"
    points = {"Q1": 2.0, "Q2": 15.0, "Q3": None}
    again = a_run(points=points, state=failed, states={"Q3": failed}, later=5)
    with Gradebook(tmp_path / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
        for _ in range(2):
            compared = compare_runs(book.grades("A1"), [again], {"alice": again.submission_sha256})
            book.record_run(again)
            assert compared.changes == ()
            assert {
                each.key: each.points for each in only(book).questions if each.key in FAIR
            } == FAIR
            (run,) = book.explaining_runs("A1")
            assert run.state == "judged"
