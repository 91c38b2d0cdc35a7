"""``mograder feedback``: pages, deductions, the CSV, and what it does with what is wrong."""

from __future__ import annotations

import csv
import io
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.store.course.course import is_path
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import LateWork
from tests.support.command_line import cli
from tests.support.gradebooks import put_recorded
from tests.support.graded_courses import DUE, NOTEBOOK, SETTINGS, grades, put


@pytest.fixture(autouse=True)
def course(here: Path) -> Path:
    (here / "mograder.toml").write_text(SETTINGS)
    (here / "autograded/A1").mkdir(parents=True)
    return here


def page(course: Path, student: str) -> str:
    return (course / f"feedback/A1/{student}.html").read_text()


def test_it_writes_pages_deducts_and_says_what_0_3_16_says(course: Path) -> None:
    put(course, "alice", timedelta(hours=15))
    put(course, "bob", timedelta(hours=-1))
    told = cli("feedback A1 --grades-csv out/grades.csv")
    assert told.lines == [
        "Reading grades from gradebook.db",
        "2/2 notebooks have been graded",
        "Late penalties applied to 1 submission",
        "  Exported: feedback/A1/alice.html",
        "  Exported: feedback/A1/bob.html",
        "Grades written to out/grades.csv",
    ]
    assert told.err == ""
    found = grades(course)
    assert (found["alice"].total, found["alice"].final) == (67.5, 64.1)
    assert (found["bob"].penalty_pct, found["bob"].final) == (None, 67.5)
    assert "<strong>64.1</strong> of 100 marks" in page(course, "alice")
    assert "67.5 − 5 % (1 day late after 5 min grace; due" in page(course, "alice")
    assert "by the record of its submission) = 64.1" in page(course, "alice")
    assert "Cell 1, line 6" in page(course, "bob")
    rows = list(csv.DictReader(io.StringIO((course / "out/grades.csv").read_text())))
    assert [row["student"] for row in rows] == ["alice", "bob"]
    assert list(rows[0]) == [
        *("student", "mark", "auto_mark", "feedback", "penalty_pct", "penalised_mark")
    ]
    assert (rows[0]["penalty_pct"], rows[0]["penalised_mark"]) == ("5", "64.1")


def test_a_file_of_grades_that_cannot_be_written_is_told(course: Path) -> None:
    put(course, "alice", None)
    (course / "out").touch()
    told = cli("feedback A1 --grades-csv out/grades.csv", status=2).err
    assert "Error: out/grades.csv cannot be written: Not a directory.\n" in told


def test_0_3_16_reads_the_deduction_in_its_row(course: Path) -> None:
    put(course, "alice", timedelta(hours=15))
    with (course / "mograder.toml").open("a") as settings:
        settings.write("\n[gradebook]\nexport_0316 = true\n")
    cli("feedback A1")
    with closing(sqlite3.connect(course / "gradebook.db")) as connection:
        row = connection.execute(
            "SELECT penalty_pct, penalised_mark, submitted_at FROM submissions"
        )
        assert row.fetchone() == (5.0, 64.1, str(int((DUE + timedelta(hours=15)).timestamp())))


def test_a_deduction_follows_a_due_date_that_was_moved(course: Path) -> None:
    put(course, "alice", timedelta(hours=15))
    cli("feedback A1 --due-date 2026-11-17T10:30+01:00")
    assert grades(course)["alice"].penalty_pct == 20
    cli("feedback A1")
    assert grades(course)["alice"].penalty_pct == 5
    assert "Late penalties" not in cli("feedback A1 --due-date 2026-12-01").out
    assert grades(course)["alice"].final == 67.5


def test_a_due_date_without_an_offset_is_in_the_timezone_and_a_day_is_whole(course: Path) -> None:
    put(course, "alice", timedelta(hours=15))  # 2026-11-21T13:30 in Auckland
    (course / "mograder.toml").write_text('timezone = "Pacific/Auckland"\n' + SETTINGS)
    cli("feedback A1 --due-date 2026-11-21T14:00")
    assert grades(course)["alice"].final == 67.5
    cli("feedback A1 --due-date 2026-11-21T13:00")
    assert grades(course)["alice"].penalty_pct == 5
    cli("feedback A1 --due-date 2026-11-21")
    assert grades(course)["alice"].final == 67.5


