"""The gradebook's marks as files: what the uploads read from them, and the same marks everywhere.

See compatibility-0.3.16.md 9.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings

from mograder.clients.moodle.texts import Scale
from mograder.core.csv_table import number_text, read_table, write_table
from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings
from mograder.exchange.grade_files import (
    as_json,
    assignment_csv,
    course_csv,
    filled_marks,
    from_gradebook,
    moodle_csv,
    parse_grades,
    question_csv,
    reservations,
    server_csv,
    server_rows,
    server_rows_of,
)
from mograder.grading.course_late import CourseLate
from mograder.marks import sum_of_marks
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import (
    WHOLE,
    MarkEntry,
    Penalty,
    QuestionGrade,
    StudentGrade,
)
from tests.support.gradebooks import AT, MARKS, a_run, put_penalty, random_points

FORMULAS = ["=1+1", "+1", "-1 for style", "@SUM(A1)", "\tx", "\r=x", "\n=x"]
STUDENTS = 10 * settings().max_examples


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def marked(**values: object) -> StudentGrade:
    known: dict[str, object] = {
        "assignment": "A1",
        "student": "alice",
        "questions": (QuestionGrade("Q1", 7.25, 10, "judged"),),
        "auto": 7.25,
        "total": 7.25,
        "final": 7.25,
        "comment": "Good.",
    }
    return StudentGrade(**{**known, **values})  # type: ignore[arg-type]


def never(student: str, version: int) -> StudentGrade:
    raise AssertionError(f"{student} has no newer marks than those of version {version}")


def test_a_penalised_zero_is_a_zero_in_every_file() -> None:
    late = marked(penalty_pct=100, penalised=0.0, final=0.0)
    files = {
        "question": question_csv([late]),
        "assignment": assignment_csv([late]),
        "moodle": moodle_csv([late]),
    }
    told = "Late penalty: -100%. Raw mark: 7.25.\n\nGood."
    for name, text in files.items():
        (line,) = parse_grades(text.encode(), name)
        assert (line.who, str(line.mark), line.comment) == ("alice", "0", told), name
    for name, text in {**files, "https": server_csv([late])}.items():
        (row,) = server_rows(text.encode(), name)
        comment = told if name == "moodle" else "Good."
        assert (row.who, row.values["grade"], row.values["feedback"]) == ("alice", "0", comment)
    (line,) = from_gradebook([late])
    assert (str(line.mark), line.comment) == ("0", told)
    assert server_rows_of([late])[0].values["grade"] == "0"


def test_a_mark_that_is_not_there_yet_is_nowhere_a_number() -> None:
    """A total without its penalty must not be taken for the mark."""
    waiting = marked(penalty_pct=10, final=None, flags=("The penalty belongs to another mark",))
    for text in (question_csv([waiting]), assignment_csv([waiting]), moodle_csv([waiting])):
        (line,) = parse_grades(text.encode(), "grades.csv")
        assert (line.mark, line.comment) == (None, "Good."), "nothing is deducted from no mark"
    assert server_csv([waiting]) == "username,grade,feedback\n"
    assert server_rows_of([waiting]) == ()
    (line,) = from_gradebook([waiting])
    assert (line.mark, line.comment) == (None, "Good.")


@pytest.mark.parametrize("scale", [None, Scale(3)])
def test_a_mark_that_moodle_does_not_take_is_refused_with_its_student(scale: Scale | None) -> None:
    with pytest.raises(InvalidInput, match="The mark of alice in the gradebook: '-15' is not"):
        from_gradebook([marked(total=-15, final=-15)], scale=scale)


def test_the_columns_of_0_3_16_come_first() -> None:
    assert question_csv([marked(penalty_pct=5, penalised=6.9, final=6.9)]) == (
        "student,mark,auto_mark,feedback,penalty_pct,penalised_mark,Q1,version\n"
        "alice,7.25,7.25,Good.,5,6.9,7.25,0\n"
    )


def test_a_question_named_like_a_column_of_the_uploads_is_no_such_column() -> None:
    names = ("Grade", "mark", "userid", "Feedback_format", "version")
    questions = tuple(QuestionGrade(name, 1.0, 2, "judged") for name in names)
    text = question_csv([marked(questions=questions)]).encode()
    (line,) = parse_grades(text, "grades.csv")
    assert (line.who, str(line.mark), line.comment) == ("alice", "7.25", "Good.")
    (row,) = server_rows(text, "grades.csv")
    assert row.values["grade"] == "7.25"


def test_questions_that_differ_in_case_only_keep_their_columns() -> None:
    questions = tuple(
        QuestionGrade(key, mark, 10, "manual") for key, mark in (("Q1", 3), ("q1", 4))
    )
    grades = [marked(questions=questions)]
    text = question_csv(grades)
    assert filled_marks(text.encode(), "marks.csv", grades, never) == ()
    (changed,) = filled_marks(text.replace(",3,4", ",3,5").encode(), "marks.csv", grades, never)
    assert {key: entry.points for key, entry in changed.marks.items()} == {"q1": 5}


def test_a_question_can_get_all_of_its_marks_from_a_file() -> None:
    """1.2 and 0.3 are less as floats than as decimals."""
    most = {"Q1": 1.2, "Q2": 0.3, "Q3": 10.0}
    grades = [
        marked(questions=tuple(QuestionGrade(key, None, most[key], "manual") for key in most))
    ]
    (filled,) = filled_marks(b'student,Q1,Q2,Q3\nalice,1.2,"0,3",10\n', "marks.csv", grades, never)
    assert {key: entry.points for key, entry in filled.marks.items()} == most
    with pytest.raises(InvalidInput, match=r"Q1 can have 0 to 1\.2 marks, not 1\.21"):
        filled_marks(b"student,Q1\nalice,1.21\n", "marks.csv", grades, never)


def test_a_changed_total_is_the_mark_for_the_whole_or_told() -> None:
    """One without checks beside it may be given as a total: 20.5 is 7.25 and 13.25."""
    whole = marked(whole=QuestionGrade(WHOLE, 10.0, 20, "manual"), manual=10.0, total=17.25)
    (filled,) = filled_marks(b"student,mark\nalice,20.5\n", "marks.csv", [whole], never)
    assert filled.marks == {WHOLE: MarkEntry(13.25, "Good.")}
    with pytest.raises(InvalidInput, match=r"mark can be 7\.25 to 27\.25, not 7\."):
        filled_marks(b"student,mark\nalice,7\n", "marks.csv", [whole], never)
    waiting = replace(whole.questions[0], open="not confirmed yet")
    for each in (marked(), replace(whole, questions=(waiting,))):
        (filled,) = filled_marks(b"student,mark,feedback\nalice,9,\n", "marks.csv", [each], never)
        assert filled.has_other_sum
        assert not filled.changes
        old = b"student,mark,Q1\nalice,9,8\n"
        (filled,) = filled_marks(old, "marks.csv", [each], never)
        assert filled.marks.keys() == {"Q1"}, "a sum beside changed questions is not read"


def test_a_cell_of_an_older_export_replaces_no_newer_mark_for_the_whole() -> None:
    essay = QuestionGrade("Essay", None, 20, "manual")
    questions = (*marked().questions, essay)
    before = marked(questions=questions, version=1)
    whole = QuestionGrade(WHOLE, 10.0, 20, "manual")
    now = marked(questions=questions, whole=whole, version=2)
    older = b"student,Q1,Essay,version\nalice,7.25,15,1\n"
    with pytest.raises(InvalidInput, match="the whole, which Essay would replace, was changed"):
        filled_marks(older, "marks.csv", [now], lambda *_: before)
    newer = older.replace(b",1\n", b",2\n")
    (filled,) = filled_marks(newer, "marks.csv", [now], never)
    assert filled.marks == {"Essay": MarkEntry(15.0)}
    (filled,) = filled_marks(
        older.replace(b"7.25,15", b"8,"), "marks.csv", [now], lambda *_: before
    )
    assert filled.marks == {"Q1": MarkEntry(8.0)}, "a question with checks"


@pytest.mark.parametrize("text", FORMULAS)
def test_16_a_text_is_no_formula_and_comes_back_as_it_was(text: str) -> None:
    """Exploit: =HYPERLINK(...) in a name or a comment."""
    written = moodle_csv([marked(comment=text, student="alice")])
    (row,) = rows_of(written)
    text = text.replace("\r", "\n")
    assert row["feedback"] == f"'{text}"
    (line,) = parse_grades(written.encode(), "grades.csv")
    assert line.comment == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Eve;=cmd|' /C calc'!A0;x", "Eve;'=cmd|' /C calc'!A0;x"),
        ('a\t @HYPERLINK("//x")', 'a\t \'@HYPERLINK("//x")'),
        ("Well done ;-) see (2)", "Well done ;-) see (2)"),
        ("a; -3", "a; -3"),
    ],
)
def test_16_a_formula_after_a_semicolon_is_none_either(text: str, shown: str) -> None:
    """A spreadsheet program in most of Europe separates the cells of our file there, too."""
    written = write_table(["name"], [[text]])
    assert list(csv.reader(io.StringIO(written)))[1] == [shown]
    assert read_table(written.encode(), "names.csv").rows[0].cells == (text,)


@pytest.mark.parametrize("text", ["'=x", "'-5", "\n- a", "a\rb\r\n", " x; '=f(1)", " - Q1: good"])
def test_an_export_that_is_imported_unchanged_changes_no_comment(text: str) -> None:
    grades = [marked(comment=text)]
    assert filled_marks(question_csv(grades).encode(), "marks.csv", grades, never) == ()


def test_a_number_is_no_text() -> None:
    assert write_table(["a", "b"], [[-1.5, None]]) == "a,b\n-1.5,\n"
    assert [number_text(each) for each in (70.0, 0.0, -0.0, 1 / 3, None)] == [
        "70",
        "0",
        "0",
        "0.33333",
        "",
    ]
    assert read_table(b"a\n'quoted'\n", "x").rows[0].cells == ("'quoted'",)


def test_a_course_has_a_column_for_each_assignment() -> None:
    course = {"A1": [marked()], "A2": [marked(student="bob", final=3.5)]}
    assert course_csv(course) == "student,A1,A2\nalice,7.25,\nbob,,3.5\n"


def test_missing_marks_and_remarks_are_told() -> None:
    waiting = marked(
        final=None,
        run=3,
        questions=(QuestionGrade("Q2", None, 5, "manual", open="not marked yet"),),
        flags=("Look again at Q1",),
    )
    assert reservations([marked(), waiting]) == (
        "alice has no mark: Q2 is not marked yet.",
        "alice: Look again at Q1.",
    )


@pytest.fixture(scope="module")
def random_class(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Mapping[str, float]]:
    """Return a gradebook of random results, with the totals that their marks have by hand."""
    random_ = random.Random(18)
    path = tmp_path_factory.mktemp("class") / "gradebook.db"
    totals: dict[str, float] = {}
    with Gradebook(path) as book:
        for number in range(STUDENTS):
            student = f"s{number:04}"
            points = random_points(random_, MARKS)
            run = a_run(student, points)
            book.record_run(run)
            given = round(random_.uniform(0, 60), random_.choice([0, 1]))
            marks = {"Analysis": MarkEntry(given)}
            if random_.random() < 0.1:
                points["Q1"] = marks_q1 = round(random_.uniform(0, 10), 1)
                marks["Q1"] = MarkEntry(marks_q1)
            at = AT + timedelta(minutes=1)
            book.record_marks("A1", student, marks, marker="mia", at=at)
            total = sum_of_marks([*(each or 0.0 for each in points.values()), given])
            totals[student] = total
            if random_.random() < 0.2:
                percent = random_.choice([0.0, 5.0, 50.0, 100.0])
                totals[student] = round(total * (1 - percent / 100), 1)
                penalty = Penalty(percent, totals[student], 1_795_292_502)
                put_penalty(book, student, penalty)
    return path, totals


def test_all_say_the_same_for_random_results(
    random_class: tuple[Path, Mapping[str, float]],
) -> None:
    path, totals = random_class
    with Gradebook(path) as book:
        late = CourseLate(load_settings(path.parent, environ={}))
        grades = late.grades(book, "A1")
        book.export_0316(None, late.deductions, AT)
    finals = {each.student: number_text(each.final) for each in grades}
    assert finals == {student: number_text(mark) for student, mark in totals.items()}
    assert [each.student for each in grades if each.flags] == []
    assert by_question(grades) == summed(grades)
    for text in (question_csv(grades), assignment_csv(grades), moodle_csv(grades)):
        assert finals == {
            line.who: number_text(float(line.mark or 0))
            for line in parse_grades(text.encode(), "grades.csv")
        }
    assert finals == {row.who: row.values["grade"] for row in server_rows_of(grades)}
    assert finals == {
        row.who: row.values["grade"] for row in server_rows(server_csv(grades).encode(), "x")
    }
    assert finals == {
        line.who: number_text(float(line.mark or 0)) for line in from_gradebook(grades)
    }
    assert finals == exported(path)
    told = [json.loads(json.dumps(as_json(each))) for each in grades]
    assert finals == {each["student"]: number_text(each["mark"]) for each in told}
    assert summed(grades) == {
        each["student"]: sum_of_marks(q["points"] for q in each["questions"]) for each in told
    }


def by_question(grades: Sequence[StudentGrade]) -> dict[str, float]:
    rows = rows_of(question_csv(grades))
    return {row["student"]: sum_of_marks(float(row[key]) for key in MARKS) for row in rows}


def summed(grades: Sequence[StudentGrade]) -> dict[str, float | None]:
    return {each.student: each.total for each in grades}


def exported(path: Path) -> dict[str, str]:
    """Return the marks that 0.3.16 reads, after the penalty."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT student, auto_mark, manual_mark, total_mark, penalised_mark FROM submissions"
        ).fetchall()
    for student, auto, percent, total, _ in rows:
        assert sum_of_marks([auto, percent * 60 / 100]) == total, student
    return {
        student: number_text(total if penalised is None else penalised)
        for student, _, _, total, penalised in rows
    }
