"""Teachers' commands as on Windows and macOS: Moodle, an assignment server, the gradebook.

`test_hub_course_commands.py` has the commands for a hub. What needs a sandbox is refused there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.graded_courses import SETTINGS, put
from tests.support.moodle.replay import token_of as moodle_token
from tests.support.moodle.teacher import ATTACHED, SUPPLIED, CourseSetup
from tests.support.other_system import OtherSystem, System
from tests.support.other_system.marks import SYSTEMS
from tests.support.released_course import ReleasedCourse, open_released_course
from tests.support.served_course import HOMEWORK, Course, make_course, serving_course, token_of
from tests.support.similar_submissions import a_class

pytestmark = pytest.mark.full

WORKSHEET = Path(__file__).parent.parent / "data/moodle/raw/worksheet-A1-identity.csv"
GRADES = (
    "student,mark,feedback,feedback_format\n"
    'alice,"87,5","<p>Bien joué — <b>87.5</b> &amp; more</p>",html\n'
    "bob@example.edu,55,,\n"
    "carol,,only feedback,\n"
)


class Teacher:
    """Runs commands in a course as on another system."""

    def __init__(self, system: System, course: Path, **extra: str) -> None:
        home = course.parent / "home"
        home.mkdir(exist_ok=True)
        self._system = OtherSystem(system, home=home, extra=extra)
        self._course = course
        self.err = ""

    def __call__(self, *words: str, status: int = 0) -> str:
        """Run a command and return what it printed; ``err`` is what it told besides."""
        done = self._system.ran(*words, cwd=self._course, status=status)
        self.err = done.stderr
        return done.stdout


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Course]:
    with serving_course(make_course(tmp_path / "server")) as course:
        yield course


@pytest.fixture
def graded(tmp_path: Path) -> Iterator[ReleasedCourse]:
    """A course whose hw1 was graded on Linux; carol's essay is not marked yet."""
    with open_released_course(tmp_path / "graded", assignment="hw1") as course:
        yield course


@SYSTEMS
def test_a_teacher_collects_from_moodle_and_sends_marks_back(
    system: System, teacher: CourseSetup
) -> None:
    extra = {
        "MOGRADER_MOODLE_URL": teacher.moodle.url,
        "MOGRADER_MOODLE_TOKEN": moodle_token("teach1"),
    }
    run = Teacher(system, teacher.course, **extra)
    for name in ("A1-Introduction", "A2-Optimisation"):
        (teacher.course / "source" / name).mkdir(parents=True)
    assert "  updated: A1. Introduction\n" in run("moodle", "sync")
    assert "Wrote 4 users" in run("moodle", "sync-users", "--map", "students.csv")
    fetch = ("moodle", "fetch-submissions", "A1")
    assert "3 fetched, 1 skipped" in run(*fetch)
    submitted = teacher.course / "submitted" / "A1-Introduction"
    assert (submitted / "alice.py").read_bytes() == b'# alice v2\nx = "\xc3\xa9"\n'
    assert (submitted / "alice.files" / "helper.py").read_bytes() == next(iter(SUPPLIED.values()))
    assert "3 unchanged, 1 skipped" in run(*fetch)
    (submitted / "alice.py").write_text("a teacher's own note")
    assert "3 fetched, 1 skipped" in run(*fetch, "--force")
    (kept,) = (submitted / ".replaced").glob("*/alice.py")
    assert kept.read_text() == "a teacher's own note"
    assert not list(submitted.glob(".fetching*"))

    (teacher.course / "grades.csv").write_text(GRADES, encoding="utf-8")
    folder = teacher.course / "feedback" / "A1-Introduction" / "alice"
    folder.mkdir(parents=True)
    (folder / "alice_feedback.html").write_text("<h1>Feedback é</h1>", encoding="utf-8")
    told = run("moodle", "upload-feedback", "A1", "--grades-csv", "grades.csv")
    assert "A1. Introduction: 3 changed.\n" in told
    assert "Moodle was asked again: it holds what is listed as changed." in told


