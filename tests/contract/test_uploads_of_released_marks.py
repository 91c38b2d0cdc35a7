"""The uploads to Moodle and to an assignment server send released marks only, once there are some.

Requests that are decided change what the next upload sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mograder.grading.release.regrade_requests import Decision, RequestRules, ask, decide
from mograder.store.gradebook.grading_records import WHOLE, MarkEntry
from mograder.store.marking.regrade_requests import RegradeRequests, RequestState
from tests.support.command_line import Printed, cli
from tests.support.moodle.derived import ALICE, M1, M1_TITLE
from tests.support.moodle.recordings import DATA, recorded, tape
from tests.support.moodle.replay import Reply, Request
from tests.support.moodle.teacher import CourseSetup
from tests.support.released_course import ESSAY, ReleasedCourse, later, open_released_course
from tests.support.served_course import Course, make_course, serving_course, token_of

TEACHER = token_of("__instructor__")
SAVE = "mod_assign_save_grade"
WORKSHEET = DATA / "raw" / "worksheet-A1-identity.csv"
HELD = "Held back, as they are not released: bob.\n"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Course]:
    with serving_course(make_course(tmp_path / "server")) as course:
        yield course


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleasedCourse]:
    """An instructor's course with marks of hw1, in the working directory."""
    here, home = tmp_path / "here", tmp_path / "home"
    home.mkdir()
    for name in ("MOGRADER_COURSE_DIR", "MOGRADER_HTTPS_TOKEN", "MOGRADER_HTTPS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    with open_released_course(here, assignment="hw1") as course:
        monkeypatch.chdir(here)
        yield course


def https(served: Course, *words: str, status: int = 0) -> Printed:
    return cli("https", *words, "--url", served.url, "--token", TEACHER, status=status)


def grades_of(served: Course) -> dict[str, str]:
    """Return the marks that the server holds, by username."""
    held = json.loads((served.root / "hw1" / "grades.json").read_text())
    return {row["username"]: row["grade"] for row in held if "username" in row}


def pages_of(served: Course) -> dict[str, str]:
    """Return the pages that the server holds, by username."""
    return {page.stem: page.read_text() for page in (served.root / "hw1/feedback").glob("*.html")}


def test_an_assignment_without_a_release_is_sent_as_before(
    course: ReleasedCourse, served: Course
) -> None:
    assert "Held back" not in https(served, "upload-grades", "hw1").err
    assert grades_of(served)["alice"] == "13.5"
    assert grades_of(served)["bob"] == "16.5"


def test_the_server_gets_released_marks_and_pages_only(
    course: ReleasedCourse, served: Course
) -> None:
    place = course.loaded.course_dir / "feedback" / "hw1"
    place.mkdir(parents=True)
    for name in ("alice", "bob"):
        (place / f"{name}.html").write_text("of the present marks")
    released = cli("gradebook release hw1 --student alice --by prof")
    assert released.out == "  alice\nhw1: 1 student sees their marks.\n"
    again = cli("gradebook release hw1 --student alice --by prof")
    assert again.out == "hw1: nothing to change; 1 student sees these marks already.\n"
    course.mark("alice", 9)
    said = https(served, "upload-grades", "hw1")
    assert HELD in said.err
    assert "Changed since the release; what was released is sent: alice.\n" in said.err
    assert grades_of(served)["alice"] == "13.5"
    assert "bob" not in grades_of(served)
    https(served, "upload-feedback", "hw1")
    assert list(pages_of(served)) == ["alice"]
    assert "<strong>13.5</strong> of 20 marks" in pages_of(served)["alice"]
    https(served, "upload-feedback", "hw1", "--feedback-dir", str(place))
    assert pages_of(served) == {"alice": "of the present marks"}
    https(served, "upload-grades", "hw1", "--unreleased")
    assert (grades_of(served)["alice"], grades_of(served)["bob"]) == ("16.5", "16.5")


def test_an_upload_that_finds_no_page_names_the_directory_that_was_given(
    course: ReleasedCourse, served: Course
) -> None:
    """It named the temporary one in which the pages of released marks are put together."""
    course.release("alice")
    upload = ("upload-feedback", "hw1", "--feedback-dir", "pages")
    assert "There is no directory pages." in https(served, *upload, status=3).err
    pages = course.loaded.course_dir / "pages"
    pages.mkdir()
    (pages / "bob.html").write_text("not released")
    told = https(served, *upload, status=3).err
    assert "There is no page of released marks in pages." in told


def test_marks_that_tell_of_hidden_tests_wait_as_on_students_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: Course
) -> None:
    due = '[[assignments]]\nname = "hw1"\nduedate = 4102444800\n'
    with open_released_course(tmp_path / "due", due, assignment="hw1") as course:
        course.grade_hidden("alice")
        monkeypatch.chdir(tmp_path / "due")
        for told in ("see their marks", "see these marks already"):
            printed = cli("gradebook release hw1 --by prof").out
            assert f"{told}.\nNot before " in printed
            assert printed.endswith(", as they tell results of hidden tests: alice.\n")
        said = https(served, "upload-grades", "hw1").err
        assert "Held back until 2" in said
        assert ", as they tell results of hidden tests: alice.\n" in said
        assert "not released" not in said
        assert ("alice" in grades_of(served), grades_of(served)["bob"]) == (False, "16.5")
        https(served, "upload-feedback", "hw1")
        assert "alice" not in pages_of(served)


