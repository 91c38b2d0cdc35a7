"""Names of students' files in a backup: several of one file (hard links), too long, too many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings
from mograder.operations import archive, backup
from mograder.operations.archive import verify
from mograder.operations.backup import Made, back_up
from mograder.operations.restore import restore
from tests.support.progress import quiet

_LARGE, _SMALL = (1 << 20) + 1, 1000
_MORE = 5
"""Further names of each file."""


def test_a_large_file_of_many_names_is_read_once(tmp_path: Path) -> None:
    """security.md, "The workspace is theirs": by 60,000 names it would be read for weeks."""
    course, again = tmp_path / "course", tmp_path / "again"
    home, other = course / "hub-notebooks/alice/A1", course / "source"
    for place in (home, other):
        place.mkdir(parents=True)
        for name, size in (("large", _LARGE), ("small", _SMALL)):
            (place / name).write_bytes(os.urandom(size))
            for number in range(_MORE):
                (place / f"{name}{number}").hardlink_to(place / name)
    made = back_up(load_settings(course, environ={}), tmp_path / "backup", quiet)
    top = "course/hub-notebooks/alice/A1"
    said = {f"{top}/large{number}: another name of {top}/large" for number in range(_MORE)}
    assert set(made.left_out) == said
    assert made.by_students == _MORE, "so that no alarm starts"
    restore(tmp_path / "backup", again, {}, quiet)
    work = again / "hub-notebooks/alice/A1"
    assert (work / "large").read_bytes() == (home / "large").read_bytes()
    assert sorted(path.name for path in work.iterdir()) == [
        *("large", "small"),
        *(f"small{number}" for number in range(_MORE)),
    ]
    assert (work / "small4").read_bytes() == (home / "small").read_bytes()
    assert len(list((again / "source").iterdir())) == 2 + 2 * _MORE, "no student's: all is in it"


def test_many_names_of_a_smaller_file_end_as_well(tmp_path: Path) -> None:
    course = tmp_path / "course"
    home = course / "hub-notebooks/alice/A1"
    home.mkdir(parents=True)
    (home / "file").write_bytes(os.urandom(500_000))
    for number in range(20):
        (home / f"file{number:02}").hardlink_to(home / "file")
    made = back_up(load_settings(course, environ={}), tmp_path / "backup", quiet)
    assert made.by_students == 18, "three names have more than 1 MB together"


def nest(top: Path, levels: int) -> None:
    """Make nested directories with a file in the last, whose path may be too long to be written."""
    top.mkdir(parents=True)
    above = os.open(top, os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("d" * 250, dir_fd=above)
        below = os.open("d" * 250, os.O_DIRECTORY, dir_fd=above)
        os.close(above)
        above = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=above))
    os.close(above)


def deep_course(course: Path, levels: int, notebooks: str = "hub-notebooks") -> Path:
    (course / notebooks / "bob/A1").mkdir(parents=True)
    (course / notebooks / "bob/A1/A1.py").write_text("bob")
    nest(course / notebooks / "alice/A1", levels)
    return course


def backed_up(course: Path) -> Made:
    return back_up(load_settings(course, environ={}), course.with_name("backup"), quiet)


def test_a_path_that_no_restore_could_write_is_left_out(tmp_path: Path) -> None:
    made = backed_up(deep_course(tmp_path / "course", 20))
    assert made.by_students == len(made.left_out) == 1
    assert made.left_out[0].endswith(f"/{'d' * 250}: its path is too long")
    restored = restore(tmp_path / "backup", tmp_path / "again", {}, quiet)
    assert restored.whole.left_out == made.left_out
    assert (tmp_path / "again/hub-notebooks/bob/A1/A1.py").read_text() == "bob"


@pytest.mark.parametrize("notebooks", ["hub-notebooks", "work", "../volume"])
def test_a_backup_with_such_a_path_is_restored_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notebooks: str
) -> None:
    """Earlier backups have them: one student's would keep everybody's from being restored."""
    monkeypatch.setattr(backup, "_LONGEST", 1 << 20, raising=False)
    course, again = deep_course(tmp_path / "course", 20, notebooks), tmp_path / "again"
    (course / "hub-notebooks").mkdir(exist_ok=True)
    (course / notebooks / "alice/A1/link").symlink_to("short")
    (course / "mograder.toml").write_text(f"[hub]\nnotebooks_dir = '{notebooks}'\n")
    with monkeypatch.context() as patched:  # as on another disk, which takes longer ones
        patched.setattr(os, "readlink", lambda *_, **__: "s" * 5000)
        assert backed_up(course).left_out == ()
    apart = {"hub.notebooks_dir": tmp_path / "apart"} if "/" in notebooks else {}
    restored = restore(tmp_path / "backup", again, apart, quiet)
    told = restored.whole.left_out
    assert all(line.endswith(": too long a name for this disk") for line in told)
    assert {line.split(":")[0].rpartition("/")[2] for line in told} == {"d" * 250, "file", "link"}
    assert restored.whole.files == verify(tmp_path / "backup", quiet).files - 1
    work = apart.get("hub.notebooks_dir", again / notebooks)
    assert (work / "bob/A1/A1.py").read_text() == "bob"
    assert not os.path.lexists(work / "alice/A1/link")


def test_such_a_path_of_nobodys_work_keeps_a_backup_from_being_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "_LONGEST", 1 << 20, raising=False)
    nest(tmp_path / "course/source", 20)
    backed_up(tmp_path / "course")
    with pytest.raises(InvalidInput, match="has too long a name for this disk"):
        restore(tmp_path / "backup", tmp_path / "again", {}, quiet)
    assert not list((tmp_path / "again").iterdir())


def named(home: Path, count: int) -> None:
    home.mkdir(parents=True)
    for number in range(count):
        (home / f"{number:03}".ljust(100, "%")).touch()


def test_a_list_of_many_long_names_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6,500 names of 15 KB, percent-encoded, had made each backup a damaged one."""
    named(tmp_path / "course/hub-notebooks/alice/A1", 50)
    backed_up(tmp_path / "course")
    monkeypatch.setattr(archive, "_MOST_TEXT", 100)
    assert verify(tmp_path / "backup", quiet).files == 50