@SYSTEMS
def test_files_for_a_moodle_without_web_services_are_written(
    system: System, teacher: CourseSetup
) -> None:
    run = Teacher(system, teacher.course, MOGRADER_MOODLE_URL=teacher.moodle.url)
    (teacher.course / "import").mkdir()
    (teacher.course / "import" / "A1.csv").write_bytes(WORKSHEET.read_bytes())
    (teacher.course / "g.csv").write_text("student,mark,feedback\nalice,90.5,fine\n")
    (teacher.course / "feedback" / "A1").mkdir(parents=True)
    (teacher.course / "feedback" / "A1" / "bob.html").write_text("<p>b")
    told = run("moodle", "export", "A1", "--grades-csv", "g.csv")
    assert "Wrote export/A1.csv: 1 rows changed, 0 unchanged.\n" in told
    assert "Wrote export/A1-feedback.zip: 1 feedback files.\n" in told
    assert b",90.50,100.00,Yes," in (teacher.course / "export" / "A1.csv").read_bytes()


@SYSTEMS
def test_a_release_is_compared_with_what_moodle_hands_out(
    system: System, teacher: CourseSetup
) -> None:
    # Reading the files of an assignment needs no teacher; the recordings have them by a student.
    extra = {"URL": teacher.moodle.url, "TOKEN": moodle_token("alice")}
    extra = {f"MOGRADER_MOODLE_{name}": value for name, value in extra.items()}
    run = Teacher(system, teacher.course, **extra)
    release = teacher.course / "release" / "A1-Introduction"
    release.mkdir(parents=True)
    (release / "A1-Introduction.py").write_bytes(b"import marimo\n")
    assert "content differs" in run("moodle", "upload", "A1", "--no-open", status=1)
    teacher.moodle.supplied[ATTACHED] = b"import marimo\n"
    assert "hands out exactly these files" in run("moodle", "upload", "A1", "--no-open")


@SYSTEMS
def test_pages_of_feedback_are_written_and_similar_work_is_found(
    system: System, tmp_path: Path
) -> None:
    course = tmp_path / "course"
    (course / "submitted" / "A1").mkdir(parents=True)
    (course / "mograder.toml").write_text(SETTINGS)
    texts, copies = a_class(4, 1)
    for name, text in texts.items():
        (course / "submitted" / "A1" / f"{name}.py").write_text(text, encoding="utf-8")
    put(course, "alice", timedelta(hours=15))
    run = Teacher(system, course)
    assert "1/1 notebooks have been graded" in run("feedback", "A1", "--grades-csv", "grades.csv")
    page = (course / "feedback" / "A1" / "alice.html").read_text(encoding="utf-8")
    assert "<strong>64.1</strong> of 100 marks" in page
    found = json.loads(run("similarity", "A1", "--json"))
    assert {tuple(each["students"]) for each in found["pairs"]} == copies


@SYSTEMS
def test_work_under_the_name_of_a_participant_gets_its_students(
    system: System, tmp_path: Path
) -> None:
    """Files and folders are renamed; what stands in the way goes to ``.replaced``."""
    folder = tmp_path / "in"
    (folder / "Participant-1.files").mkdir(parents=True)
    (folder / "Participant-1.files" / "data.csv").write_text("1")
    (folder / "Participant-1.py").write_text("one")
    (folder / "alice.py").write_text("two")
    code = """
from datetime import UTC, datetime
from pathlib import Path
from mograder.exchange.collecting import arrivals
from mograder.exchange.collecting import CollectedFolder
with arrivals(Path("in")) as held:
    folder = CollectedFolder(Path("in"), held, datetime(2026, 11, 21, 12, tzinfo=UTC))
    for end in (".py", ".files"):
        folder.rename(f"Participant-1{end}", f"alice{end}")
    print(folder.put("bob.files/a.csv", b"1"), folder.put("alice.files", b"a file")[0])
"""
    assert OtherSystem(system).printed(code, tmp_path)[-1].endswith("updated")
    found = {
        each.relative_to(folder).as_posix(): each.read_text()
        for each in folder.rglob("*")
        if each.is_file()
    }
    (beside,) = (name for name in found if name.startswith("alice.files.replaced-"))
    (kept,) = (name for name in found if name.startswith(".replaced/"))
    assert beside.endswith("/data.csv")
    assert kept.endswith("/Participant-1.py")
    assert found == {
        "alice.py": "two",
        kept: "one",
        "bob.files/a.csv": "1",
        "alice.files": "a file",
        beside: "1",
    }


