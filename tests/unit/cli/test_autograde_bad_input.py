"""Bad input to ``mograder autograde``: a line that says what and what to do, and others are judged.

A full disk and locked gradebooks, which take processes, are in ``tests/contract``.
"""

from __future__ import annotations

import os
import socket
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mograder.grading.results.grading_result import GradingState
from tests.support.autograde_desk import Desk, desk
from tests.support.command_line import cli
from tests.support.grading_course import RIGHT

__all__ = ["desk"]

OTHERS = {"alice": 15.0, "bob": 7.5, "carol": 0.0}
HERE = Path("submitted/hw1")


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
