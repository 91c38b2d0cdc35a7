"""``mograder autograde`` in real sandboxes: marks, what is up to date, and what ends it in between.

A kill, a full disk, a gradebook that another program holds.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mograder.store.gradebook.gradebook import Gradebook
from tests.support.fake_judges import SOLVED, SOURCE, answered, hand_in, release_of, written
from tests.support.gradebooks import change
from tests.support.sandbox_fixtures import IS_ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

_MOGRADER = str(Path(sys.executable).with_name("mograder"))
_SECONDS = 300
PARTIAL = answered(SOURCE, ("area = ...", "def area(side):\n        return 2 * side"))
EMPTY = release_of(SOURCE)


@pytest.fixture
def course(tmp_path: Path, uv_cache: Path, run_directory: Path) -> Path:
    root = tmp_path / "course"
    written(root)
    hand_in(root, alice=SOLVED, bob=PARTIAL, carol=EMPTY)
    (root / "mograder.toml").write_text(
        f'[hub]\nuv_cache_dir = "{uv_cache}"\n'
        f'environments_dir = "{run_directory / "environments"}"\n'
    )
    return root


def grading(
    course: Path, *options: str, within: tuple[str, ...] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, perhaps within another one."""
    return subprocess.run(
        [*within, _MOGRADER, "autograde", *options, "hw1"],
        cwd=course,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env={**os.environ, **environ},
    )


def results(course: Path, *, timeless: bool = False) -> dict[str, dict[str, Any]]:
    """The results by student; without times, those of the same submissions are equal."""
    hook = _without_times if timeless else None
    with Gradebook(course / "gradebook.db") as book:
        return {run.student: json.loads(run.result, object_hook=hook) for run in book.runs("hw1")}


def _without_times(found: dict[str, Any]) -> dict[str, Any]:
    return {
        key: each for key, each in found.items() if key not in ("at", "seconds", "milliseconds")
    }


def test_marks_are_made_once_and_can_be_verified(course: Path) -> None:
    hand_in(course, dave="not a notebook")
    done = grading(course, "--json", "-j", "2")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["assignments"]
    marks = {each["student"]: each["auto_mark"] for each in told["submissions"]}
    assert marks == {"alice": 15.0, "bob": 2.5, "carol": 0.0, "dave": 0.0}
    assert all(each["protected"] for name, each in results(course).items() if name != "dave")
    pages = [path.read_text() for path in (course / "autograded/hw1").glob("*.html")]
    assert len(pages) == 4
    assert not any("secret ten" in page for page in pages)
    again = grading(course)
    assert "All submissions are up to date" in again.stdout
    assert grading(course, "--verify").returncode == 0
    forged = "UPDATE grading_runs SET result = replace(result, ?, ?)"
    change(course / "gradebook.db", forged, '"auto_mark": 2.5', '"auto_mark": 15.0')
    verified = grading(course, "--verify")
    assert verified.returncode == 1
    assert "changed after it was signed" in verified.stdout


def test_the_number_of_jobs_changes_no_result(course: Path) -> None:
    assert grading(course, "-j", "1").returncode == 0
    alone = results(course, timeless=True)
    assert grading(course, "-j", "3", "--force").returncode == 0
    assert results(course, timeless=True) == alone
    assert len(alone) == 3


