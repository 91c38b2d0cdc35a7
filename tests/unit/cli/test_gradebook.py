"""``mograder gradebook``: show, explain, mark, confirm, export, check; marks of 0.3.16."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mograder.cli.gradebook.book import changed_book
from mograder.core.settings import load_settings
from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
    grading_key,
    render_result,
    sign_result,
)
from mograder.sandbox.execution.judging import JudgedCall, JudgedCondition
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import (
    WHOLE,
    GradingRun,
    MarkDetails,
    MarkEntry,
    Penalty,
)
from mograder.store.marking.annotations import SavedText, read_mark_reasons
from mograder.store.marking.question_marking import Change, QuestionMarks
from mograder.store.marking.saved_comments import Author, CommentWish, SavedComments
from mograder.web.marking.context import SharedGradebook
from tests.support.command_line import cli
from tests.support.gradebooks import (
    AT,
    FAIR,
    MARKS,
    a_run,
    change,
    give,
    put_penalty,
    put_recorded,
    row_of,
)
from tests.support.graded_results import graded_result

SAVED = (
    "UPDATE submissions SET manual_mark = 70, total_mark = 22 + 42, feedback = 'New.', "
    "graded_at = '2026-11-21T10:00:00', updated_at = '2026-11-21T10:00:00' "
    "WHERE student = 'alice' AND assignment = 'A1'"
)
EXPORTS = "[gradebook]\nexport_0316 = true\n"
BIDI = "\u202egnirts\x1b[31m"


@pytest.fixture(autouse=True)
def course(here: Path) -> Path:
    (here / "mograder.toml").write_text("")
    return here


@pytest.fixture
def graded(course: Path) -> Path:
    """Two students: alice is marked and late, bob's Q2 ran unprotected."""
    path = course / "gradebook.db"
    with Gradebook(path) as book:
        book.record_run(signed_run(course))
        book.record_marks(
            "A1",
            "alice",
            {"Analysis": MarkEntry(45, "Nice\nplot")},
            marker="mia",
            at=AT,
            comment=f"Well {BIDI}",
        )
        put_penalty(book, "alice", Penalty(10, 60.4, 1_795_292_502))
        book.record_run(a_run("bob", {**FAIR, "Q3": 5.0}, states={"Q2": "unprotected"}))
    return path


SQUARES: Mapping[str, Any] = {"message": "your squares are wrong", "passed": True, "reason": ""}
"""A condition that holds, with the text for one that does not."""


def result(points: Mapping[str, float | None]) -> GradingResult:
    condition = JudgedCondition(message="area of a square", weight=1, passed=False, reason=BIDI)
    label = GradedLabel(
        label="Q1: area",
        key="Q1",
        earned=5,
        total=7,
        passed=False,
        hidden=True,
        conditions=(condition, replace(condition, **SQUARES)),
    )
    call = JudgedCall(call="area(2)", status="returned", result="12.566", milliseconds=0.12)
    check = GradedCheck(
        cell=3,
        line=40,
        hidden=True,
        state=GradingState.JUDGED,
        labels=(label,),
        calls=(call,) * 12,
    )
    questions = tuple(
        GradedQuestion(key=key, available=MARKS[key], earned=mark, state=GradingState.JUDGED)
        for key, mark in points.items()
    )
    return graded_result(assignment="A1", questions=questions, checks=(check,))


def signed_run(course: Path) -> GradingRun:
    key, fair = grading_key(load_settings(course, environ={})), result(FAIR)
    return replace(
        a_run("alice", FAIR), result=render_result(fair), signature=sign_result(key, fair)
    )


def test_show_lists_students_by_questions(graded: Path) -> None:
    assert cli("gradebook show A1").lines == [
        "Student  Q1 /10  Q2 /15  Q3 /15  Analysis /60  Checks  Manual  Total /100  Mark",
        "alice       7.1      15       0           45*    22.1      45        67.1  60.4",
        "bob         7.1    15!?       5            -?    27.1       -           -     -",
        "  * given by a person",
        "  ! the answer could have forged it (unprotected)",
        "  ? waits for a person",
        "A1: 2 students, 1 without a mark.",
    ]