def test_a_decision_is_in_the_next_upload(course: ReleasedCourse, served: Course) -> None:
    course.release()
    marks = ("hw1", "alice", "Essay")
    number = ask(course.book, RequestRules(14, "marker"), marks, "Why?", later(1))
    request = RegradeRequests(course.book).find(number)
    https(served, "upload-grades", "hw1")
    assert grades_of(served)["alice"] == "13.5"
    decide(course.feedback(2), request, Decision("mia", "Yes.", 8.5, request.last))
    https(served, "upload-grades", "hw1")
    https(served, "upload-feedback", "hw1")
    assert grades_of(served)["alice"] == "16"
    assert "8.5 of 10 marks" in pages_of(served)["alice"]


def test_what_is_taken_back_is_not_sent_again(course: ReleasedCourse, served: Course) -> None:
    assert "left out: carol: Essay is not marked yet" in cli("gradebook release hw1").out
    withdraw = ["gradebook withdraw hw1 --student bob --note", "A mistake."]
    assert "nothing was changed" in cli(*withdraw, "--dry-run").out
    https(served, "upload-grades", "hw1")
    assert "bob" in grades_of(served)
    assert "hw1: taken back from 1 student." in cli(*withdraw).out
    course.mark("bob", 1)
    assert HELD in https(served, "upload-grades", "hw1").err
    assert grades_of(served)["bob"] == "16.5", "what the server has stays there"


def test_moodle_gets_released_marks_and_pages_only(teacher: CourseSetup) -> None:
    students = ("alice", "bsmith", "carol")
    item = "A1-Introduction"
    upload = ["moodle", "upload-feedback", "A1", "--map", "students.csv", "--dry-run", "--json"]
    with open_released_course(teacher.course, assignment=item, students=students) as course:
        assert uploaded(upload) == {"alice": "13.50", "bsmith": "16.50"}
        course.release("alice")
        assert uploaded(upload, held="bsmith") == {"alice": "13.50"}
        marks = (item, "alice", "Essay")
        number = ask(course.book, RequestRules(14, "marker"), marks, "Why?", later(1))
        request = RegradeRequests(course.book).find(number)
        decide(course.feedback(2), request, Decision("mia", "Yes.", 8.5, request.last))
        assert uploaded(upload, held="bsmith") == {"alice": "16.00"}
        everything = uploaded([*upload, "--unreleased"])
        assert everything == {"alice": "16.00", "bsmith": "16.50"}


GRADES = """student,mark,feedback
alice,14,
{bob},16.5,fine
carol,,not finished
dora,3,
"""


def test_moodle_gets_no_line_of_a_file_whose_student_is_held_back(teacher: CourseSetup) -> None:
    """It said so of bob, and sent his mark; a student without work here is not held back."""
    students = ("alice", "bsmith", "carol")
    upload = ["moodle", "upload-feedback", "A1", "--map", "students.csv", "--dry-run", "--json"]
    upload += ["--grades-csv", "g.csv"]
    (teacher.course / "g.csv").write_text(GRADES.format(bob="bob@example.edu"))
    item = "A1-Introduction"
    with open_released_course(teacher.course, assignment=item, students=students) as course:
        everybody = {"alice", "bsmith", "carol", "dora"}
        assert {each["student"] for each in cli(*upload).json} == everybody
        course.release("alice")
        course.mark("alice", 9)
        said = cli(*upload)
        assert {each["student"] for each in said.json} == {"alice", "dora"}
        assert "Held back, as they are not released: bsmith.\n" in said.err
        assert "as they are held back: bob@example.edu, carol. --unreleased" in said.err
        assert "Changed since the release; the file's marks are sent: alice.\n" in said.err
        assert {each["student"] for each in cli(*upload, "--unreleased").json} == everybody


