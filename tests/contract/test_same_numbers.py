"""Every place that shows or sends a mark has the same number; real sandboxes, commands, servers.

Pretend students hand in the example course's third assignment. It is graded, marked by hand, and
given back, one of them late; then each place is asked.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.command_line import cli
from tests.support.course import copy_example_course
from tests.support.course_server import CourseServer
from tests.support.graded_results import newest_results
from tests.support.hub import Answer, run_mograder, write_settings
from tests.support.moodle.derived import ALICE, BOB, CAROL, M1
from tests.support.moodle.recordings import tape
from tests.support.moodle.teacher import CourseSetup, course_setup
from tests.support.pretend_submissions import (
    AVAILABLE,
    DUE,
    ITEM,
    WRITTEN,
    PretendSubmission,
    hand_in,
    pretend_submissions,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

MOST = 50.0
BY_HAND = {"alice": 13.0, "bob": 9.5, "carol": 8.0, "erin": 0.0, "frank": 14.0}
"""Marks of the written answer; dan's file is no notebook, and nobody has marked it."""
FINAL: Mapping[str, float | None] = {
    "alice": 48.0,
    "bob": 31.5,
    "carol": 33.0,
    "dan": None,
    "erin": 0.0,
    "frank": 44.1,  # 49, less 10 % for a day and a quarter
}
WHY = ("--reason", "Judged by a person.")
FOR_MOODLE = {
    "alice": ("Q1=1", "Q2=2", "Q3=3", "Analysis=5"),
    "bob": ("Q1=6", "Q2=6", "Q3=5", "Analysis=5"),
    "carol": ("Q1=0", "Q2=10", "Q3=8", "Analysis=5"),
}
SAVE = "mod_assign_save_grade"


class Marked:
    """A course whose submissions are graded and marked, and what the commands printed."""

    def __init__(self, directory: Path, submissions: tuple[PretendSubmission, ...]) -> None:
        self.directory = directory
        self.submissions = {each.student: each for each in submissions}
        self.screen = ""

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """Run a command in the course; return its output."""
        done: Answer = run_mograder(*words, cwd=self.directory, env=env, seconds=500)
        assert done.status == 0, done.output + done.errors
        return done.output

    def rows(self, *words: str) -> dict[str, dict[str, str]]:
        """Return the table that ``mograder gradebook export`` prints, by student."""
        printed = self.run("gradebook", "export", *words)
        return {row["student"]: row for row in csv.DictReader(io.StringIO(printed))}


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path, run_directory: Path) -> Marked:
    """The course after ``autograde``, ``gradebook mark`` and ``feedback``."""
    course = copy_example_course(tmp_path_factory.mktemp("marks") / "course")
    write_settings(
        course,
        {
            "hub.uv_cache_dir": str(uv_cache),
            "hub.environments_dir": str(run_directory / "environments"),
            "penalties.enabled": True,
            "penalties.per_day": 5,
        },
    )
    due = f'\n[[assignments]]\nname = "{ITEM}"\ndir = "{ITEM}"\nduedate = {int(DUE.timestamp())}\n'
    with (course / "mograder.toml").open("a") as settings:
        settings.write(due)
    release = (course / "release" / ITEM / f"{ITEM}.py").read_text()
    made = Marked(course, pretend_submissions(release))
    hand_in(course, tuple(made.submissions.values()))
    made.screen = made.run("autograde", "A3", "--csv", "marks.csv")
    for student, points in BY_HAND.items():
        made.run("gradebook", "mark", "A3", student, f"{WRITTEN}={points:g}")
    made.run("feedback", "A3", "--grades-csv", "grades.csv")
    return made


def number(text: str) -> float | None:
    return float(text) if text else None


def counted(row: Mapping[str, str]) -> float | None:
    """Return the mark that counts in a row with 0.3.16's columns."""
    return number(row["penalised_mark"] or row["mark"])


def same(given: Mapping[str, float | None]) -> None:
    """Compare the marks that count, by student."""
    assert given == FINAL


def checks_of(marked: Marked) -> dict[str, float]:
    """Return the expected sum of the questions with checks, by student."""
    return {name: each.auto_mark for name, each in marked.submissions.items()}


def test_screen_csv_json_and_results_have_the_marks_of_the_checks(marked: Marked) -> None:
    expected = checks_of(marked)
    shown = re.findall(r"^(\w+) .* (\d[\d.]*)/50 ", marked.screen, re.MULTILINE)
    unreadable = {"dan": 0.0}  # the table says why instead
    assert {name: float(mark) for name, mark in shown} | unreadable == expected
    assert "EXPORT FAILED: dan.py:1: invalid syntax" in marked.screen
    rows = csv.DictReader((marked.directory / "marks.csv").read_text().splitlines())
    assert {row["notebook"]: number(row["auto_mark"]) for row in rows} == expected
    told = json.loads(marked.run("autograde", "A3", "--json"))
    (assignment,) = told["assignments"]
    assert all(each["up_to_date"] for each in assignment["submissions"])
    assert {each["student"]: each["auto_mark"] for each in assignment["submissions"]} == expected
    results = newest_results(marked.directory / "gradebook.db", ITEM)
    for name, each in marked.submissions.items():
        earned = {q.key: q.earned for q in results[name].questions if q.key in AVAILABLE}
        assert (results[name].auto_mark, earned) == (each.auto_mark, dict(each.marks))


