"""Runs and marks by question: which of them count, and the rows that are exported for 0.3.16."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.core.errors import Busy, Conflict, InvalidInput, NotFound
from mograder.store.database import database
from mograder.store.gradebook import gradebook_marks
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import (
    WHOLE,
    MarkEntry,
    Penalty,
)
from tests.support.gradebooks import (
    AT,
    FAIR,
    MARKS,
    a_run,
    change,
    export_0316,
    give,
    import_0316,
    only,
    row_of,
)
from tests.support.threads import at_once


def test_a_run_waits_for_the_questions_that_people_mark(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR, received=AT))
    grade = only(book)
    assert [(q.key, q.points, q.available, q.open) for q in grade.questions] == [
        ("Q1", 7.1, 10, ""),
        ("Q2", 15, 15, ""),
        ("Q3", 0, 15, ""),
        ("Analysis", None, 60, "not marked yet"),
    ]
    assert (grade.auto, grade.manual, grade.total, grade.final) == (22.1, None, None, None)
    assert grade.submitted_at == AT.timestamp()
    export_0316(book, {("A1", "alice"): Penalty(None, None, AT.timestamp())})
    row = row_of(path)
    assert (row["auto_mark"], row["manual_mark"], row["total_mark"]) == (22.1, None, None)
    assert row["graded_at"] is None
    assert row["submitted_at"] == str(int(AT.timestamp()))
    assert json.loads(row["check_results"])[2] == {
        "label": "Q3: check",
        "status": "danger",
        "hidden": True,
    }


def test_students_are_in_the_order_of_their_names_without_case(book: Gradebook) -> None:
    for student in ("bob", "Zoe", "alice"):
        book.record_run(a_run(student, points=FAIR))
    assert [each.student for each in book.grades("A1")] == ["alice", "bob", "Zoe"]


def test_the_total_has_the_decimals_that_a_person_gave(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    assert give(book, Analysis=30.25).total == 52.35


def test_one_mark_for_all_can_be_all_that_is_left_to_people(book: Gradebook) -> None:
    """1.2 less 0.9 is less than 0.3 in floats."""
    book.record_run(a_run(points={"Q1": 0.9}, marks={"Q1": 0.9, "Analysis": 0.3}))
    marks = {WHOLE: MarkEntry(0.3)}
    assert book.record_marks("A1", "alice", marks, marker="mia", at=AT).total == 1.2


def test_another_question_changes_the_totals_of_those_who_were_graded_before(
    book: Gradebook,
) -> None:
    for student in ("alice", "bob"):
        book.record_run(a_run(student, FAIR, work=student))
        give(book, student=student, Analysis=30)
    book.record_run(a_run("alice", FAIR, work="alice", marks={**MARKS, "Essay": 20}, later=5))
    with book.reading() as connection:
        short = gradebook_marks.read_short_grades(connection, ["A1"], None)
        kept = {grade.student: grade.total for grade, _ in short}
    assert kept == {each.student: each.total for each in book.grades("A1")}
    assert kept == {"alice": None, "bob": None}


def test_the_assignment_is_written_as_0_3_16_reads_it(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR))
    export_0316(book)
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT * FROM assignments").fetchone()
    assert found == (
        "A1",
        100.0,
        '{"Q1": 10, "Q2": 15, "Q3": 15, "Analysis": 60}',
        '["Q1", "Q2", "Q3"]',
    )


def test_a_mark_completes_the_total_and_shows_the_same_in_0_3_16(
    book: Gradebook, path: Path
) -> None:
    book.record_run(a_run(points=FAIR))
    grade = give(book, Analysis=45)
    assert (grade.total, grade.final, grade.questions[3].marker) == (67.1, 67.1, "mia")
    export_0316(book)
    row = row_of(path)
    assert (row["manual_mark"], row["total_mark"]) == (75.0, 67.1)
    assert (
        row["graded_at"]
        == (AT + timedelta(minutes=1)).astimezone().replace(tzinfo=None).isoformat()
    )
    # 0.3.16's page: the mark without its fraction, and the rounded part of the others.
    assert int(row["auto_mark"]) + round(row["manual_mark"] / 100 * 60) == int(row["total_mark"])


def test_only_changed_marks_are_added_to_the_history(book: Gradebook) -> None:
    first = book.record_run(a_run(points=FAIR))
    assert book.record_run(a_run(points=FAIR, later=1)) == first + 1
    assert len(book.history("A1", "alice")) == len(MARKS)
    book.record_run(a_run(points={**FAIR, "Q3": 15.0}, later=2))
    assert [(m.question, m.points) for m in book.history("A1", "alice")[4:]] == [("Q3", 15.0)]
    assert only(book).auto == 37.1
    assert [run.number for run in book.runs("A1", "alice")] == [first, first + 1, first + 2]


def test_a_persons_mark_counts_until_it_is_withdrawn(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR))
    grade = give(book, Analysis=30, Q3=5)
    assert (grade.auto, grade.total) == (27.1, 57.1)
    assert (grade.questions[2].points, grade.questions[2].graded) == (5, 0)
    export_0316(book)
    assert row_of(path)["auto_mark"] == 27.1, "so that 0.3.16 shows the same total"
    book.record_run(a_run(points=FAIR, later=2))
    assert only(book).total == 57.1
    assert only(book).flags == ()
    book.record_marks(
        "A1", "alice", {"Q3": MarkEntry(None)}, marker="mia", at=AT + timedelta(minutes=3)
    )
    assert only(book).total == 52.1


def test_a_submission_that_could_not_be_graded_keeps_its_marks_and_is_listed(
    book: Gradebook,
) -> None:
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=30)
    before = only(book)
    failed = a_run(state="needs attention", problem="no sandbox", later=2)
    book.record_run(failed)
    assert (only(book).total, only(book).flags) == (
        52.1,
        ("The last grading needs attention (no sandbox)",),
    )
    assert (only(book).checks, only(book).submitted_at) == (before.checks, before.submitted_at)
    book.record_run(a_run(work="second", state="needs attention", later=3))
    assert "newer than some of these marks" in only(book).flags[1]


def test_without_any_result_there_is_no_mark_and_no_zero(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(state="needs attention", problem="no sandbox"))
    grade = only(book)
    assert (grade.auto, grade.total, grade.final, grade.questions) == (None, None, None, ())
    export_0316(book)
    row = row_of(path)
    assert (row["auto_mark"], row["total_mark"]) == (None, None)
    assert (row["check_results"], row["tampered"]) == ("[]", "[]")


def test_a_question_without_a_result_keeps_the_mark_of_the_same_submission_only(
    book: Gradebook,
) -> None:
    book.record_run(a_run(points=FAIR))
    broken: dict[str, float | None] = {**FAIR, "Q2": None}
    failed = {"Q2": "needs attention"}
    book.record_run(a_run(points=broken, states=failed, state="needs attention", later=1))
    assert only(book).auto == 22.1
    book.record_run(
        a_run(points=broken, states=failed, state="needs attention", work="second", later=2)
    )
    grade = only(book)
    assert (grade.auto, grade.questions[1].points) == (None, None)
    assert grade.questions[1].open == "no result yet"


def test_marks_of_a_newer_submission_have_its_time_also_where_some_are_missing(
    book: Gradebook,
) -> None:
    """A person may give what is missing, and lateness is that of the work that is marked."""
    first = book.record_run(a_run(points=FAIR, received=AT))
    late, failed = AT + timedelta(days=2), "needs attention"
    second = a_run(
        points={**FAIR, "Q2": None},
        states={"Q2": failed},
        state=failed,
        work="second",
        received=late,
        later=5,
    )
    assert [run.number for run in book.explaining_runs("A1")] == [first]
    for _ in range(2):
        number = book.record_run(second)
        assert [run.number for run in book.explaining_runs("A1")] == [number]
        assert only(book).submitted_at == late.timestamp()


def test_a_question_that_the_source_no_longer_has_does_not_count(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    fewer = {"Q1": 10.0, "Q2": 15.0}
    book.record_run(a_run(points={"Q1": 7.1, "Q2": 15.0}, marks=fewer, later=1))
    assert [q.key for q in only(book).questions] == ["Q1", "Q2"]
    assert (only(book).total, only(book).max_mark) == (22.1, 25)
    book.record_run(a_run(points=FAIR, later=2))
    assert [q.key for q in only(book).questions] == list(MARKS)


def test_where_all_questions_have_checks_there_is_no_mark_for_the_whole(book: Gradebook) -> None:
    book.record_run(a_run(points={"Q1": 7.1, "Q2": 5}, marks={"Q1": 10, "Q2": 15}))
    told = "Every question of A1 has checks, so that there is no mark for the whole."
    with pytest.raises(InvalidInput, match=told) as refused:
        book.record_marks("A1", "alice", {WHOLE: MarkEntry(50)}, marker="mia", at=AT)
    assert refused.value.hint == "Its questions: Q1, Q2."


def test_without_marks_one_mark_of_100_is_given(book: Gradebook, path: Path) -> None:
    run = replace(a_run(points={}, marks={"Q1": 1.0}), marks=None, max_mark=100.0)
    run = replace(run, questions=(replace(run.questions[0], available=None, state="judged"),))
    book.record_run(run)
    assert (only(book).auto, only(book).total) == (None, None)
    grade = book.record_marks("A1", "alice", {WHOLE: MarkEntry(65.5)}, marker="mia", at=AT)
    assert (grade.total, grade.whole and grade.whole.points) == (65.5, 65.5)
    export_0316(book)
    row = row_of(path)
    assert (row["auto_mark"], row["manual_mark"], row["total_mark"]) == (None, 65.5, 65.5)


def test_nobody_waits_for_a_question_of_no_marks(book: Gradebook) -> None:
    """Such as a survey at the end."""
    marks = {"Q1": 10.0, "Q2": 0.0, "Essay": 10.0, "Survey": 0.0}
    states = {"Q2": "unprotected"}
    book.record_run(a_run(points={"Q1": 7.0, "Q2": 0.0}, marks=marks, states=states))
    assert (only(book).auto, only(book).total) == (7, None)
    assert [q.key for q in only(book).questions if q.open] == ["Essay"]
    assert (give(book, Essay=8).manual, only(book).total) == (8, 15)
    fewer = {key: marks[key] for key in ("Q1", "Survey")}
    book.record_run(a_run("bob", points={"Q1": 7.0}, marks=fewer))
    assert book.grades("A1", ["bob"])[0].total == 7


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ({"Q9": MarkEntry(1)}, "no question 'Q9'"),
        ({"Q1": MarkEntry(10.5)}, "Q1 can have 0 to 10 marks, not 10.5"),
        ({"Q1": MarkEntry(-1)}, "not -1"),
        ({"Q1": MarkEntry(float("nan"))}, "not nan"),
        ({WHOLE: MarkEntry(61)}, "The mark can have 0 to 60"),
        ({"Q1": MarkEntry(1, "x" * 20_001)}, "at most 20000 characters"),
    ],
)
def test_a_mark_that_cannot_be_is_refused_whole(
    book: Gradebook, marks: dict[str, MarkEntry], words: str
) -> None:
    book.record_run(a_run(points=FAIR))
    with pytest.raises(InvalidInput, match=words):
        book.record_marks("A1", "alice", {"Q2": MarkEntry(1), **marks}, marker="mia", at=AT)
    assert [m for m in book.history("A1", "alice") if m.marker] == []
    with pytest.raises(InvalidInput, match="no name"):
        book.record_marks("A1", "alice", {"Q2": MarkEntry(1)}, marker=" ", at=AT)
    with pytest.raises(NotFound, match="no submission of bob for A1"):
        book.record_marks("A1", "bob", {"Q2": MarkEntry(1)}, marker="mia", at=AT)


def test_a_mark_that_was_given_meanwhile_is_not_overwritten(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    seen = only(book).version
    give(book, Analysis=30)
    with pytest.raises(Conflict, match="The marks of alice were changed"):
        book.record_marks(
            "A1", "alice", {"Analysis": MarkEntry(5)}, marker="ole", at=AT, version=seen
        )
    other = {"Q3": MarkEntry(1)}
    book.record_marks("A1", "alice", other, marker="ole", at=AT, version=seen)
    assert only(book).total == 53.1, "another question is no conflict"
    seen = only(book).version
    book.record_marks("A1", "alice", {}, comment="First.", marker="mia", at=AT)
    with pytest.raises(Conflict, match="changed meanwhile"):
        book.record_marks("A1", "alice", {}, comment="Second.", marker="ole", at=AT, version=seen)
    assert only(book).comment == "First."
    assert only(book).total == 53.1, "a comment changes no mark"


def test_an_error_in_between_leaves_nothing_of_a_run(
    book: Gradebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.record_run(a_run(points=FAIR))
    before = (only(book), book.history("A1", "alice"))

    def fail(*_: object) -> None:
        raise OSError("no more")

    monkeypatch.setattr(gradebook_marks, "put_work", fail)
    with pytest.raises(OSError, match="no more"):
        book.record_run(a_run(points={**FAIR, "Q1": 0.0}, later=2))
    assert (only(book), book.history("A1", "alice")) == before
    assert len(book.runs("A1", "alice")) == 1


def test_two_graders_at_once_lose_no_run(book: Gradebook) -> None:
    students = [f"student{number}" for number in range(6)]
    runs = [a_run(student, FAIR) for student in students]
    at_once(6, lambda number: book.record_run(runs[number]))
    assert [each.student for each in book.grades("A1")] == students


def test_a_full_disk_is_named_and_nothing_is_half_written(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR))
    engine = book._engine
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    long = replace(a_run("bob", FAIR), result="x" * 1_000_000)
    with pytest.raises(Busy, match="The disk is full"):
        book.record_run(long)
    assert [each.student for each in book.grades("A1")] == ["alice"]
    book.record_run(a_run(points={**FAIR, "Q1": 1.0}, later=1))
    assert only(book).auto == 16


def test_a_mark_under_changed_questions_is_flagged(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=30, Q3=5)
    fewer = {"Q1": 10.0, "Q2": 15.0, "Analysis": 40.0}
    book.record_run(a_run(points={"Q1": 7.1, "Q2": 15.0}, marks=fewer, later=2))
    assert only(book).total == 52.1
    assert only(book).flags == (
        "Look again at Analysis: the work or its grading changed after the mark",
        "The marks of Q3 do not count: there is no such question now",
    )


@pytest.mark.parametrize("changed", [{**MARKS, "Q1": 20}, {"Q1": 10, "Analysis": 60}])
def test_marks_by_another_table_than_there_is_now_are_flagged(
    book: Gradebook, changed: Mapping[str, float]
) -> None:
    """One student was graded by the new table, whose maximum is everybody's from then on."""
    for student in ("alice", "bob"):
        book.record_run(a_run(student, FAIR))
        give(book, student=student, Analysis=30)
    assert [each.flags for each in book.grades("A1")] == [(), ()]
    points = {key: FAIR[key] for key in FAIR if key in changed}
    book.record_run(a_run("alice", points, marks=changed, later=5))
    alice, bob = book.grades("A1")
    assert (alice.flags, bob.max_mark) == ((), sum(changed.values()))
    flag = "The table of marks is another one than when this was graded: grade it again"
    assert bob.flags == (flag,)
    book.record_run(a_run("bob", points, marks=changed, later=6))
    assert [each.flags for each in book.grades("A1")] == [(), ()]