def test_without_penalties_nothing_is_deducted(course: Path) -> None:
    put(course, "alice", timedelta(hours=15))
    cli("feedback A1")
    cli("feedback A1 --no-penalties")
    assert grades(course)["alice"].final == 67.5
    told = cli("extension policy A1").lines
    assert told[0] == "enabled = false  (mograder feedback --no-penalties)", "the rule in force"
    assert "67.5 −" not in page(course, "alice")
    (course / "mograder.toml").write_text(SETTINGS.replace("true", "false"))
    cli("feedback A1")
    assert grades(course)["alice"].final == 67.5


def test_without_a_due_date_nothing_is_deducted(course: Path) -> None:
    put(course, "alice", timedelta(hours=15))
    cli("feedback A1")
    (course / "mograder.toml").write_text("[penalties]\nenabled = true\n")
    assert "WARNING: no due date found — skipping penalties" in cli("feedback A1").err
    assert grades(course)["alice"].final == 67.5


def test_a_time_of_submission_that_is_not_known_is_told_and_costs_nothing(course: Path) -> None:
    put(course, "alice", None)
    assert "no time of submission is known of alice" in cli("feedback A1").err
    assert grades(course)["alice"].final == 67.5
    fetched = course / "submitted/A1/.fetch_metadata.json"
    fetched.parent.mkdir(parents=True)
    fetched.write_text(f'{{"alice": {DUE.timestamp() + 400}}}')
    cli("feedback A1")
    assert grades(course)["alice"].final == 64.1


def test_hidden_tests_wait_for_the_due_date(course: Path) -> None:
    put(course, "alice", timedelta(hours=-1))
    (course / "mograder.toml").write_text(SETTINGS.replace(str(int(DUE.timestamp())), str(10**10)))
    cli("feedback A1")
    assert "Your mark will be told after" in page(course, "alice")
    assert "67.5" not in page(course, "alice")
    assert "Q3: check" not in page(course, "alice")


def test_a_result_that_was_changed_is_not_used(course: Path) -> None:
    put(course, "alice", None)
    put(course, "bob", None)
    with closing(sqlite3.connect(course / "gradebook.db")) as connection, connection:
        columns = connection.execute("SELECT name, tbl_name FROM sqlite_master").fetchall()
        table = next(
            name for name, of in columns if name == of and "result" in _columns(connection, name)
        )
        connection.execute(
            f"UPDATE {table} SET result = replace(result, '7.1', '9.9') WHERE student = 'alice'"
        )
    told = cli("feedback A1", status=1)
    assert "FAILED: feedback/A1/alice.html — its result was changed after it was signed" in told.err
    assert "  Exported: feedback/A1/bob.html" in told.out
    assert not (course / "feedback/A1/alice.html").exists()


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def test_a_path_is_known_by_the_separator_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_path.__kwdefaults__ is not None
    monkeypatch.setitem(is_path.__kwdefaults__, "separator", "\\")
    printed = cli("feedback", "autograded\\A2", status=2)
    assert printed.err.startswith("Error: File not found: autograded\\A2\n")


def test_a_page_that_cannot_be_written_concerns_one_student(course: Path) -> None:
    put(course, "alice", None)
    put(course, "bob", None)
    (course / "feedback/A1/alice.html").mkdir(parents=True)
    assert "FAILED: feedback/A1/alice.html" in cli("feedback A1", status=1).err
    assert "For bob." in page(course, "bob")


def test_one_file_is_one_student(course: Path) -> None:
    put(course, "alice", None)
    put(course, "bob", None)
    cli("feedback autograded/A1/bob.py -o here")
    assert [each.name for each in (course / "here").iterdir()] == ["bob.html"]