def test_the_gradebook_and_its_files_have_the_mark_that_counts(marked: Marked) -> None:
    rows = marked.rows("A3")
    same({name: counted(row) for name, row in rows.items()})
    for name, each in marked.submissions.items():
        assert {key: number(rows[name][key]) for key in AVAILABLE} == dict(each.marks)
    for form, title, grade in (("moodle", "student", "mark"), ("https", "username", "grade")):
        printed = marked.run("gradebook", "export", "A3", "--format", form)
        table = {row[title]: row[grade] for row in csv.DictReader(io.StringIO(printed))}
        same({name: number(table.get(name, "")) for name in FINAL})
    told = json.loads(marked.run("gradebook", "show", "A3", "--json"))
    same({each["student"]: each["mark"] for each in told[ITEM]})
    written = csv.DictReader((marked.directory / "grades.csv").read_text().splitlines())
    same({row["student"]: counted(row) for row in written})
    first = marked.run("gradebook", "explain", "A3", "frank").splitlines()[0]
    assert first == f"{ITEM}, frank: 44.1 of 50"


def test_the_exported_row_of_0_3_16_has_it(marked: Marked) -> None:
    marked.run("gradebook", "export-0316")
    database = sqlite3.connect(marked.directory / "gradebook.db")
    found = database.execute(
        "SELECT student, auto_mark, total_mark, penalised_mark FROM submissions"
    ).fetchall()
    database.close()
    assert {name: auto for name, auto, _, _ in found} == checks_of(marked)
    counting = {
        name: total if penalised is None else penalised for name, _, total, penalised in found
    }
    assert {name: counting[name] for name in BY_HAND} == {name: FINAL[name] for name in BY_HAND}


def test_the_pages_of_feedback_say_it(marked: Marked) -> None:
    for name, final in FINAL.items():
        page = (marked.directory / "feedback" / ITEM / f"{name}.html").read_text()
        text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
        if final is None:
            assert "of 50 marks" not in text
            continue
        assert f"{final:g} of 50 marks" in text
        for key, points in marked.submissions[name].marks.items():
            assert f"{key} {points:g} of {AVAILABLE[key]:g} marks" in text


def test_the_assignment_server_is_sent_it(marked: Marked, tmp_path: Path) -> None:
    root = tmp_path / "served"
    (root / ITEM / "files").mkdir(parents=True)
    shutil.copy(marked.directory / "release" / ITEM / f"{ITEM}.py", root / ITEM / "files")
    with CourseServer(root, tmp_path / "serve.log") as server:
        where = ("--url", server.url, "--token", server.token("prof"))
        marked.run("https", "upload-grades", ITEM, *where)
        held = json.loads((root / ITEM / "grades.json").read_text())
        sent = {each["username"]: float(each["grade"]) for each in held}
        same({name: sent.get(name) for name in FINAL})
        as_frank = ("--url", server.url, "--token", server.token("frank"))
        told = marked.run("https", "feedback", ITEM, *as_frank, "--json", "-o", str(tmp_path))
        assert float(json.loads(told)["grade"]) == FINAL["frank"]


@pytest.fixture
def on_moodle(
    marked: Marked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CourseSetup]:
    """The marks in a course that is on the recorded Moodle, where bob is bsmith."""
    with course_setup(tmp_path / "moodle", monkeypatch) as setup:
        first = next(each for each in tape() if each.is_derived and each.function == SAVE)
        setup.at(first.number - 1)
        for name in ("gradebook.db", ".mograder/grading-secret"):
            (setup.course / name).parent.mkdir(exist_ok=True)
            shutil.copy(marked.directory / name, setup.course / name)
        students = setup.course / "students.csv"
        students.write_text(students.read_text().replace("bsmith,", "bob,"))
        with (setup.course / "mograder.toml").open("a") as settings:
            settings.write(f'\n[[assignments]]\nname = "{ITEM}"\nid = {M1}\ndir = "{ITEM}"\n')
        yield setup


def test_moodle_would_be_sent_the_mark_that_counts(on_moodle: CourseSetup) -> None:
    words = ("moodle", "upload-feedback", "A3", "--map", "students.csv", "--dry-run", "--json")
    told = {each["student"]: each for each in cli(*words, status=1).json}
    there = {"alice", "bob", "carol"}
    assert {name: float(told[name]["after"]) for name in there} == {
        name: FINAL[name] for name in there
    }


def test_moodle_is_sent_the_marks_of_people(on_moodle: CourseSetup) -> None:
    """Sums for which the recorded Moodle has answers: 11, 22 and 23."""
    for student, marks in FOR_MOODLE.items():
        cli("gradebook mark A3", student, *marks, "--comment", "one", *WHY)
    for student in ("dan", "erin", "frank"):
        cli("gradebook mark A3", student, "Analysis=none")
    cli("moodle upload-feedback A3 --map students.csv", status=1)
    text = "plugindata[assignfeedbackcomments_editor][text]"
    sent = {each["userid"]: (each["grade"], each[text]) for each in on_moodle.asked(SAVE)}
    assert sent == {
        str(ALICE): ("11", "one"),
        str(BOB): ("22", "one"),
        str(CAROL): ("23", "one"),
    }