def test_show_lists_students_by_assignments_and_one_student(graded: Path) -> None:
    assert cli("gradebook show").lines == [
        "Student    A1",
        "alice    60.4",
        "bob         -",
    ]
    only = cli("gradebook show a1 --student bob")
    assert "alice" not in only.out
    assert only.lines[-1] == "A1: 1 student, 1 without a mark."
    told = cli("gradebook show --json").json
    assert [(each["student"], each["mark"]) for each in told["A1"]] == [
        ("alice", 60.4),
        ("bob", None),
    ]
    assert told["A1"][0]["questions"][3]["marker"] == "mia"
    for words in ("show A1 --student zoe", "show --student zoe", "explain A1 zoe"):
        assert "It has: alice, bob.\n" in cli("gradebook", *words.split(), status=3).err


def test_explain_tells_conditions_markers_and_the_penalty(graded: Path) -> None:
    said = cli("gradebook explain A1 alice").out
    lines = said.splitlines()
    assert lines[:5] + lines[14:17] == [
        "A1, alice: 60.4 of 100",
        "  Q1: 7.1 of 10, judged",
        "      Q1: area (hidden): weight 5 of 7",
        "        failed    1  area of a square [ gnirts [31m]",
        "        passed    1  (on failure: your squares are wrong)",
        "        area(2) → 12.566 (0.1 ms)",
        "        and 2 more calls, which --json lists",
        "  Q2: 15 of 15, judged",
    ]
    assert "  Analysis: 45 of 60, given by mia on Fri 20 Nov 2026" in said
    assert "      Nice\n      plot\n" in said
    assert "  Total: 22.1 + 45 = 67.1\n  Late work: 67.1 − 10 % (by mograder 0.3.16" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    told = cli("gradebook explain A1 alice --json").json
    assert told["result"]["checks"][0]["labels"][0]["label"] == "Q1: area"
    assert [each["marker"] for each in told["history"]][-2:] == ["mia", "mia"]
    cli("gradebook explain A1 zoe", status=3)


def test_explain_shows_no_conditions_of_a_result_that_was_changed(
    graded: Path, course: Path
) -> None:
    better = render_result(result({**FAIR, "Q3": 15.0}))
    with Gradebook(graded) as book:
        book.record_run(replace(signed_run(course), result=better))
    said = cli("gradebook explain A1 alice").out
    assert "  No conditions are shown: its result was changed after it was signed, or" in said
    assert "area of a square" not in said
    told = cli("gradebook explain A1 alice --json").json
    assert told["result"] is None
    assert told["problem"].startswith("its result was changed after it was signed, or ")


def test_explain_tells_of_marks_of_0_3_16(course: Path) -> None:
    put_recorded(course / "gradebook.db")
    said = cli("gradebook explain A1 alice").out
    assert "  Q1: its marks are in the sum of the checks, which 0.3.16 graded\n" in said
    assert "  All questions without checks: 42 of 60, given by mograder 0.3.16 on " in said
    assert "  Total: 25 + 42 = 67\n  Late work: 67 − 10 % (by mograder 0.3.16" in said
    assert ") = 60\n" in said


def test_marks_are_given_confirmed_and_withdrawn(graded: Path) -> None:
    said = cli("gradebook mark A1 bob Analysis=30,5 --comment Fine. --marker mia").out
    assert said == "A1, bob: no total yet: Q2 is not confirmed yet\n"
    assert cli("gradebook confirm A1 --marker ole").out == "Confirmed the marks of 1 student.\n"
    assert cli("gradebook confirm A1").out == "Confirmed the marks of 0 students.\n"
    with Gradebook(graded) as book:
        bob = book.grades("A1")[1]
    assert (bob.total, bob.comment) == (57.6, "Fine.")
    assert {q.key: q.marker for q in bob.questions if q.marker} == {"Q2": "ole", "Analysis": "mia"}
    assert "no total yet" in cli("gradebook mark A1 bob Analysis=none").out
    assert cli("gradebook mark A1 bob --whole 20").out == "A1, bob: 47.1 of 100\n"
    with Gradebook(graded) as book:
        assert book.grades("A1")[1].comment == "Fine."


def test_marking_tells_the_mark_after_the_deduction_for_late_work(graded: Path) -> None:
    said = cli("gradebook mark A1 alice Analysis=55").out
    assert said.startswith("A1, alice: 69.4 of 100; 77.1 − 10 % (by mograder 0.3.16")
    assert said.endswith(" = 69.4\n")