@SYSTEMS
def test_two_runs_do_not_fetch_into_one_directory(system: System, tmp_path: Path) -> None:
    code = """
from pathlib import Path
from mograder.core.errors import Busy
from mograder.exchange.collecting import arrivals
with arrivals(Path("in")):
    try:
        with arrivals(Path("in")):
            print("both")
    except Busy as error:
        print(error.message)
with arrivals(Path("in")):
    print("free again")
print(list(Path("in").iterdir()))
"""
    assert OtherSystem(system).printed(code, tmp_path) == [
        "Another command is fetching into in.",
        "free again",
        "[]",
    ]


@pytest.mark.parametrize(
    ("system", "names"),
    [
        ("windows", ["data/au%78.csv", "what%3F.txt", "_.git/x", "end%2E", "plain.py"]),
        ("macos", ["data/aux.csv", "what?.txt", "_.git/x", "end.", "plain.py"]),
    ],
)
def test_names_that_windows_refuses_are_encoded_there(system: System, names: list[str]) -> None:
    code = """
from mograder.exchange.unpacking import visible_path
print(*map(visible_path, ["data/aux.csv", "what?.txt", ".git/x", "end.", "plain.py"]), sep="\\n")
"""
    assert OtherSystem(system).printed(code) == names


@SYSTEMS
def test_the_gradebook_is_read_marked_released_and_exported(
    system: System, graded: ReleasedCourse
) -> None:
    course = graded.loaded.course_dir
    run = Teacher(system, course)
    assert "13.5" in run("gradebook", "show", "hw1")
    assert "Essay" in run("gradebook", "statistics", "hw1")
    assert "given by mia" in run("gradebook", "explain", "hw1", "alice")
    run("gradebook", "mark", "hw1", "alice", "Essay=9")
    assert _marks(run("gradebook", "export", "hw1"))["alice"] == "16.5"
    assert "hw1: 2 students see their marks." in run("gradebook", "release", "hw1")
    assert "taken back from 1" in run(
        "gradebook", "withdraw", "hw1", "--student", "bob", "--note", "x"
    )
    run("gradebook", "check")
    run("gradebook", "export-0316", "old.db")
    run("gradebook", "import-0316", "old.db", "--dry-run")
    run("extension", "add", "hw1", "alice", "--until", "2030-01-01")
    assert "alice" in run("extension", "list")


@SYSTEMS
def test_released_marks_and_pages_go_to_an_assignment_server(
    system: System, graded: ReleasedCourse, served: Course
) -> None:
    course = graded.loaded.course_dir
    run = Teacher(system, course)
    place = course / "feedback" / "hw1"
    (place / "alice").mkdir(parents=True)
    (place / "alice" / "notes.txt").write_text("a file of hers")
    for name in ("alice", "bob"):
        (place / f"{name}.html").write_text("of the present marks")
    run("gradebook", "release", "hw1", "--student", "alice")
    there = ("--url", served.url, "--token", token_of("__instructor__"))
    (course / "homework.py").write_bytes(HOMEWORK)
    hers = ("--url", served.url, "--token", token_of("alice"))
    run("https", "submit", "hw1", "homework.py", *hers)
    assert "Downloaded 1 submission(s)" in run("https", "fetch-submissions", "hw1", *there)
    assert (course / "submitted" / "hw1" / "alice.py").read_bytes() == HOMEWORK
    run("https", "upload-grades", "hw1", *there)
    assert "Held back, as they are not released: bob." in run.err
    run("https", "upload-feedback", "hw1", *there)
    (page,) = (served.root / "hw1" / "feedback").glob("*.html")
    assert page.stem == "alice"
    assert "<strong>13.5</strong> of 20 marks" in page.read_text()
    held = json.loads((served.root / "hw1" / "grades.json").read_text())
    assert [(row["username"], row["grade"]) for row in held if row["grade"]] == [("alice", "13.5")]
    assert "may register again" in run("https", "reset", "alice", *there)


def _marks(text: str) -> Mapping[str, str]:
    return {row["student"]: row["mark"] for row in csv.DictReader(io.StringIO(text))}
