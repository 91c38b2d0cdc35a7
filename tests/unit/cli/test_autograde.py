"""``mograder autograde`` as a command: arguments, exit statuses, lines, events and JSON.

Judges decide by the text here; ``tests/contract/test_autograde.py`` has real ones. Of bad input a
line says what and what to do, and others are judged; a full disk and locked gradebooks, which take
processes, are in ``tests/contract``, too.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.cells import cell_len

from mograder.cli.autograde import command
from mograder.cli.autograde.output import table
from mograder.core.settings import Environ, LoadedSettings
from mograder.grading.submissions.grading_result import GradingResult, GradingState
from mograder.grading.submissions.grading_tools import GradingTools
from mograder.grading.submissions.result_forms import row_of
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry
from tests.support.command_line import cli
from tests.support.graded_results import graded_result, newest_results
from tests.support.grading_course import (
    HALF,
    RIGHT,
    SOURCE,
    WRONG,
    TextJudges,
    make_course,
    tools_with,
)

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
OTHERS = {"alice": 15.0, "bob": 7.5, "carol": 0.0}
HERE = Path("submitted/hw1")


@dataclass
class Desk:
    """A course, which is the working directory, and its judges."""

    root: Path
    judges: TextJudges = field(default_factory=TextJudges)
    opened: list[int] = field(default_factory=list)
    refusal: str = ""

    def results(self, assignment: str = "hw1") -> dict[str, GradingResult]:
        """Return the results that were recorded, by student."""
        return newest_results(self.root / "gradebook.db", assignment)

    def submit(self, name: str, text: str = HALF, assignment: str = "hw1") -> Path:
        path = self.root / "submitted" / assignment / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def desk(here: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The course, with three submissions to ``hw1``, as the working directory."""
    desk = Desk(make_course(here, {"alice": RIGHT, "bob": HALF, "carol": WRONG}))

    @asynccontextmanager
    async def opening(
        loaded: LoadedSettings, environ: Environ, *, jobs: int, sandbox: bool
    ) -> AsyncIterator[GradingTools]:
        desk.opened.append(jobs)
        desk.judges.gate.set()
        yield tools_with(desk.judges, here, refusal=desk.refusal)

    monkeypatch.setattr(command, "open_grading_tools", opening)
    return desk


def test_the_lines_are_those_of_0_3_16(desk: Desk) -> None:
    assert cli("autograde hw1 --csv out.csv").out == TABLE
    rows = list(csv.reader(io.StringIO((desk.root / "out.csv").read_text())))
    assert rows[0] == ["notebook", "Q1", "Q2", "cell_errors", "export_error", "auto_mark"]
    assert rows[2] == ["bob", "PARTIAL", "PARTIAL", "0", "", "7.5"]
    assert (desk.root / "out.csv").stat().st_mode & 0o777 == 0o600
    printed = cli("autograde hw1")
    assert printed.lines[1:] == [
        "Skipping 3 up-to-date submissions (use --force to re-grade all)",
        "All submissions are up to date — nothing to do.",
    ]


def test_the_events_are_those_of_0_3_16(desk: Desk) -> None:
    desk.submit("dave.py").unlink()
    (desk.root / "submitted/hw1/dave.py").mkdir()
    lines = cli("autograde hw1 --progress -j 1", status=1).err.splitlines()
    told = [json.loads(line) for line in lines]
    events = [each for each in told if each["event"] != "warning"]
    assert told[-1] == {"event": "warning", "message": "hw1: no result that counts for dave."}
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


def test_failed_says_nothing_of_what_is_up_to_date(desk: Desk) -> None:
    cli("autograde hw1")
    desk.submit("alice.py", WRONG)
    assert cli("autograde hw1 --failed").lines[-1] == "No submission has failed — nothing to do."
    assert desk.results()["alice"].auto_mark == 15