def test_a_student_is_found_by_another_form_of_the_same_name(graded: Path) -> None:
    with Gradebook(graded) as book:
        book.record_run(a_run("zo\u00eb", FAIR))
    typed = "zoe\u0308"
    assert cli("gradebook show A1 --student", typed).out.count("zo\u00eb") == 1
    assert "A1, zo\u00eb: " in cli("gradebook explain A1", typed).out
    assert "A1, zo\u00eb: " in cli("gradebook mark A1", typed, "Analysis=40").out
    assert "zo\u00eb" in cli("gradebook release A1 --student", typed).out
    cli("extension group \u00dcbung", typed)
    assert "zo\u00eb" in cli("gradebook release A1 --group", "U\u0308bung").out


def test_a_number_leaves_the_comments_of_markers(graded: Path) -> None:
    said = {"Q2": MarkEntry(None, "Which way?"), "Analysis": MarkEntry(30, "Clear.")}
    with Gradebook(graded) as book:
        book.record_marks("A1", "bob", said, marker="mia", at=AT)
    cli("gradebook confirm A1 bob")
    cli("gradebook mark A1 bob Analysis=31")
    with Gradebook(graded) as book:
        found = {each.key: (each.points, each.comment) for each in book.grades("A1")[1].questions}
    assert (found["Q2"][1], found["Analysis"]) == ("Which way?", (31, "Clear."))