def test_a_killed_run_goes_on_where_it_was(course: Path) -> None:
    hand_in(course, **{f"s{number:02}": PARTIAL for number in range(12)})
    killed = subprocess.Popen(
        [_MOGRADER, "autograde", "hw1", "--progress", "-j", "2"],
        cwd=course,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert killed.stderr is not None
    finished = 0
    for line in killed.stderr:
        finished += '"event": "progress"' in line
        if finished == 4:
            break
    supervisors = psutil.Process(killed.pid).children()
    killed.send_signal(signal.SIGKILL)
    killed.stderr.close()
    killed.wait()
    for each in supervisors:  # it outlives the command for a while
        each.terminate()
    psutil.wait_procs(supervisors, timeout=30)
    kept = results(course)
    assert 4 <= len(kept) < 15
    done = grading(course)
    assert done.returncode == 0, done.stderr
    assert f"Skipping {len(kept)} up-to-date" in done.stdout
    found = results(course)
    assert {name: found[name] for name in kept} == kept
    assert {each["auto_mark"] for name, each in found.items() if name[0] == "s"} == {2.5}
    assert len(found) == 15
    assert grading(course, "--verify").returncode == 0


def test_packages_that_cannot_be_installed_end_it_with_a_line(course: Path) -> None:
    source = course / "source/hw1/hw1.py"
    unknown = 'dependencies = ["marimo", "mograder-no-such-package"]'
    source.write_text(SOURCE.replace('dependencies = ["marimo"]', unknown))
    done = grading(course)
    assert done.returncode == 2
    assert "mograder-no-such-package" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (course / "autograded").exists()


# Full disks and locks ---------------------------------------------------------------------

STUDENTS = [f"student{number}" for number in range(6)]
ON_A_SMALL_DISK = """
mount -t tmpfs -o size="$1" none "$2" || exit 99
shift 2
$AS "$@"
status=$?
cp -r "$OUT" "$KEPT"
exit $status
"""


@pytest.fixture
def class_of_six(course: Path) -> Path:
    """A course of six, whose gradebook is in a directory of its own."""
    shutil.rmtree(course / "submitted")
    hand_in(course, **dict.fromkeys(STUDENTS, SOLVED))
    (course / "marks").mkdir()
    (course / "autograded").mkdir()
    with (course / "mograder.toml").open("a") as settings:
        settings.write('[gradebook]\npath = "marks/gradebook.db"\n')
    return course


def whole_results(autograded: Path) -> set[str]:
    """Return the students with a page; every file that is there is whole."""
    for path in (autograded / "hw1").glob("*"):
        text = path.read_text()
        assert text.endswith("\n") or (path.suffix == ".html" and text.rstrip().endswith("</html>"))
    return {path.stem for path in (autograded / "hw1").glob("*.html")}


@pytest.mark.parametrize(("full", "size"), [("autograded", "64k"), ("marks", "300k")])
def test_a_full_disk_ends_it_with_a_line_and_whole_results(
    class_of_six: Path, tmp_path: Path, full: str, size: str
) -> None:
    course, kept = class_of_six, tmp_path / "kept"
    alone = "-m" if IS_ROOT else "-Urm"
    mounting = ("unshare", alone, "sh", "-c", ON_A_SMALL_DISK, "sh", size, str(course / full))
    own = "" if IS_ROOT else f"unshare -U --map-user={os.getuid()} --map-group={os.getgid()}"
    out = {"OUT": str(course / "autograded"), "KEPT": str(kept), "AS": own}
    done = grading(course, "-j", "1", within=mounting, **out)
    assert done.returncode not in (0, 99), done.stderr
    assert "disk is full" in done.stderr
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    found = whole_results(kept)
    assert 0 < len(found) < len(STUDENTS), found
    shutil.rmtree(course / "autograded")
    assert grading(course).returncode == 0
    assert whole_results(course / "autograded") == set(STUDENTS)
    with Gradebook(course / "marks/gradebook.db") as book:
        assert {each.student: each.auto for each in book.grades("hw1")} == dict.fromkeys(
            STUDENTS, 15.0
        )


@contextmanager
def the_lock_file(book: Path) -> Iterator[None]:
    """Hold the lock as 0.3.16 and this program do while they write."""
    with book.with_name(f"{book.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def a_transaction(book: Path) -> Iterator[None]:
    """Hold the database as a program does that knows nothing of the lock file."""
    with closing(sqlite3.connect(book, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


@pytest.mark.parametrize("held", [the_lock_file, a_transaction])
def test_a_locked_gradebook_is_told_before_anything_is_graded(
    class_of_six: Path, held: Callable[[Path], AbstractContextManager[None]]
) -> None:
    course = class_of_six
    assert grading(course).returncode == 0
    shutil.rmtree(course / "autograded")
    with held(course / "marks" / "gradebook.db"):
        done = grading(course)
    assert done.returncode not in (0, 1)
    assert "gradebook.db" in done.stderr
    assert "try again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (course / "autograded").exists()
    assert grading(course).returncode == 0
    assert whole_results(course / "autograded") == set(STUDENTS)