@pytest.mark.parametrize("told_before", ["--due-date 2026-11-22", "--no-penalties"])
def test_one_students_page_changes_nothing_for_the_others(course: Path, told_before: str) -> None:
    """The due date of the last run was dropped with it, and so all marks changed."""
    for student in ("alice", "bob"):
        put(course, student, timedelta(hours=15))
    cli(f"feedback A1 {told_before}")
    cli("feedback autograded/A1/alice.py")
    assert [each.final for each in grades(course).values()] == [67.5, 67.5]
    assert "<strong>67.5</strong> of 100 marks" in page(course, "alice")
    told = cli("feedback autograded/A1/alice.py --due-date 2026-11-17", status=2).err
    assert "Name the assignment: --no-penalties and --due-date are for all." in told
    cli("feedback autograded/A1/alice.py --no-penalties", status=2)
    cli("feedback autograded/A1/alice.py autograded/A1/bob.py --no-penalties")
    assert [each.final for each in grades(course).values()] == [67.5, 67.5]
    cli("feedback A1")
    assert [each.final for each in grades(course).values()] == [64.1, 64.1]


def test_a_page_never_takes_the_place_of_the_notebook_as_it_ran(course: Path) -> None:
    put(course, "alice", None)
    before = (course / "autograded/A1/alice.html").read_bytes()
    told = cli("feedback A1 -o autograded/A1", status=2).err
    assert "Nothing is written to autograded/A1: results are made of what is there." in told
    (course / "mograder.toml").write_text('[dirs]\nfeedback = "autograded"\n')
    cli("feedback autograded/A1/alice.py", status=2)
    assert (course / "autograded/A1/alice.html").read_bytes() == before


def test_a_directory_of_another_name_is_no_assignment(course: Path) -> None:
    """As after `mograder autograde A1 -o graded`: the pages would be without marks."""
    put(course, "alice", None)
    (course / "autograded/A1").rename(course / "graded")
    told = cli("feedback graded/", status=2).err
    assert "The gradebook has no assignment graded." in told
    assert "Name one of A1" in told
    assert not (course / "feedback").exists()
    with Gradebook(course / "gradebook.db") as book:
        cli("feedback graded/ --no-penalties", status=2)
        assert not LateWork(book).facts().policy("graded").off, "nothing is recorded of it"


def test_pages_of_another_course_are_of_its_gradebook(
    course: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "mograder.toml").write_text(SETTINGS)
    put(course, "alice", None)
    put(other, "alice", timedelta(hours=15))
    told = cli("feedback", str(other / "autograded" / "A1"))
    assert told.lines[0] == f"Reading grades from {other / 'gradebook.db'}"
    assert "<strong>64.1</strong> of 100 marks" in page(other, "alice")
    assert not (course / "feedback").exists()


def test_pages_of_copies_in_no_course_go_into_this_one(
    course: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    put(course, "alice", None)
    elsewhere = tmp_path_factory.mktemp("check") / "A1"
    (course / "autograded/A1").rename(elsewhere)
    cli("feedback", str(elsewhere))
    assert "For alice." in page(course, "alice")


def test_a_course_of_0_3_16_gets_pages_of_its_marks(course: Path) -> None:
    put_recorded(course / "gradebook.db")
    (course / "mograder.toml").write_text("[penalties]\nenabled = true\n")
    for student in ("alice", "cleo"):
        (course / f"autograded/A1/{student}.py").write_text(NOTEBOOK)
        (course / f"autograded/A1/{student}.html").write_text("<script>window.x</script>")
    cli("feedback A1")
    text = page(course, "alice")
    assert "Good work overall." in text
    assert "<script" not in text
    assert "answer" in text
    assert "67 − 10 % (by mograder 0.3.16, which rounded it) = 60" in text
    assert "<strong>0</strong> of 100 marks" in page(course, "cleo"), "a penalised 0 stays 0"
    assert "Not marked yet." in page(course, "eve")


def test_what_is_named_wrongly_is_told(course: Path) -> None:
    assert "No .py files in autograded/A1" in cli("feedback A1", status=2).err
    put(course, "alice", None)
    cli("feedback B7", status=2)
    cli("feedback ./none.py", status=2)
    cli("feedback A1 --due-date soon", status=2)
    (course / "gradebook.db").unlink()
    assert "There is no gradebook" in cli("feedback A1", status=3).err