def test_a_number_leaves_the_comment_that_is_written_meanwhile(
    graded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was replaced by the one before, which the command had read."""

    def name() -> str:
        said = {"Analysis": MarkEntry(30, "Clear.")}
        with Gradebook(graded) as book:
            book.record_marks("A1", "bob", said, marker="mia", at=AT)
        return "ole"

    monkeypatch.setattr("mograder.cli.gradebook.mark.marker_name", name)
    told = cli("gradebook mark A1 bob Analysis=31", status=5).err
    assert "The marks of bob were changed meanwhile." in told
    with Gradebook(graded) as book:
        analysis = book.grades("A1")[1].questions[-1]
    assert (analysis.points, analysis.comment) == (30, "Clear.")


def test_a_number_leaves_the_saved_comments_of_markers(graded: Path, course: Path) -> None:
    with Gradebook(graded) as book:
        wish, author = CommentWish("Names the unit."), Author("mia", AT)
        made = SavedComments(book).add("A1", "Analysis", wish, author)
        marks = QuestionMarks(book)
        seen = marks.state("A1", "bob", "Analysis").version
        entry = MarkEntry(30, "", MarkDetails(saved=(made.comment,)))
        marks.give("A1", "bob", Change("Analysis", entry, "mia", AT, seen))
    cli("gradebook mark A1 bob Analysis=31")
    (course / "marks.csv").write_text("student,Analysis\nbob,32\n")
    cli("gradebook import A1 marks.csv")
    with Gradebook(graded) as book:
        assert book.grades("A1")[1].questions[-1].points == 32
        reasons = read_mark_reasons(book, "A1")["bob"]["Analysis"]
    assert reasons.saved == (SavedText("Names the unit."),)
    assert cli("gradebook explain A1 bob").out.count(": Names the unit.\n") == 3


def test_a_comment_leaves_the_mark_by_saved_comments_as_it_is(graded: Path) -> None:
    with Gradebook(graded) as book:
        made = SavedComments(book).add("A1", WHOLE, CommentWish("Clear.", 20), Author("mia", AT))
        marks = QuestionMarks(book)
        seen = marks.state("A1", "bob", WHOLE).version
        entry = MarkEntry(None, "", MarkDetails(1.0, (made.comment,)))
        marks.give("A1", "bob", Change(WHOLE, entry, "mia", AT, seen))
    cli("gradebook mark A1 bob --comment", "Go on.")
    with Gradebook(graded) as book:
        (whole,) = read_mark_reasons(book, "A1")["bob"].values()
        bob = book.grades("A1")[1]
    assert (whole.saved, whole.adjustment) == ((SavedText("Clear.", 20),), 1.0)
    assert (bob.whole and bob.whole.points, bob.comment) == (21, "Go on.")


def test_a_mark_in_the_place_of_gradings_is_kept_with_its_reason(graded: Path) -> None:
    cli("gradebook mark A1 bob Q1=7.1")
    cli("gradebook mark A1 bob Q1=9 --reason", "The check was too strict.")
    with Gradebook(graded) as book:
        (now, *_) = book.grades("A1")[1].questions
        reasons = read_mark_reasons(book, "A1")["bob"]["Q1"]
    assert (now.key, now.points, now.graded) == ("Q1", 9, 7.1)
    assert reasons.reason == "The check was too strict."
    assert ": The check was too strict.\n" in cli("gradebook explain A1 bob").out
    assert cli("gradebook explain A1 bob --json").json["history"][-1]["reason"] == reasons.reason


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["mark", "A1", "bob"], 2, "Give QUESTION=POINTS"),
        (["mark", "A1", "bob", "Q1"], 2, "'Q1' is not QUESTION=POINTS"),
        (["mark", "A1", "bob", "Q1=many"], 2, "'many' is not a number of points"),
        (["mark", "A1", "bob", "Q1=1_0"], 2, "'1_0' is not a number of points"),
        (["mark", "A1", "bob", "Q1=٣"], 2, "'٣' is not a number of points"),
        (["withdraw", "A1", "--note", " "], 2, "Write a note, which students read"),
        (["mark", "A1", "bob", "Q1=11"], 2, "Q1 can have 0 to 10 marks, not 11"),
        (["mark", "A1", "bob", "Analysis=30", "Analysis=40"], 2, "one mark for each question"),
        (["mark", "A1", "bob", "Q1=nan"], 2, "not nan"),
        (["mark", "A1", "bob", "Q1=1"], 2, "reason: grading gave 7.1 marks for Q1."),
        (["mark", "A1", "bob", "Q1=1", "--reason", " "], 2, "Say why the mark is another one."),
        (["mark", "A1", "zoe", "Q1=1"], 3, "no marks of 'zoe'"),
        (["mark", "B7", "bob", "Q1=1"], 3, "There is no assignment 'B7' in the gradebook"),
        (["export", "--format", "moodle"], 2, "--format moodle is for the marks of one ASSIGNMENT"),
        (["export", "A1", "--format", "https", "--by", "question"], 2, "--by assignment."),
        (["export", "--by", "question"], 2, "--by question is for the marks of one"),
    ],
)
def test_what_cannot_be_is_refused(graded: Path, words: list[str], status: int, said: str) -> None:
    assert said in " ".join(cli("gradebook", *words, status=status).err.split())


@pytest.mark.parametrize("command", ["show", "check", "export", "explain A1 x", "mark A1 x Q1=1"])
def test_without_a_gradebook_nothing_is_made(course: Path, command: str) -> None:
    assert "There is no gradebook" in cli("gradebook", *command.split(), status=3).err
    assert not (course / "gradebook.db").exists()


def test_export_writes_what_the_uploads_read(graded: Path, course: Path) -> None:
    head = "student,mark,auto_mark,feedback,penalty_pct,penalised_mark"
    comment, late = f"Well {BIDI}", "Late penalty: -10%. Raw mark: 67.1."
    assert cli("gradebook export A1").out == (
        f"{head},Q1,Q2,Q3,Analysis,version\n"
        f"alice,67.1,22.1,{comment},10,60.4,7.1,15,0,45,6\nbob,,27.1,,,,7.1,15,5,,10\n"
    )
    assert cli("gradebook export A1 --by assignment").lines[0] == head
    assert cli("gradebook export A1 --format moodle").out == (
        f'student,mark,feedback\nalice,60.4,"{late}\n\n{comment}"\nbob,,\n'
    )
    assert cli("gradebook export A1 --format https").out == (
        f"username,grade,feedback\nalice,60.4,{comment}\n"
    )
    assert cli("gradebook export").out == "student,A1\nalice,60.4\nbob,\n"
    said = cli("gradebook export A1 --format json -o marks.json").err
    waits = "Q2 is not confirmed yet, Analysis is not marked yet"
    assert f"Warning: A1: bob has no mark: {waits}." in said
    assert "Wrote marks.json: the marks of 2 submissions." in said
    told = json.loads((course / "marks.json").read_text("utf-8"))
    assert [each["mark"] for each in told] == [60.4, None]
    assert (course / "marks.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("graded")
@pytest.mark.parametrize(
    "command",
    ["gradebook export A1 -o", "gradebook statistics A1 --csv", "extension export -o"],
)
def test_a_file_in_a_directory_that_is_not_there_is_told(command: str) -> None:
    told = cli(command, "tables/A1.csv", status=2).err
    assert "Error: tables/A1.csv cannot be written: No such file or directory.\n" in told


def test_no_export_replaces_the_gradebook(graded: Path) -> None:
    told = cli("gradebook export A1 -o gradebook.db", status=2).err
    assert "Error: gradebook.db is a database, which may hold a course's marks." in told
    cli("gradebook show A1")


@pytest.mark.usefixtures("graded")
@pytest.mark.parametrize("name", ["mograder.toml", "autograded/A1/alice.py", "link.csv"])
@pytest.mark.parametrize(
    "command",
    ["gradebook export A1 -o", "gradebook statistics A1 --csv", "feedback A1 --grades-csv"],
)
def test_no_table_replaces_the_settings_or_a_notebook(
    course: Path, command: str, name: str
) -> None:
    (course / "mograder.toml").touch()
    (course / "autograded/A1").mkdir(parents=True)
    (course / "autograded/A1/alice.py").write_text("import marimo\n")
    (course / "link.csv").symlink_to("mograder.toml")
    before = (course / name).read_bytes()
    told = cli(command, name, status=2).err
    assert f"Error: {name} is a" in told
    assert "Name another file.\n" in told
    assert (course / name).read_bytes() == before


@pytest.mark.usefixtures("graded")
def test_a_pipe_is_written_to_and_a_link_stays(course: Path) -> None:
    """As root a device such as /dev/null was replaced by a file."""
    pipe, link = course / "pipe", course / "link.csv"
    os.mkfifo(pipe)
    link.symlink_to("marks.csv")
    with ThreadPoolExecutor() as pool:
        read = pool.submit(pipe.read_text)
        cli("gradebook export A1 -o pipe")
        marks = read.result(timeout=10)
    assert marks == cli("gradebook export A1").out
    assert pipe.is_fifo()
    cli("gradebook export A1 -o link.csv")
    assert link.is_symlink()
    assert (course / "marks.csv").read_text("utf-8-sig") == marks


def test_check_ends_with_1_for_damage_only(course: Path) -> None:
    put_recorded(course / "gradebook.db")
    said = cli("gradebook check").out
    assert "  [--] gradebook: A1, bob: 0.3.16 graded again" in said
    assert "A1" not in cli("gradebook check A3").out
    cli("gradebook check A9", status=3)


def test_check_verifies_the_signatures_of_results(course: Path) -> None:
    signed = signed_run(course)
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(signed)
        assert "was changed" not in cli("gradebook check").out
        better = render_result(result({**FAIR, "Q3": 15.0}))
        book.record_run(replace(signed, student="bob", result=better))
        book.record_run(replace(signed, student="carol", result="{}"))
        book.record_run(replace(signed, student="dan"))
    said = cli("gradebook check", status=1).out
    assert [line for line in said.splitlines() if "was changed" in line] == [
        "  [!!] gradebook: A1, bob: result 2 was changed",
        "  [!!] gradebook: A1, carol: result 3 was changed",
        "  [!!] gradebook: A1, dan: result 4 was changed",
    ]


def test_an_exported_file_is_filled_in_and_taken_back(graded: Path, course: Path) -> None:
    file = course / "marks.csv"
    cli("gradebook export A1 -o", str(file))
    assert file.read_bytes().startswith(b"\xef\xbb\xbf"), "else Excel garbles what is not ASCII"
    assert cli("gradebook import A1 marks.csv").out == "A1: 0 students changed.\n"
    text = file.read_text("utf-8").replace("bob,,27.1,,,,7.1,15,5,", "bob,,27.1,Hm,,,7.1,12,5,40,5")
    file.write_text(text.replace("40,5", '"40,5"'), "utf-8")
    told = "  bob: Q2 15 -> 12, Analysis - -> 40.5, comment\nA1: 1 student changed.\n"
    dry = cli("gradebook import A1 marks.csv --dry-run").out
    assert dry == f"{told}Dry run — nothing was recorded.\n"
    assert cli("gradebook import A1 marks.csv --marker mia").out == told
    with Gradebook(graded) as book:
        alice, bob = book.grades("A1")
    assert (bob.total, bob.comment) == (64.6, "Hm")
    assert {q.key for q in bob.questions if q.marker == "mia"} == {"Q2", "Analysis"}
    assert alice.total == 67.1
    assert cli("gradebook import A1 marks.csv").out == "A1: 0 students changed.\n"


def test_a_filled_file_leaves_marks_that_changed_since_the_export(
    graded: Path, course: Path
) -> None:
    """A corrected check was graded again: the file's old marks replaced the new ones."""
    cli("gradebook export A1 -o marks.csv")
    text = (course / "marks.csv").read_text("utf-8")
    with Gradebook(graded) as book:
        for student in ("alice", "bob"):
            book.record_run(a_run(student, {**FAIR, "Q1": 10.0}, later=60))
        book.record_marks("A1", "alice", {"Analysis": MarkEntry(50)}, marker="mia", at=AT)
    filled = text.replace("7.1,15,5,,", "7.1,15,5,40,")
    (course / "marks.csv").write_text(filled, "utf-8")
    told = "  bob: Analysis - -> 40\nA1: 1 student changed.\n"
    assert cli("gradebook import A1 marks.csv").out == told
    with Gradebook(graded) as book:
        found = {g.student: [q.points for q in g.questions] for g in book.grades("A1")}
    assert found == {"alice": [10, 15, 0, 50], "bob": [10, 15, 0, 40]}


def test_a_cell_for_a_mark_that_changed_since_the_export_is_refused(
    graded: Path, course: Path
) -> None:
    cli("gradebook export A1 -o marks.csv")
    text = (course / "marks.csv").read_text("utf-8")
    said = {"Analysis": MarkEntry(50)}
    with Gradebook(graded) as book:
        book.record_marks("A1", "alice", said, marker="mia", at=AT, comment="Better.")
    filled = text.replace("7.1,15,0,45", "7.1,15,0,48").replace("7.1,15,5,,", "7.1,15,5,40,")
    (course / "marks.csv").write_text(filled, "utf-8")
    newer = "was changed since the export: empty this cell or export again."
    refused = cli("gradebook import A1 marks.csv", status=2).err
    assert f"  line 2 (alice): Analysis (45 -> 50) {newer}\n" in refused
    (course / "marks.csv").write_text(text.replace("Well ", "Very well "), "utf-8")
    refused = cli("gradebook import A1 marks.csv", status=2).err
    assert f"  line 2 (alice): feedback {newer}\n" in refused
    (course / "marks.csv").write_text(text.replace(",6\n", ",1.5\n"), "utf-8")
    refused = cli("gradebook import A1 marks.csv", status=2).err
    assert "  line 2 (alice): version is '1.5', and not the number of the export.\n" in refused
    (course / "marks.csv").write_text(filled.replace("0,48", "0,"), "utf-8")
    assert "  bob: Analysis - -> 40\n" in cli("gradebook import A1 marks.csv").out
    with Gradebook(graded) as book:
        alice, bob = book.grades("A1")
    assert (alice.questions[-1].points, alice.comment) == (50, "Better.")
    assert bob.questions[-1].points == 40


def test_the_marks_of_an_essay_are_filled_into_the_column_mark(course: Path) -> None:
    """They were passed over, and only their comments recorded."""
    with Gradebook(course / "gradebook.db") as book:
        for student in ("alice", "bob"):
            book.record_run(a_run(student, {}, assignment="Essay", marks=None))
    file = course / "e.csv"
    cli("gradebook export Essay -o e.csv")
    text = file.read_text("utf-8").replace("alice,,,", "alice,70.5,,Hm").replace("bob,", "bob,101")
    file.write_text(text, "utf-8")
    said = cli("gradebook import Essay e.csv", status=2).err
    assert "  line 3 (bob): mark can be 0 to 100, not 101." in said
    file.write_text(text.replace("101", "0"), "utf-8")
    told = (
        "  alice: the whole - -> 70.5, comment\n  bob: the whole - -> 0\nEssay: 2 students changed."
    )
    assert cli("gradebook import Essay e.csv").out == f"{told}\n"
    with Gradebook(course / "gradebook.db") as book:
        assert [(g.total, g.comment) for g in book.grades("Essay")] == [(70.5, "Hm"), (0, "")]
    assert cli("gradebook import Essay e.csv").out == "Essay: 0 students changed.\n"
    file.write_text("student,mark\nalice,71\n", "utf-8")
    assert "  alice: the whole 70.5 -> 71\n" in cli("gradebook import Essay e.csv").out
    with Gradebook(course / "gradebook.db") as book:
        assert [(g.total, g.comment) for g in book.grades("Essay")] == [(71, "Hm"), (0, "")]


@pytest.mark.parametrize("comment", ["One\n\ntwo", "One\r\n\r\ntwo"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_line_ends_of_another_system_are_no_change(
    graded: Path, course: Path, comment: str, ends: str
) -> None:
    """Some editors, and git, change those within a comment, too."""
    cli("gradebook mark A1 alice --comment", comment)
    text = cli("gradebook export A1").out
    (course / "marks.csv").write_text(text, "utf-8", newline=ends)
    assert cli("gradebook import A1 marks.csv").out == "A1: 0 students changed.\n"


def test_a_file_with_one_wrong_row_changes_nothing(graded: Path, course: Path) -> None:
    (course / "m.csv").write_text(
        "student,Q2,Q9\nbob,12,1\nzoe,1,\nbob,2,\nalice,16,\n,1,\n", "utf-8"
    )
    said = cli("gradebook import A1 m.csv", status=2).err
    assert "m.csv cannot be used; no mark was changed." in said
    assert "  line 3 (zoe): the gradebook has no submission of this student." in said
    assert "  line 4 (bob): there is another row for this student." in said
    assert "  line 5 (alice): Q2 can have 0 to 15 marks, not 16." in said
    assert "  the column 'Q9' is no question (these are: Q1, Q2, Q3, Analysis)" in said
    with Gradebook(graded) as book:
        assert [m for m in book.history("A1", "bob") if m.marker] == []
    (course / "m.csv").write_text("student,mark\nbob,12\n", "utf-8")
    assert "m.csv has no marks by question." in cli("gradebook import A1 m.csv", status=2).err


def test_an_import_is_previewed_and_changes_no_table_of_0_3_16(course: Path) -> None:
    path = put_recorded(course / "gradebook.db")
    before = path.read_bytes()
    told = cli("gradebook import-0316 --dry-run").out
    assert told.splitlines()[0] == "  A1, alice: 42 of 60 marks by a person, total 67"
    assert told.endswith("7 rows imported.\nDry run — nothing was changed.\n")
    assert path.read_bytes() == before
    assert cli("gradebook import-0316").out == told.replace("Dry run — nothing was changed.\n", "")
    assert cli("gradebook import-0316").out == "0 rows imported.\n"


def test_an_import_tells_marks_that_are_others_after_deductions(course: Path) -> None:
    """0.3.16 rounds them to whole marks; its teachers have shown and sent those."""
    (course / "mograder.toml").write_text(
        "[penalties]\nenabled = true\nper_day = 5.0\n"
        '[[assignments]]\nname = "A1"\nduedate = 1795292000\n'
    )
    put_recorded(course / "gradebook.db")
    found = "A1 alice 63.6 (0.3.16: 60), A1 cleo 51.7 (0.3.16: 0)"
    told = f"2 marks after deductions differ from 0.3.16's: {found}.\n"
    assert told in cli("gradebook import-0316 --dry-run").out
    assert cli("gradebook import-0316").out.endswith(told)
    cli("gradebook export-0316")
    assert "differ" not in cli("gradebook import-0316").out


def test_a_total_beside_a_comment_is_told(course: Path) -> None:
    """0.3.16 saves its slider as the total, also where every question has checks."""
    path = put_recorded(course / "gradebook.db")
    saved = "UPDATE submissions SET manual_mark = 4, total_mark = 4, feedback = 'Good try'"
    change(path, f"{saved}, auto_mark = 0, graded_at = 'x' WHERE assignment = 'A3-Checks'")
    assert "  A3-Checks, alice: total 4, a comment\n" in cli("gradebook import-0316").out
    told = cli("gradebook explain A3-Checks alice").out
    assert "  Total: 4 (as mograder 0.3.16 saved it)\n" in told


@pytest.mark.parametrize(
    "words", ["release A1", "withdraw A1 --note Later", "import A1 marks.csv", "export-0316"]
)
def test_a_dry_run_leaves_the_gradebook_as_it_is(course: Path, words: str) -> None:
    """It neither imports the marks of 0.3.16 nor exports marks to it, as a change of marks does."""
    (course / "mograder.toml").write_text(EXPORTS)
    path = put_recorded(course / "gradebook.db")
    before = path.read_bytes()
    cli("gradebook export A1 -o marks.csv")
    assert "Dry run" in cli("gradebook", *words.split(), "--dry-run").out
    assert path.read_bytes() == before


def test_the_time_of_a_release_is_told_with_its_zone(course: Path) -> None:
    """It is the course's, in which it is typed; this machine may have another one."""
    (course / "mograder.toml").write_text('timezone = "Asia/Tokyo"\n')
    put_recorded(course / "gradebook.db")
    told = cli("gradebook release A1 --at 2030-01-01").out
    assert "will see their marks from 2030-01-01 00:00 JST.\n" in told


def test_the_first_command_that_changes_marks_imports_and_tells(
    course: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = put_recorded(course / "gradebook.db")
    assert "67" in cli("gradebook show A1 --student alice").out
    assert caplog.records == [], "a view changes nothing"
    assert "A1, eve: 65 of 100" in cli("gradebook mark A1 eve Analysis=40").out
    ((_, level, text),) = caplog.record_tuples
    assert level == logging.WARNING
    assert text.startswith("The marks of mograder 0.3.16 for 7 submissions in gradebook.db were")
    change(path, SAVED)
    caplog.clear()
    cli("gradebook show A1")
    assert "has changed 1 row of gradebook.db" in caplog.text
    assert "mograder gradebook import-0316" in caplog.text


def test_a_conflict_is_left_and_ends_with_1(course: Path) -> None:
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
    assert cli("gradebook export-0316 --dry-run").out.startswith(
        "  A1, alice: no total yet\n1 row "
    )
    assert cli("gradebook export-0316").out == "  A1, alice: no total yet\n1 row exported.\n"
    change(course / "gradebook.db", SAVED)
    with Gradebook(course / "gradebook.db") as book:
        give(book, Analysis=12)
    for command, done in (("import-0316", "imported"), ("export-0316", "exported")):
        told = cli("gradebook", command, status=1).out
        assert "  A1, alice: LEFT: " in told
        assert told.endswith(
            f"0 rows {done}, 1 left: give --replace, or mark them on one side only.\n"
        )
    assert "0 rows imported, 1 left" in cli("gradebook import-0316 --dry-run", status=1).out
    assert "1 row imported." in cli("gradebook import-0316 --replace").out
    with Gradebook(course / "gradebook.db") as book:
        assert book.grades("A1")[0].total == 64.1


def test_another_file_is_given(course: Path) -> None:
    put_recorded(course / "theirs.db")
    assert "7 rows imported" in cli("gradebook import-0316 theirs.db --dry-run").out
    assert not (course / "gradebook.db").exists()
    assert "7 rows imported" in cli("gradebook import-0316 theirs.db").out
    assert "7 rows exported" in cli("gradebook export-0316 back.db").out
    assert row_of(course / "back.db")["total_mark"] == 67
    assert cli("gradebook import-0316", status=3).out == ""


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_an_import_without_marks_of_0316_leaves_no_gradebook(course: Path, dry: list[str]) -> None:
    """It would make any directory a course."""
    own = course / "gradebook.db"
    told = cli("gradebook import-0316", *dry, status=3).err
    assert told.startswith(f"Error: There is no gradebook {own}.\n")
    sqlite3.connect(course / "wrong.db").close()
    told = cli("gradebook import-0316 wrong.db", *dry, status=3).err
    assert "There are no marks of mograder 0.3.16 in wrong.db." in told
    assert not list(course.glob("gradebook.db*"))


def test_the_setting_exports_after_each_command_that_changes_marks(
    course: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Gradebook(course / "gradebook.db") as book:
        book.record_run(a_run(points=FAIR))
    (course / "mograder.toml").write_text(EXPORTS)
    cli("gradebook mark A1 alice Analysis=30")
    assert row_of(course / "gradebook.db")["total_mark"] == 52.1
    change(course / "gradebook.db", SAVED)
    cli("gradebook mark A1 alice Analysis=31")
    assert row_of(course / "gradebook.db")["total_mark"] == 64, "nothing is overwritten in silence"
    assert "1 row that mograder 0.3.16 has changed: not exported" in caplog.text


def test_what_was_recorded_before_a_failure_is_exported(course: Path) -> None:
    (course / "mograder.toml").write_text(EXPORTS)
    loaded = load_settings(course, environ={})

    def interrupted() -> None:
        with changed_book(loaded) as book:
            book.record_run(a_run(points=FAIR))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert row_of(course / "gradebook.db")["auto_mark"] == 22.1


def test_the_setting_exports_when_a_hub_or_the_grader_stops(course: Path) -> None:
    (course / "mograder.toml").write_text(EXPORTS)
    with SharedGradebook(load_settings(course, environ={})) as shared:
        shared.get().record_run(a_run(points=FAIR))
    assert row_of(course / "gradebook.db")["auto_mark"] == 22.1