def test_a_mark_for_all_is_flagged_after_another_maximum_of_the_same_work(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    book.record_marks("A1", "alice", {WHOLE: MarkEntry(30)}, marker="mia", at=AT)
    book.record_run(a_run(points=FAIR, marks={**MARKS, "Analysis": 40.0}, later=2))
    (flag,) = only(book).flags
    assert "the work or its maximum changed" in flag


def test_a_mark_that_was_taken_back_is_not_told_of_a_removed_question(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    give(book, Q3=5)
    book.record_marks("A1", "alice", {"Q3": MarkEntry(None)}, marker="mia", at=AT)
    fewer = {"Q1": 10.0, "Q2": 15.0}
    book.record_run(a_run(points={"Q1": 7.1, "Q2": 15.0}, marks=fewer, later=2))
    assert only(book).flags == ()


@pytest.mark.parametrize("read", ["grades", "assignments"])
def test_a_list_takes_as_many_queries_for_many_rows_as_for_one(
    book: Gradebook, queries: list[str], read: str
) -> None:
    def count() -> int:
        queries.clear()
        rows = book.grades("A1") if read == "grades" else book.assignments()
        assert rows
        return len(queries)

    book.record_run(a_run(points=FAIR))
    one = count()
    for number in range(5):
        book.record_run(a_run(f"student{number}", FAIR))
        book.record_run(a_run("alice", FAIR, assignment=f"B{number}"))
    assert count() == one


def test_the_newer_of_one_mark_for_all_and_marks_by_question_counts(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    give(book, Analysis=30)
    at = AT + timedelta(minutes=2)
    assert book.record_marks("A1", "alice", {WHOLE: MarkEntry(20)}, marker="m", at=at).total == 42.1
    assert give(book, later=3, Analysis=10).total == 32.1


def test_a_comment_alone_confirms_no_mark_of_other_work(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR))
    book.record_marks("A1", "alice", {WHOLE: MarkEntry(30)}, marker="mia", at=AT)
    book.record_run(a_run(points=FAIR, work="second", later=5))
    (flag,) = only(book).flags
    assert "Look again" in flag
    said = book.record_marks("A1", "alice", {}, marker="ben", at=AT, comment="It came late.")
    assert (said.total, said.comment, said.flags) == (52.1, "It came late.", (flag,))
    export_0316(book)
    change(path, "UPDATE submissions SET feedback = 'Thanks.', updated_at = 'later'")
    assert import_0316(book) == [("alice", "done", "a comment")]
    assert (only(book).comment, only(book).flags) == ("Thanks.", (flag,))


def test_a_comment_alone_leaves_the_mark_to_its_marker(book: Gradebook) -> None:
    book.record_run(a_run(points=FAIR))
    for points, marker in ((20, "ben"), (30, "mia")):
        book.record_marks("A1", "alice", {WHOLE: MarkEntry(points)}, marker=marker, at=AT)
    said = book.record_marks("A1", "alice", {}, marker="ben", at=AT, comment="It came late.")
    assert said.whole is not None
    assert (said.whole.points, said.whole.marker, said.comment) == (30, "mia", "It came late.")


def test_a_gradebook_that_another_program_locks_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_MS", 50)
    with Gradebook(path) as book, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match=r"gradebook\.db is locked"):
            book.record_run(a_run(points=FAIR))
        assert book.grades("A1") == ()


def test_a_damaged_gradebook_is_named(book: Gradebook, path: Path) -> None:
    book.record_run(a_run(points=FAIR))
    book.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    path.with_name("gradebook.db-wal").unlink(missing_ok=True)
    with pytest.raises(InvalidInput, match="damaged"), Gradebook(path) as damaged:
        damaged.record_run(a_run(points=FAIR))
