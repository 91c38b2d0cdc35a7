"""Collecting from Moodle where a trial found faults: groups, late work, odd names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zipfile

import pytest

from mograder.clients.course_server import WouldReplaceOnTime
from mograder.clients.moodle.transport import MoodleTransport
from tests.support.command_line import cli
from tests.support.moodle.teacher import SUBMITTED, CourseSetup

FETCH = ["moodle", "fetch-submissions"]
MAP = ["--map", "students.csv"]


def test_a_teacher_of_some_groups_collects_their_work(teacher: CourseSetup) -> None:
    """With separate groups, Moodle shows nobody unless asked for each group."""
    teacher.moodle.scene = "separate-groups"
    told = cli(*FETCH, "A1", *MAP)
    assert "Moodle shows you only the students of G2." in told.err
    assert told.lines[-1].startswith("1 fetched, 1 skipped: ")
    submitted = teacher.course / "submitted" / "A1-Introduction"
    assert sorted(path.name for path in submitted.glob("*.py")) == ["carol.py"]
    (teacher.course / "g.csv").write_text("student,mark\ncarol,55\n")
    assert "carol" in cli("moodle upload-feedback A1 --grades-csv g.csv --dry-run").out
    (teacher.course / "g.csv").write_text("student,mark\ncarol,55\ndora,0\n")
    printed = cli("moodle upload-feedback A1 --grades-csv g.csv --dry-run")
    assert "  dora   changed    - -> 0.00\n" in printed.out, "who did not submit"


@pytest.mark.parametrize(
    "words", [[*FETCH, "A1"], ["moodle", "upload-feedback", "A1", "--grades-csv", "g.csv"]]
)
def test_an_empty_list_of_participants_is_a_failure(teacher: CourseSetup, words: list[str]) -> None:
    """It ended with 0."""
    teacher.moodle.scene = "no-group"
    (teacher.course / "g.csv").write_text("student,mark\ncarol,55\n")
    told = cli(*words, status=3).err
    assert "Moodle shows you no participants of this assignment." in told
    assert "moodle/site:accessallgroups" in told
    assert not (teacher.course / "submitted").exists()


def test_the_students_of_some_groups_never_replace_the_list_of_all(teacher: CourseSetup) -> None:
    """A list of G2 would lock everybody else out of the hub."""
    teacher.moodle.scene = "separate-groups"
    config = teacher.course / "mograder.toml"
    config.write_text(config.read_text().replace("id = 1\n", "id = 1\ncmid = 3\n"))
    assert "only the students of G2" in cli("moodle sync-users", *MAP, status=4).err
    assert not (teacher.course / "allowed_users.txt").exists()


def test_late_work_is_told_with_extensions_counted(teacher: CourseSetup) -> None:
    """In the list, in --json and in a file beside the times of submission."""
    teacher.moodle.scene = "extension"
    told = cli(*FETCH, "A1", *MAP).out
    late = [line.split()[0] for line in told.splitlines() if "; late by 1 min" in line]
    assert late == ["alice", "bsmith"]
    assert "3 fetched, 1 skipped (2 late): " in told
    submitted = teacher.course / "submitted" / "A1-Introduction"
    assert json.loads((submitted / ".fetch_late.json").read_text()) == {"alice": 2, "bsmith": 4}
    rows = {each["student"]: each for each in cli(*FETCH, "A1", "--json").json}
    assert {name: row["late"] for name, row in rows.items()} == {
        "alice": True,
        "bsmith": True,
        "carol": False,
        "dora": False,
    }
    assert rows["bsmith"]["late_by_seconds"] == 4
    assert len(teacher.asked("mod_assign_get_user_flags")) == 2


def test_an_extension_on_moodle_is_told_where_deductions_do_not_know_it(
    teacher: CourseSetup,
) -> None:
    """carol was in time by Moodle and by the list, and her mark was lowered."""
    teacher.moodle.scene = "extension"
    add = ["extension", "add", "A1-Introduction", "carol", "--until", "2026-11-20T07:31:40+00:00"]
    assert "deductions" not in cli(*FETCH, "A1", *MAP).err, "they are off"
    config = teacher.course / "mograder.toml"
    text = config.read_text().replace("id = 1\n", "id = 1\nduedate = 1795156301\n")
    config.write_text(f"{text}\n[penalties]\nenabled = true\n")
    told = cli(*FETCH, "A1").err
    assert "deductions do not follow extensions on Moodle" in told
    assert f"\n  mograder {' '.join(add)}\n" in told
    cli(*add)
    assert "deductions" not in cli(*FETCH, "A1").err


def test_files_whose_names_begin_with_a_dot_are_kept_where_they_can_be_seen(
    teacher: CourseSetup,
) -> None:
    """They were fetched and then dropped without a word."""
    teacher.moodle.scene = "dotted"
    folder = f"{SUBMITTED}/5"
    teacher.moodle.supplied |= {f"{folder}/..py": b"x", f"{folder}/.notes.txt": b"notes"}
    told = cli(*FETCH, "A1", *MAP).out
    assert ".notes.txt is kept as bsmith.files/_.notes.txt" in told
    submitted = teacher.course / "submitted" / "A1-Introduction"
    names = sorted(path.name for path in (submitted / "bsmith.files").iterdir())
    assert names == ["_..py", "_.notes.txt"]
    rows = {each["student"]: each for each in cli(*FETCH, "A1", "--json").json}
    assert {"name": "..py", "path": "bsmith.files/_..py"} in rows["bsmith"]["files"]


def test_work_without_a_notebook_is_counted_apart(teacher: CourseSetup) -> None:
    """It was counted as fetched, and its students were not graded without a word."""
    with zipfile.ZipFile(teacher.course / "all.zip", "w") as archive:
        for number, name in ((7, "A1.py"), (8, "A1.ipynb"), (9, "A1.pdf")):
            archive.writestr(f"Anna_{number}_assignsubmission_file_/{name}", "x")
    told = cli(*FETCH, "A1", "--zip", "all.zip").lines[-1]
    assert told.startswith("3 fetched (2 without a notebook): ")


def test_anonymous_work_gets_its_students_name_once_identities_are_revealed(
    teacher: CourseSetup,
) -> None:
    """It was fetched a second time, and feedback for Participant-1 was nobody's."""
    teacher.moodle.supplied |= {
        f"/webservice/pluginfile.php/20/assignsubmission_file/submission_files/{row}/{name}": b"#"
        for row, name in ((6, "A3-Blind.py"), (7, "A3-Blind.py"))
    }
    submitted = teacher.course / "submitted" / "A3. Blind & hidden"
    assert "Participant-1 " in cli(*FETCH, "A3", "--dry-run").out
    submitted.mkdir(parents=True)
    for name in ("Participant-1.py", "Participant-3.py", "bsmith.py"):
        (submitted / name).write_text(f"# {name}\n")
    times = {"Participant-1": 1795156305, "Participant-3": 1795156305, "bsmith": 1795156305}
    (submitted / ".fetch_metadata.json").write_text(json.dumps(times))
    teacher.moodle.scene = "revealed"
    told = cli(*FETCH, "A3", *MAP).out
    assert "was Participant-1" in told
    assert told.splitlines()[-1].startswith("2 unchanged, 2 skipped")
    assert (submitted / "alice.py").read_text() == "# Participant-1.py\n"
    assert (submitted / "bsmith.py").read_text() == "# bsmith.py\n"
    (kept,) = (submitted / ".replaced").glob("*/Participant-3.py")
    assert kept.read_text() == "# Participant-3.py\n"
    assert not list(submitted.glob("Participant*"))
    found = json.loads((submitted / ".fetch_metadata.json").read_text())
    assert found == {"alice": 1795156305, "bsmith": 1795156305}
    (teacher.course / "g.csv").write_text("student,mark\nParticipant-1,55\n")
    assert "alice" in cli("moodle upload-feedback A3 --grades-csv g.csv --dry-run").out