def test_a_held_back_student_whom_moodle_does_not_know_by_name_may_be_any_line_of_a_file(
    teacher: CourseSetup,
) -> None:
    """The file named bob by his address, which told nothing of bobby, as he is called here."""
    upload = ["moodle", "upload-feedback", "A1", "--map", "students.csv", "--dry-run", "--json"]
    upload += ["--grades-csv", "g.csv"]
    (teacher.course / "g.csv").write_text(GRADES.format(bob="bob@example.edu"))
    students = ("alice", "bobby", "carol")
    item = "A1-Introduction"
    with open_released_course(teacher.course, assignment=item, students=students) as course:
        course.release("alice")
        said = cli(*upload)
        assert {each["student"] for each in said.json} == {"alice"}
        assert "as they are held back: bob@example.edu, carol, dora. --unreleased" in said.err


@pytest.mark.parametrize(
    ("bob", "sent", "left"),
    [
        ("bsmith", ["alice", "dora"], "bob@example.edu."),
        ("bobby", ["alice"], "bob@example.edu, dora."),
    ],
)
def test_feedback_files_of_students_who_are_held_back_are_left_out_by_any_name(
    bob: str, sent: list[str], left: str, teacher: CourseSetup
) -> None:
    """Those of released students were dropped, unless they had the gradebook's very name."""
    pages = teacher.course / "pages"
    pages.mkdir()
    for name in ("Alice.pdf", "bob@example.edu.pdf", "dora.pdf"):
        (pages / name).write_bytes(b"x")
    upload = ["moodle", "upload-feedback", "A1", "--map", "students.csv", "--dry-run", "--json"]
    upload += ["--feedback-dir", "pages"]
    export = ["moodle", "export", "A1", "--worksheet", str(WORKSHEET), "--feedback-dir", "pages"]
    item, students = "A1-Introduction", ("alice", bob, "carol")
    with open_released_course(teacher.course, assignment=item, students=students) as course:
        course.release("alice")
        said = cli(*upload)
        assert [each["student"] for each in said.json if "file" in each["sent"]] == sent
        assert f"Left out of pages, as they are held back: {left} --unreleased" in said.err
        # The worksheet names neither bsmith nor bobby.
        assert ": 1 feedback files.\n" in cli(*export).out
        assert ": 3 feedback files.\n" in cli(*export, "--unreleased").out


def test_a_worksheet_gets_no_line_of_a_file_whose_student_is_held_back(
    teacher: CourseSetup,
) -> None:
    (teacher.course / "g.csv").write_text(GRADES.format(bob="Bob Smith"))
    export = ["moodle", "export", "A1", "--worksheet", str(WORKSHEET), "--json"]
    export += ["--grades-csv", "g.csv"]
    with open_released_course(teacher.course, assignment="A1-Introduction") as course:
        course.release("alice")
        said = cli(*export)
        assert said.json["changed"] == ["Alice Ångström", "Dora O'Connor"]
        assert "as they are held back: Bob Smith, carol. --unreleased" in said.err
        changed = cli(*export, "--unreleased").json["changed"]
        assert len(changed) == 4


@pytest.fixture
def moodle(teacher: CourseSetup) -> Iterator[ReleasedCourse]:
    """The teacher's course with alice's released marks, 11 of 50; Moodle has no grades yet."""
    first = next(each for each in tape() if each.is_derived and each.function == SAVE)
    teacher.at(first.number - 1)
    with (teacher.course / "mograder.toml").open("a") as file:
        file.write(f'\n[[assignments]]\nname = "{M1_TITLE}"\nid = {M1}\ndir = "M1"\n')
    students = ("alice", "bsmith", "carol")
    with open_released_course(teacher.course, assignment="M1", students=students) as course:
        essay = ESSAY.model_copy(update={"available": 40.0})
        questions = (course.result("alice").questions[0], essay)
        course.grade("alice", questions=questions, max_mark=50.0)
        course.mark("alice", 3.5)
        comment(course, "one")
        course.release("alice")
        yield course