@pytest.mark.parametrize("unreadable", [False, True])
def test_a_students_names_are_in_the_list_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unreadable: bool
) -> None:
    """Else one student's take all memory, when a backup is made and when it is read back."""
    homes = tmp_path / "course/hub-notebooks"
    for place in ("alice/A1", "alice/A2", "bob/A1"):
        named(homes / place, 40 if "alice" in place else 10)
    monkeypatch.setattr(backup, "_NAMES_LISTED", 20_000, raising=False)
    monkeypatch.setattr(backup, "_LINES_LISTED", 1000, raising=False)
    if unreadable:
        monkeypatch.setattr(backup, "_LONGEST", 100, raising=False)
    made = backed_up(tmp_path / "course")
    assert made.by_students == len(made.left_out) < 20, "so that no alarm starts"
    assert verify(tmp_path / "backup", quiet).left_out == made.left_out
    ends = [line for line in made.left_out if line.endswith(" further names")]
    kept = 0 if unreadable else 61 + 10
    assert ends[0].startswith("course/hub-notebooks/alice: "), "A1 and A2 together"
    told = sum(int(line.split()[-3]) for line in ends) + len(made.left_out) - len(ends)
    assert (made.files, made.files + told) == (kept, 90), "each is in it, or counted"


def test_many_files_of_holes_are_read_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of 16 MiB counts 4 KiB: a workspace's limit allows 262,144 of them."""
    monkeypatch.setattr(backup, "_HOLES_BYTES", 10 << 20, raising=False)
    for place in ("hub-notebooks/alice/A1", "hub-notebooks/alice/A2", "source"):
        home = tmp_path / "course" / place
        home.mkdir(parents=True)
        for number in range(8):
            with (home / f"{number}").open("wb") as hole:
                hole.truncate(1 << 20)
        (home / "whole").write_bytes(os.urandom(2 << 20))
    made = backed_up(tmp_path / "course")
    said = "one of many files that are nearly empty"
    top = "course/hub-notebooks/alice/A2"
    assert made.left_out == tuple(f"{top}/{number}: {said}" for number in range(2, 8))
    assert made.by_students == 6, "so that no alarm starts"
    assert made.files == 3 * 9 - 6
