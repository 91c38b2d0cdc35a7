"""``mograder autograde`` when the disk is full or another program holds the gradebook."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from mograder.store.gradebook.gradebook import Gradebook
from tests.support.fake_judges import SOLVED, hand_in, written
from tests.support.sandbox_fixtures import IS_ROOT

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

_MOGRADER = str(Path(sys.executable).with_name("mograder"))
_SECONDS = 300
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
def course(tmp_path: Path, uv_cache: Path, run_directory: Path) -> Path:
    """A course whose gradebook is in a directory of its own."""
    root = tmp_path / "course"
    written(root)
    hand_in(root, **dict.fromkeys(STUDENTS, SOLVED))
    (root / "marks").mkdir()
    (root / "autograded").mkdir()
    (root / "mograder.toml").write_text(
        f'[hub]\nuv_cache_dir = "{uv_cache}"\n'
        f'environments_dir = "{run_directory / "environments"}"\n'
        '[gradebook]\npath = "marks/gradebook.db"\n'
    )
    return root


def graded(
    course: Path, *command: str, kept: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, within another one."""
    own = "" if IS_ROOT else f"unshare -U --map-user={os.getuid()} --map-group={os.getgid()}"
    out = {"OUT": str(course / "autograded"), "KEPT": str(kept), "AS": own} if kept else {}
    return subprocess.run(
        [*command, _MOGRADER, "autograde", "hw1", "-j", "1"],
        cwd=course,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
        env={**os.environ, **out},
    )


def whole_results(autograded: Path) -> set[str]:
    """Return the students with a page; every file that is there is whole."""
    for path in (autograded / "hw1").glob("*"):
        text = path.read_text()
        assert text.endswith("\n") or (path.suffix == ".html" and text.rstrip().endswith("</html>"))
    return {path.stem for path in (autograded / "hw1").glob("*.html")}


@pytest.mark.parametrize(("full", "size"), [("autograded", "64k"), ("marks", "300k")])
def test_a_full_disk_ends_it_with_a_line_and_whole_results(
    course: Path, tmp_path: Path, full: str, size: str
) -> None:
    kept = tmp_path / "kept"
    alone = "-m" if IS_ROOT else "-Urm"
    mounting = ["unshare", alone, "sh", "-c", ON_A_SMALL_DISK, "sh", size, str(course / full)]
    done = graded(course, *mounting, kept=kept)
    assert done.returncode not in (0, 99), done.stderr
    assert "disk is full" in done.stderr
    assert "Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    found = whole_results(kept)
    assert 0 < len(found) < len(STUDENTS), found
    shutil.rmtree(course / "autograded")
    assert graded(course).returncode == 0
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
    course: Path, held: Callable[[Path], AbstractContextManager[None]]
) -> None:
    assert graded(course).returncode == 0
    shutil.rmtree(course / "autograded")
    with held(course / "marks" / "gradebook.db"):
        done = graded(course)
    assert done.returncode not in (0, 1)
    assert "gradebook.db" in done.stderr
    assert "try again" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (course / "autograded").exists()
    assert graded(course).returncode == 0
    assert whole_results(course / "autograded") == set(STUDENTS)