def comment(course: ReleasedCourse, text: str) -> None:
    """Comment on alice's submission."""
    entry = {WHOLE: MarkEntry(None, text)}
    course.book.record_marks("M1", "alice", entry, marker="mia", at=later(1))


def alice_asks_and_gets_more(course: ReleasedCourse) -> None:
    """Decide a request of alice: 21 marks instead of 11."""
    number = ask(
        course.book, RequestRules(14, "marker"), ("M1", "alice", "Essay"), "Why?", later(1)
    )
    comment(course, "two")
    request = RegradeRequests(course.book).find(number)
    done = decide(course.feedback(2), request, Decision("mia", "Yes.", 13.5, request.last))
    assert (done.before, done.after, done.released) == (3.5, 13.5, True)


def the_others_are_graded(teacher: CourseSetup) -> None:
    """Let Moodle hold the other students' grades too, as the recorded answers do from here on."""
    saves = [each for each in tape() if (each.assignment, each.function) == (M1, SAVE)]
    for each in saves[1:3]:
        teacher.moodle.world.apply(each)


def saved(teacher: CourseSetup) -> list[tuple[str, ...]]:
    """Return the saves that Moodle was asked for: person, grade, comment, its format, for all."""
    text = "plugindata[assignfeedbackcomments_editor]"
    names = ("userid", "grade", f"{text}[text]", f"{text}[format]", "applytoall")
    return [tuple(each[name] for name in names) for each in teacher.asked(SAVE)]


FIRST = (str(ALICE), "11", "one", "1", "0")
SECOND = (str(ALICE), "21", "two", "1", "0")
UPLOAD = [
    *("moodle", "upload-feedback", str(M1), "--map", "students.csv"),
    "--feedback-dir",
    "none",
]


def test_a_decision_is_saved_by_moodle_with_the_next_upload(
    moodle: ReleasedCourse, teacher: CourseSetup
) -> None:
    """The replayed Moodle answers only the exact requests, and shows what it saved when asked."""
    (teacher.course / "none").mkdir()
    assert "  alice  changed    - -> 11.00, comment\n" in cli(*UPLOAD).out
    the_others_are_graded(teacher)
    alice_asks_and_gets_more(moodle)
    said = cli(*UPLOAD)
    assert said.out == (
        "  alice  changed    11.00 -> 21.00, comment\n"
        "M1. Interrupted: 1 changed.\n"
        "Moodle was asked again: it holds what is listed as changed.\n"
    )
    assert saved(teacher) == [FIRST, SECOND]
    assert "  alice  unchanged  21.00\n" in cli(*UPLOAD).out
    assert len(saved(teacher)) == 2


def test_a_decision_that_moodle_refuses_is_named_and_sent_again(
    moodle: ReleasedCourse, teacher: CourseSetup
) -> None:
    """The refusal is recording 178: Moodle could not write to its database."""
    (teacher.course / "none").mkdir()
    cli(*UPLOAD)
    the_others_are_graded(teacher)
    alice_asks_and_gets_more(moodle)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(teacher.moodle, "answer", refusing(teacher))
        told = cli(*UPLOAD, status=1).out
    assert "  alice  failed " in told
    assert "Error writing to database" in told
    assert moodle.book.sent(teacher.moodle.url, M1)[ALICE].grade == "11.00"
    (request,) = RegradeRequests(moodle.book).of("M1", "alice")
    assert request.state is RequestState.DECIDED
    assert "  alice  changed    11.00 -> 21.00, comment\n" in cli(*UPLOAD).out
    assert saved(teacher) == [FIRST, SECOND, SECOND]


def refusing(teacher: CourseSetup) -> Callable[[Request], Reply]:
    """Return the site's answers, with the recorded refusal to save, which changes nothing."""
    usual, refusal = teacher.moodle.answer, recorded(178)

    def answer(request: Request) -> Reply:
        if request.fields.get("wsfunction") != SAVE:
            return usual(request)
        teacher.moodle.requests.append(request)
        return Reply(refusal.status, "application/json", refusal.body)

    return answer


def uploaded(command: list[str], held: str = "") -> dict[str, str]:
    """Return the grades that an upload would send, by student."""
    said = cli(*command)
    assert ("Held back" in said.err) == bool(held)
    assert held in said.err
    return {each["student"]: f"{float(each['after']):.2f}" for each in said.json if each["after"]}