def test_students_are_chosen_by_name(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    desk.submit(f"{unicodedata.normalize('NFD', 'Jörg Müller')}.py")
    cli("autograde hw1 --student", "Jörg Müller", "--student", "bob", "-o", str(out))
    assert set(desk.results()) == {"bob", "Jörg Müller"}
    assert (out / "bob.html").is_file()
    assert "There is no submission of bo to hw1." in cli("autograde hw1 --student bo", status=3).err


def test_without_a_source_the_release_gives_the_questions(desk: Desk) -> None:
    """And the packages and files that the submissions need, as on the hub."""
    shutil.rmtree(desk.root / "source")
    printed = cli("autograde hw1").out
    assert printed.startswith("There is no source source/hw1: ")
    result = desk.results()["bob"]
    assert (result.source_sha256, len(result.release_sha256)) == ("", 64)
    questions = [(question.key, question.available) for question in result.questions]
    assert questions == [("Q1", 10.0), ("Q2", 5.0)]


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


def test_another_course_is_graded_by_its_settings_and_into_its_gradebook(
    desk: Desk, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_course(tmp_path_factory.mktemp("other"), {"alice": WRONG, "eve": RIGHT})
    (other / "mograder.toml").write_text('[defaults]\njobs = 2\n[dirs]\nsubmitted = "in"\n')
    (other / "submitted").rename(other / "in")
    cli("autograde hw1")
    cli("autograde", str(other / "in" / "hw1"))
    assert desk.opened == [4, 2]
    assert (other / "autograded/hw1/eve.html").is_file()
    assert set(newest_results(other / "gradebook.db", "hw1")) == {"alice", "eve"}
    assert desk.results()["alice"].auto_mark == 15
    told = cli("autograde hw1", str(other / "in" / "hw1"), status=2).err
    assert "These belong to several courses" in told


@pytest.mark.parametrize("directory", ["hw1", "submitted/hw1"])
def test_submissions_in_no_course_are_graded_as_those_of_this_one(
    desk: Desk, directory: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("check") / directory
    place.mkdir(parents=True)
    (place / "dave.py").write_text(HALF)
    cli("autograde", str(place))
    assert set(desk.results()) == {"dave"}
    assert (desk.root / "autograded/hw1/dave.html").is_file()


@pytest.mark.parametrize("named", ["hw1", "submitted/hw1/alice.py", "hw1 all.zip"])
@pytest.mark.parametrize("place", ["submitted/hw1", "here", "source/hw1", "release/hw1"])
def test_results_never_take_the_place_of_what_they_are_made_of(
    desk: Desk, named: str, place: str
) -> None:
    """The grading copy took the place of the bytes that the student had handed in."""
    _moodle_zip(desk.root / "all.zip", ENTRIES)
    (desk.root / "here").symlink_to("submitted/hw1")
    before = {path: path.read_bytes() for path in desk.root.rglob("*.py")}
    told = cli(f"autograde {named} -o {place}", status=2).err
    assert f"Nothing is written to {place}: " in told
    assert desk.opened == []
    assert {path: path.read_bytes() for path in desk.root.rglob("*.py")} == before


def test_results_are_not_set_to_go_where_submissions_are(desk: Desk) -> None:
    with (desk.root / "mograder.toml").open("a") as settings:
        settings.write('\n[dirs]\nautograded = "submitted"\n')
    told = cli("autograde hw1", status=2).err
    assert "Nothing is written to submitted/hw1: " in told
    assert "below [dirs] in mograder.toml" in told
    assert desk.opened == []


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
        (lambda _: ["hw1", "--failed", "--csv", "out.csv"], "--csv is a table of all"),
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
    (answer,) = cli("autograde hw1 --json").json["assignments"]
    assert note in answer["notes"][-1], "a program learns of dave, too"
    assert note in cli("autograde hw1 --preview").out
    (answer,) = cli("autograde hw1 --preview --json").json["preview"]
    assert note in answer["notes"][-1]
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


def test_full_width_names_take_two_cells_each_in_tables(desk: Desk) -> None:
    names = ("alice", "山田太郎花子")
    head, rule, *lines = table([row_of(graded_result(student=name)) for name in names], ())
    assert {cell_len(line.partition("7.5")[0]) for line in lines} == {14}
    assert (head.index("Marks"), len(rule)) == (14, len(head))
    cli("autograde hw1")
    desk.submit("alice.py", WRONG)
    desk.submit("山田.py", RIGHT)
    cli("autograde hw1")
    desk.submit("山田.py", HALF)
    desk.submit("alice.py", RIGHT)
    told = [line for line in cli("autograde hw1 --preview").lines if " -> " in line]
    assert {line.split()[0] for line in told} == {"alice", "山田"}
    assert {cell_len(line.partition("Q")[0]) for line in told} == {9}


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


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.write(RIGHT.encode())
        file.truncate(50_000_000)


def _link_to_another(path: Path) -> None:
    other = path.parent / "erin_20260102T030405.py"
    other.write_text(RIGHT)
    path.symlink_to(other.name)


def _socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(path))


FILES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "not UTF-8": (
        lambda path: path.write_bytes("# \u00fc\n".encode("latin-1") + RIGHT.encode()),
        "dave.py:1: the file is not UTF-8. Save it as UTF-8",
        "not run",
    ),
    "UTF-16": (
        lambda path: path.write_bytes(RIGHT.encode("utf-16")),
        "dave.py:1: the file is in UTF-16, not UTF-8. Save it as UTF-8",
        "not run",
    ),
    "no app": (lambda path: path.write_text("print(1)\n"), "dave.py:1: ", "not run"),
    "empty": (lambda path: path.touch(), "dave.py", "not run"),
    "50 MB": (_large, "dave.py is larger than 16 MB.", "needs attention"),
    "a link to another file": (
        lambda path: path.symlink_to("../../source/hw1/hw1.py"),
        "dave.py is a link, and not to a submission of its student.",
        "needs attention",
    ),
    "a link to nothing": (
        lambda path: path.symlink_to("dave_20260102T030405.py"),
        "cannot be read: No such file or directory.",
        "needs attention",
    ),
    "a link to another student's submission": (
        _link_to_another,
        "dave.py is a link, and not to a submission of its student.",
        "needs attention",
    ),
    "a FIFO": (os.mkfifo, "dave.py is no regular file", "needs attention"),
    "a directory": (Path.mkdir, "dave.py is no regular file", "needs attention"),
    "a socket": (_socket, "dave.py is no regular file", "needs attention"),
}


def whole(desk: Desk) -> dict[str, float | None]:
    """Return the marks by student; each has all of its files."""
    found = {name: each.auto_mark for name, each in desk.results().items()}
    names = {path.name for path in (desk.root / "autograded/hw1").iterdir()}
    ends = (".py", ".html")
    assert names - {".mograder_source_hash"} == {f"{n}{end}" for n in found for end in ends}
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_graded_is_one_line_and_others_are_judged(
    desk: Desk, name: str
) -> None:
    make, said, state = FILES[name]
    make(HERE / "dave.py")
    told = cli("autograde hw1", status=1 if state == "needs attention" else 0)
    assert said in told.out + told.err
    assert "Traceback" not in told.out + told.err
    found = whole(desk)
    found.pop("erin", None)
    assert found == OTHERS | ({"dave": 0.0} if state == "not run" else {})
    if state == "not run":
        assert desk.results()["dave"].state is GradingState.NOT_RUN
    else:
        assert "no result that counts for dave" in told.err
    assert len(desk.judges.asked) == 3 + (HERE / "erin_20260102T030405.py").exists()


@pytest.mark.parametrize("other", ["BOB.py", "J\u00f6.py"])
def test_two_files_of_one_student_are_told_and_none_of_them_counts(desk: Desk, other: str) -> None:
    desk.submit(other, RIGHT)
    if other != "BOB.py":
        desk.submit(unicodedata.normalize("NFD", other))
    told = cli("autograde hw1", status=1)
    assert "look like files of one student: none of them is graded." in told.out + told.err
    assert "Keep one, under the student's right name." in told.out + told.err
    twice = {"bob"} if other == "BOB.py" else set()
    assert whole(desk) == {name: mark for name, mark in OTHERS.items() if name not in twice}


def test_the_file_of_the_student_whose_submission_was_fetched_keeps_its_mark(desk: Desk) -> None:
    desk.submit("BOB.py", RIGHT)
    desk.submit(".fetch_metadata.json", '{"bob": 1767344400}')
    told = "".join(cli("autograde hw1", status=1))
    assert "'BOB.py' is not graded, since it looks like 'bob.py', whose submission is" in told
    assert whole(desk) == OTHERS


def test_naming_a_file_grades_it_no_sooner_than_the_one_that_looks_the_same(desk: Desk) -> None:
    named = desk.submit("BOB.py", RIGHT)
    printed = cli("autograde", str(named), status=1)
    assert "'BOB.py', 'bob.py' look like files of one student" in "".join(printed)
    assert desk.judges.asked == []


def test_names_with_spaces_and_umlauts_are_names(desk: Desk) -> None:
    for name in ("J\u00f6rg M\u00fcller", "\u674e \u660e", "O'Neil, Se\u00e1n"):
        desk.submit(f"{unicodedata.normalize('NFD', name)}.py")
    cli("autograde hw1")
    assert whole(desk) == OTHERS | dict.fromkeys(
        ("J\u00f6rg M\u00fcller", "\u674e \u660e", "O'Neil, Se\u00e1n"), 7.5
    )


@pytest.mark.parametrize("name", ["a\nb.py", "=1+1\x1b[31m.py", "CON .py ", "-x\u202e.py"])
def test_a_name_that_cannot_be_a_students_is_told_in_plain_text(desk: Desk, name: str) -> None:
    (HERE / name).write_text(RIGHT)
    told = "".join(cli("autograde hw1", status=int(name.endswith(".py"))))
    assert whole(desk) == OTHERS
    if name.endswith(".py"):
        assert "is no name for a student's files. Rename it." in told
    assert not {"\x1b", "\u202e"} & set(told)


def test_a_release_of_another_source_is_told_and_not_compared_with(desk: Desk) -> None:
    other = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    y = 1\n    return\n"
    (desk.root / "release/hw1/hw1.py").write_text(other)
    assert "does not belong to" in "".join(cli("autograde hw1"))
    assert whole(desk) == OTHERS
    assert {each.tampered for each in desk.results().values()} == {()}


@pytest.mark.parametrize("damage", ["half", "zeros", "text"])
def test_a_damaged_gradebook_is_told_and_kept(desk: Desk, damage: str) -> None:
    cli("autograde hw1")
    book = desk.root / "gradebook.db"
    data = book.read_bytes()
    damaged = {"half": data[: len(data) // 2], "zeros": data[:4096] + bytes(len(data) - 4096)}
    book.write_bytes(damaged.get(damage, b"not a database" * 100))
    before = book.read_bytes()
    desk.judges.asked.clear()
    told = cli("autograde hw1 --force", status=2).err
    assert "gradebook.db" in told
    assert "Traceback" not in told
    assert "is damaged or is no database" in told
    assert desk.judges.asked == []
    assert book.read_bytes() == before