def test_a_file_that_is_gone_is_its_students_failure_and_nobody_elses(
    teacher: CourseSetup,
) -> None:
    """The rest arrives, and the next run goes on; of many files, see ``moodle/test_files.py``."""
    teacher.moodle.gone = frozenset({f"{SUBMITTED}/5/A1-Introduction.py"})
    told = cli(*FETCH, "A1", *MAP, status=1)
    assert "2 fetched, 1 skipped, 1 failed: " in told.out
    assert "  bsmith  failed     Moodle has no such file for you" in told.out
    submitted = teacher.course / "submitted" / "A1-Introduction"
    assert sorted(path.name for path in submitted.glob("*.py")) == ["alice.py", "carol.py"]
    teacher.moodle.gone = frozenset()
    assert "1 fetched, 2 unchanged, 1 skipped: " in cli(*FETCH, "A1", *MAP).out


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_is_gone_on_with(teacher: CourseSetup, number: signal.Signals) -> None:
    """Students' files stayed in .fetching-xxxx for ever, used by nobody."""
    submitted = teacher.course / "submitted" / "A1-Introduction"
    program = (
        "import os, signal\n"
        "from mograder.exchange.moodle import collect\n"
        "from mograder.cli.main import run\n"
        f"end = lambda *_: os.kill(os.getpid(), {int(number)})\n"
        "collect.put_work = end\n"
        "run(['moodle', 'fetch-submissions', 'A1', '--map', 'students.csv'])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert ended.returncode == -number, ended.stderr
    left = list((submitted / ".fetching").iterdir())
    assert len(left) == 4
    assert (submitted / ".fetching").stat().st_mode & 0o777 == 0o700
    before = len(teacher.moodle.requests)
    cli(*FETCH, "A1", *MAP)
    asked = [each.path for each in teacher.moodle.requests[before:]]
    assert not [path for path in asked if "pluginfile" in path], "they had arrived"
    assert (submitted / "alice.py").read_bytes() == b'# alice v2\nx = "\xc3\xa9"\n'
    assert not list(submitted.glob(".fetching*"))


def test_an_account_that_moodle_refuses_is_told_why(teacher: CourseSetup) -> None:
    """It said "You have no course number 2" for an incomplete profile."""
    teacher.moodle.scene = "incomplete-profile"
    told = cli(*FETCH, "A1", status=4).err
    assert "User not fully set-up" in told
    assert "profile" in told


def test_late_work_names_the_option_that_submits_it(
    teacher: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said "Agree to that if you mean it", and not how."""

    def refuse(*_: object, **__: object) -> None:
        raise WouldReplaceOnTime("What you handed in was on time.", hint="Agree to that.")

    monkeypatch.setattr(MoodleTransport, "submit", refuse)
    (teacher.course / "A1.py").write_text("import marimo\n\napp = marimo.App()\n")
    assert "--late to let the late one count" in cli("moodle submit A1 A1.py", status=5).err
