"""``mograder autograde`` as a command: arguments, exit statuses, lines, events and JSON.

Judges decide by the text here; ``tests/contract/test_autograde.py`` has real ones.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.cli.autograde.output import table
from mograder.grading.results.grading_result import GradingState
from mograder.grading.results.result_row import row_of
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry
from tests.support.autograde_desk import Desk, desk
from tests.support.command_line import cli
from tests.support.graded_results import graded_result
from tests.support.grading_course import (
    HALF,
    RIGHT,
    SOURCE,
    WRONG,
    make_course,
)

__all__ = ["desk"]

TABLE = """\
Auto-discovered source: source/hw1/hw1.py
  Marks metadata: Q1=10 Q2=5 (total: 15)
Autograding 3 submissions with 4 workers...
Notebook        Q1      Q2  Marks   Errors
------------------------------------------
alice         PASS    PASS  15/15        0
bob           PART    PART  7.5/15       0
carol         FAIL    FAIL  0/15         0
  Grading copies: 3 in autograded/hw1

CSV written to out.csv
"""


def test_the_lines_are_those_of_0_3_16(desk: Desk) -> None:
    assert cli("autograde hw1 --csv out.csv").out == TABLE
    rows = list(csv.reader(io.StringIO((desk.root / "out.csv").read_text())))
    assert rows[0] == ["notebook", "Q1", "Q2", "cell_errors", "export_error", "auto_mark"]
    assert rows[2] == ["bob", "PARTIAL", "PARTIAL", "0", "", "7.5"]
    printed = cli("autograde hw1")
    assert printed.lines[1:] == [
        "Skipping 3 up-to-date submissions (use --force to re-grade all)",
        "All submissions are up to date — nothing to do.",
    ]


def test_the_events_are_those_of_0_3_16(desk: Desk) -> None:
    desk.submit("dave.py").unlink()
    (desk.root / "submitted/hw1/dave.py").mkdir()
    lines = [
        line
        for line in cli("autograde hw1 --progress -j 1", status=1).err.splitlines()
        if line.startswith("{")
    ]
    events = [json.loads(line) for line in lines]
    assert [each["event"] for each in events] == [
        *("start", "sandbox_start", "sandbox_done", "check", "check"),
        *["progress"] * 4,
        "results",
    ]
    assert events[0] == {"event": "start", "total": 4}
    assert events[3] == {
        "event": "check",
        "notebook": "source/hw1/hw1.py",
        "label": "Q1: one",
        "status": "PASS",
    }
    assert events[5] == {"event": "progress", "completed": 1, "total": 4, "notebook": "alice.py"}
    assert events[-1]["labels"] == ["Q1", "Q2"]
    assert events[-1]["rows"][1] == {
        "notebook": "bob",
        "checks": {"Q1": "PARTIAL", "Q2": "PARTIAL"},
        "cell_errors": 0,
        "export_error": "",
        "tampered": [],
        "auto_mark": 7.5,
        "total_mark": 15.0,
    }
    assert events[-1]["rows"][3]["checks"] == {"Q1": "EXPORT_FAILED", "Q2": "EXPORT_FAILED"}


def test_json_tells_each_submission(desk: Desk) -> None:
    cli("autograde hw1 --student bob")
    desk.submit("bo\u0308b.py", "not a notebook")
    answer = cli("autograde hw1 --json").json
    assert answer["version"] == 1
    (told,) = answer["assignments"]
    assert told["assignment"] == "hw1"
    found = {each["student"]: each for each in told["submissions"]}
    assert [(name, each["state"], each["up_to_date"]) for name, each in found.items()] == [
        ("alice", "judged", False),
        ("bob", "judged", True),
        ("böb", "not run", False),
        ("carol", "judged", False),
    ]
    assert found["bob"]["questions"][0] == {
        "key": "Q1",
        "earned": 5.0,
        "available": 10.0,
        "state": "judged",
        "reason": "",
    }
    assert found["bob"]["checks"][0] == {"label": "Q1: one", "key": "Q1", "result": "PARTIAL"}
    assert found["böb"]["problem"].startswith("bo\u0308b.py:1: ")
    assert set(desk.results()) == {"alice", "bob", "carol", "böb"}


def test_a_submission_without_a_result_is_status_1(desk: Desk) -> None:
    desk.submit("dave.py", HALF + f"# {desk.judges.broken}\n")
    assert "hw1: no result that counts for dave." in cli("autograde hw1", status=1).err
    assert desk.results()["dave"].auto_mark is None
    desk.judges.asked.clear()
    cli("autograde hw1 --failed", status=1)
    assert len(desk.judges.asked) == 1


def test_students_are_chosen_by_name(desk: Desk) -> None:
    desk.submit(f"{unicodedata.normalize('NFD', 'Jörg Müller')}.py")
    cli("autograde hw1 --student", "Jörg Müller", "--student", "bob")
    assert set(desk.results()) == {"bob", "Jörg Müller"}
    assert "There is no submission of bo to hw1." in cli("autograde hw1 --student bo", status=3).err


@pytest.mark.parametrize(
    "argument", ["hw", "HW1", "submitted/hw1", "submitted/hw1/", "./submitted/hw1/../hw1"]
)
def test_an_assignment_is_named_or_a_directory(desk: Desk, argument: str) -> None:
    cli("autograde", argument)
    assert set(desk.results()) == {"alice", "bob", "carol"}


def test_single_files_and_several_assignments(desk: Desk) -> None:
    desk.submit("dave.py", HALF, "hw2")
    (desk.root / "source/hw2").mkdir()
    (desk.root / "source/hw2/hw2.py").write_text(SOURCE)
    files = ["submitted/hw1/alice.py", "submitted/hw1/carol.py", "hw2"]
    cli("autograde", *files)
    assert set(desk.results()) == {"alice", "carol"}
    assert set(desk.results("hw2")) == {"dave"}


def test_submissions_beside_another_courses_source_go_to_its_results(
    desk: Desk, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_course(tmp_path_factory.mktemp("other"), {"eve": RIGHT})
    cli("autograde", str(other / "submitted" / "hw1"))
    assert (other / "autograded/hw1/eve.html").is_file()
    cli("autograde hw1 -o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "alice.html").is_file()


def _without_submissions(desk: Desk) -> list[str]:
    for path in (desk.root / "submitted/hw1").iterdir():
        path.unlink()
    return ["hw1"]


def _without_directory(desk: Desk) -> list[str]:
    _without_submissions(desk)
    (desk.root / "submitted/hw1").rmdir()
    return ["hw1"]


def _two_that_begin_so(desk: Desk) -> list[str]:
    for name in ("hw-a", "hw-b"):
        desk.submit("x.py", HALF, name)
    return ["hw"]


@pytest.mark.parametrize(
    ("arrange", "told"),
    [
        (_without_submissions, "No .py files in submitted/hw1"),
        (_without_directory, "Assignment directory not found: submitted/hw1"),
        (_two_that_begin_so, "'hw' may mean hw-a, hw-b"),
        (lambda _: [], "Missing argument 'ASSIGNMENTS...'"),
        (lambda _: ["nothing"], "There is no assignment 'nothing'"),
        (lambda _: ["submitted/hw1/zoe.py"], "File not found: submitted/hw1/zoe.py"),
        (lambda _: ["hw1", "--moodle-csv", "mograder.toml"], "does not exist"),
        (lambda _: ["hw1", "-j", "0"], "0 is not in the range"),
        (lambda _: ["hw1", "--verify", "--force"], "--verify grades nothing"),
        (lambda _: ["hw1", "--verify", "--csv", "out.csv"], "--verify grades nothing"),
        (lambda _: ["hw1", "--force", "--failed"], "--force grades all again, --failed some"),
        (lambda _: ["hw1", "--csv", "out/rows.csv"], "there is no directory out. Make it first."),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(desk: Desk, arrange: object, told: str) -> None:
    assert callable(arrange)
    assert told in cli("autograde", *arrange(desk), status=2).err
    assert desk.opened == []


def test_a_notebook_of_jupyter_is_told_with_the_remedy(desk: Desk) -> None:
    desk.submit("dave.ipynb", "{}")
    printed = cli("autograde hw1")
    note = "Not graded, since they are notebooks of Jupyter: dave.ipynb. Convert each by `marimo"
    assert note in printed.out
    _without_submissions(desk)
    desk.submit("dave.ipynb", "{}")
    told = cli("autograde hw1", status=2).err
    assert "No .py files in submitted/hw1" in told
    assert note in told


def test_a_notebook_whose_name_does_not_end_in_py_is_told(desk: Desk) -> None:
    for name in ("erin.PY", "fay.py.txt", "notes.txt"):
        desk.submit(name, "")
    told = "Not graded, since their names do not end in .py: erin.PY, fay.py.txt. Rename each to"
    assert told in cli("autograde hw1").out


def test_a_lecture_is_not_listed_among_the_assignments(desk: Desk) -> None:
    lecture = desk.root / "source" / "L1-Intro" / "L1-Intro.py"
    lecture.parent.mkdir()
    lecture.write_text('# /// script\n# mograder-type = "lecture"\n# ///\n' + SOURCE)
    told = cli("autograde nothing", status=2).err
    assert "There are: hw1." in told


def test_a_source_that_cannot_be_graded_ends_it_before_anything_runs(desk: Desk) -> None:
    source = desk.root / "source/hw1/hw1.py"
    source.write_text('# /// script\n# mograder-type = "lecture"\n# ///\n' + SOURCE)
    assert "this is a lecture, which has no marks." in cli("autograde hw1", status=2).err
    source.write_text(SOURCE)

    desk.refusal = "The package nosuchpackage cannot be installed."
    told = cli("autograde hw1", status=2).err
    assert told.endswith("\nError: The package nosuchpackage cannot be installed.\n")
    assert not (desk.root / "autograded").exists()


def test_a_source_without_checks_leaves_everything_to_people(desk: Desk) -> None:
    text = SOURCE.replace("check(", "print(").replace("_marks = {", "_marks = {'Essay': 5, ")
    (desk.root / "source/hw1/hw1.py").write_text(text)
    cli("autograde hw1")
    assert {each.state for each in desk.results()["alice"].questions} == {"manual"}


def test_a_directory_in_the_place_of_the_gradebook_is_told_before_anything_runs(
    desk: Desk,
) -> None:
    (desk.root / "gradebook.db").mkdir()
    assert "is a directory" in cli("autograde hw1", status=2).err
    assert desk.opened == []


def test_53_the_time_of_submission_is_never_that_of_the_file(desk: Desk) -> None:
    directory = desk.root / "submitted" / "hw1"
    (directory / ".fetch_metadata.json").write_text('{"alice": 1773000000, "bob": 1e300}')
    (directory / "carol.py").rename(directory / "carol_20260102T030405.py")
    (directory / "carol.py").symlink_to("carol_20260102T030405.py")
    cli("autograde hw1")
    assert {name: each.received for name, each in desk.results().items()} == {
        "alice": "2026-03-08T20:00:00.000Z",
        "bob": "",
        "carol": "2026-01-02T03:04:05.000Z",
    }


def test_verify_runs_nothing_and_tells_what_does_not_fit(desk: Desk) -> None:
    cli("autograde hw1")
    desk.submit("bob.py", RIGHT)
    told = cli("autograde hw1 --verify", status=1).out
    # The secret of the real course signs here, which has not signed these results.
    assert "autograded/hw1: 0 of 3 results fit." in told
    assert len(desk.opened) == 1
    (answer,) = cli("autograde hw1 --verify --json", status=1).json["assignments"]
    assert [each["student"] for each in answer["results"]] == ["alice", "bob", "carol"]
    assert all("changed after it was signed" in each["problems"][0] for each in answer["results"])


def _moodle_zip(path: Path, entries: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return path


ENTRIES = {
    "Ada Lovelace_101_assignsubmission_file_/hw1.py": RIGHT,
    "Alan Turing_102_assignsubmission_file_/solution.py": HALF,
    "Grace Hopper_103_assignsubmission_file_/a.py": HALF,
    "Grace Hopper_103_assignsubmission_file_/b.py": RIGHT,
}
WORKSHEET = """\
Identifier,Full name,Username,Status,Grade,Maximum grade,Last modified (grade),Feedback comments
Participant 101,Ada Lovelace,ada,,,,,
Participant 102,Alan Turing,alan,,,,,
Participant 103,Grace Hopper,grace,,,,,
"""


@pytest.mark.parametrize("named", ["hw1", "--source=source/hw1/hw1.py"])
def test_a_zip_of_moodle_is_graded(desk: Desk, named: str) -> None:
    archive = _moodle_zip(desk.root / "all.zip", ENTRIES)
    sheet = desk.root / "sheet.csv"
    sheet.write_text(WORKSHEET)
    arguments = [named, "--moodle-zip", str(archive), "--moodle-csv", str(sheet)]
    printed = cli("autograde", *arguments, status=1)
    assert {name: each.auto_mark for name, each in desk.results().items()} == {
        "ada": 15.0,
        "alan": 7.5,
    }
    assert "no result that counts for grace" in printed.err
    assert list((desk.root / "submitted/hw1").glob("ada*")) == []


def test_a_zip_without_a_worksheet_names_participants(desk: Desk) -> None:
    archive = _moodle_zip(desk.root / "all.zip", dict(list(ENTRIES.items())[:1]))
    cli("autograde hw1", str(archive))
    assert set(desk.results()) == {"Participant-101"}


@pytest.mark.parametrize(
    ("entries", "told", "status"),
    [
        ({}, "The zip holds no submissions.", 3),
        ({"../../evil.py": "x"}, "does not look like a submission", 2),
        ({"A_1_assignsubmission_file_/../../../evil.py": "x"}, "", 0),
    ],
)
def test_a_zip_writes_nothing_outside(
    desk: Desk, entries: dict[str, str], told: str, status: int
) -> None:
    archive = _moodle_zip(desk.root / "all.zip", entries)
    assert told in cli("autograde hw1", str(archive), status=status).err
    assert list(desk.root.rglob("evil*")) == []
    assert list(desk.root.parent.glob("evil*")) == []


def test_the_table_tells_the_marks_that_wait_for_a_person() -> None:
    judged = graded_result().questions[0]
    manual = judged.model_copy(update={"state": GradingState.MANUAL, "available": 12.5})
    waits = row_of(graded_result(questions=(judged, manual), max_mark=22.5))
    lines = list(table([waits], ()))
    assert lines[0].index("Errors") + len("Errors") == lines[2].rindex("0") + 1
    assert lines[2].split() == ["alice", "7.5/22.5", "(12.5", "wait)", "0"]
    assert lines[3] == "  (… wait): the marks of questions that a person marks or confirms."
    assert len(list(table([row_of(graded_result())], ()))) == 3


def test_a_preview_tells_who_gains_and_who_loses_and_records_nothing(desk: Desk) -> None:
    cli("autograde hw1")
    with Gradebook(desk.root / "gradebook.db") as book:
        marks = {"Q1": MarkEntry(5, "A good idea.")}
        at = datetime(2026, 11, 20, tzinfo=UTC)
        book.record_marks("hw1", "carol", marks, marker="mia", at=at)
    desk.submit("alice.py", WRONG)
    desk.submit("bob.py", RIGHT)
    desk.submit("carol.py", RIGHT)
    before = {path: path.read_bytes() for path in (desk.root / "autograded").rglob("*.*")}
    runs = _runs(desk)
    printed = cli("autograde hw1 --preview")
    assert printed.lines[-8:] == [
        "  alice  Q1: 10 -> 0 (-10)",
        "  alice  Q2: 5 -> 0 (-5)",
        "  bob    Q1: 5 -> 10 (+5)",
        "  bob    Q2: 2.5 -> 5 (+2.5)",
        "  carol  Q1: 0 -> 10, but the mark by mia counts: look at it again",
        "  carol  Q2: 0 -> 5 (+5)",
        "hw1: 3 judged; 2 gain marks, 1 lose marks, 0 keep theirs.",
        "Preview — nothing was recorded. Without --preview it is.",
    ]
    assert {path: path.read_bytes() for path in before} == before
    assert _runs(desk) == runs
    (told,) = cli("autograde hw1 --preview --json").json["preview"]
    assert (told["judged"], len(told["changes"])) == (3, 6)
    assert told["changes"][4]["counts_instead"] == "mia"
    cli("autograde hw1")
    assert _runs(desk) == runs + 3
    assert "0 gain marks, 0 lose marks, 3 keep theirs." in cli("autograde hw1 --preview").out


@pytest.mark.parametrize("other", ["--failed", "--verify", "--csv=out.csv"])
def test_a_preview_is_of_all_and_writes_nothing(desk: Desk, other: str) -> None:
    assert "--preview grades all" in cli("autograde hw1 --preview", other, status=2).err
    assert desk.opened == []


def test_a_preview_needs_a_gradebook(desk: Desk) -> None:
    assert "There is no gradebook" in cli("autograde hw1 --preview", status=3).err
    assert desk.opened == []


def _runs(desk: Desk) -> int:
    with Gradebook(desk.root / "gradebook.db") as book:
        return len(book.runs("hw1"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("[hub]\ncollect = true\n", "Students submit on the hub; none has submitted this yet."),
        ('transport = "https"\n', "`mograder https fetch-submissions`"),
        ('[moodle]\nurl = "https://moodle.example.org"\n', "`mograder moodle fetch-submissions`"),
        ("", "`collect = true` below [hub]"),
    ],
)
def test_without_submissions_the_way_of_this_course_is_told(
    desk: Desk, settings: str, told: str
) -> None:
    (desk.root / "mograder.toml").write_text(settings)
    assert told in cli("autograde", *_without_submissions(desk), status=2).err
