"""The submissions in a directory: both layouts, and what cannot be a submission."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.store.submissions.submitted_files import SubmittedFile, submitted_files

NINE = datetime(2026, 1, 2, 9, 0, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "hw1"
    path.mkdir()
    return path


def by_student(folder: Path) -> dict[str, SubmittedFile]:
    found = submitted_files(folder)
    assert len({each.student for each in found}) == len(found)
    return {each.student: each for each in found}


def problems(folder: Path, recorded: Collection[str] = ()) -> dict[str, str]:
    found = submitted_files(folder, recorded)
    return {each.path.name: each.problem for each in found if each.problem}


def test_both_layouts_have_one_submission_for_each_student(folder: Path) -> None:
    for name in ("alice_20260102T080000.py", "alice_20260102T090000.py", "bob.py"):
        (folder / name).write_text(name)
    (folder / "alice.py").symlink_to("alice_20260102T090000.py")
    (folder / ".fetch_metadata.json").write_text("{}")
    (folder / "bob.files").mkdir()
    found = by_student(folder)
    assert set(found) == {"alice", "bob"}
    assert found["alice"].path.read_text() == "alice_20260102T090000.py"
    assert (found["alice"].received, found["bob"].received) == (NINE, None)


def test_a_student_called_like_the_assignment_hides_nobody(folder: Path) -> None:
    for name in ("hw1.py", "alice.py"):
        (folder / name).write_text("x")
    assert set(by_student(folder)) == {"alice", "hw1"}


def test_without_its_link_the_newest_submission_counts(folder: Path) -> None:
    names = ("alice_20260102T080000.py", "alice_20260102T090000.py", "alice_20260102T090000-2.py")
    for name in names:
        (folder / name).write_text(name)
    assert by_student(folder)["alice"].path.name == "alice_20260102T090000-2.py"


def test_an_earlier_submission_can_be_named(folder: Path) -> None:
    path = folder / "alice_20260102T090000.py"
    path.write_text("x")
    assert submitted_files(folder, named=[path]) == (SubmittedFile("alice", path, NINE),)


def test_of_several_named_files_of_a_student_the_one_that_counts_is_read(folder: Path) -> None:
    """A shell's ``*.py`` names the link and each submission, which were all graded."""
    names = ("alice_20260102T080000.py", "alice_20260102T090000.py", "alice_20260102T090000-2.py")
    for name in (*names, "bob.py"):
        (folder / name).write_text(name)
    every = sorted(folder.glob("*.py"))
    found = submitted_files(folder, named=every)
    assert [each.path.name for each in found] == ["alice_20260102T090000-2.py", "bob.py"]
    (folder / "alice.py").symlink_to(names[1])
    found = submitted_files(folder, named=[*every, folder / "alice.py"])
    assert [each.path.name for each in found] == [names[1], "bob.py"]


def test_a_link_to_anything_else_is_not_opened(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "bob_20260102T090000.py").write_text("bob's")
    for name, target in {
        "alice.py": "../secret",
        "carol.py": str(tmp_path / "secret"),
        "dave.py": "bob_20260102T090000.py",
        "eve.py": "../hw1/eve_20260102T090000.py",
        "frank.py": "frank_20260102T090000.py",
    }.items():
        (folder / name).symlink_to(target)
    told = problems(folder)
    assert sorted(told) == ["alice.py", "carol.py", "dave.py", "eve.py", "frank_20260102T090000.py"]
    why = "alice.py is a link, and not to a submission of its student."
    assert told["alice.py"] == f"{why} Put the notebook itself in its place."
    assert "cannot be read" in told["frank_20260102T090000.py"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice.py", "ALICE.py"),
        (unicodedata.normalize("NFC", "jörg.py"), unicodedata.normalize("NFD", "jörg.py")),
        ("Jan Novak.py", "Jan  Novak.py"),
        ("kate.py", "\N{KELVIN SIGN}ate.py"),
        ("straße.py", "strasse.py"),
        ("alice.py", "Alice_20260102T090000.py"),
    ],
)
def test_files_whose_names_look_the_same_are_both_named_and_none_replaces_the_other(
    folder: Path, one: str, other: str
) -> None:
    other_of = other.replace("_20260102T090000", "")
    for name in (one, other, "bob.py"):
        (folder / name).write_text("x")
    told = problems(folder)
    assert set(told) <= {one, other}
    if other_of == other:
        assert set(told) == {one, other}
    for problem in told.values():
        assert ascii(one) in problem
        assert ascii(other_of) in problem
        assert "the student's right name" in problem


def test_a_file_that_is_named_is_told_of_the_one_that_looks_the_same(folder: Path) -> None:
    for name in ("aaron.py", "AARON.py"):
        (folder / name).write_text("x")
    (found,) = submitted_files(folder, named=[folder / "AARON.py"])
    assert "'AARON.py', 'aaron.py' look like files of one student" in found.problem
    (found,) = submitted_files(folder, {"AARON.py"}, named=[folder / "AARON.py"])
    assert found.problem == ""


def test_of_names_that_look_the_same_the_recorded_one_keeps_its_submission(folder: Path) -> None:
    (folder / "aaron_20260102T090000.py").write_text("x")
    (folder / "aaron.py").symlink_to("aaron_20260102T090000.py")
    (folder / "AARON.py").write_text("x")
    assert problems(folder) == {
        "AARON.py": "'AARON.py' is not graded, since it looks like 'aaron.py', whose submission is "
        "recorded. Remove it, or give it the student's right name."
    }
    assert set(problems(folder, {"AARON.py"})) == {"aaron_20260102T090000.py"}
    both = {"AARON.py", "aaron_20260102T090000.py"}
    assert set(problems(folder, both)) == both


@pytest.mark.parametrize("name", ["-x.py", "a..b.py", "a\nb.py", "a;rm.py", b"\xff.py", "x" * 120])
def test_names_that_could_mislead_are_refused(folder: Path, name: str | bytes) -> None:
    text = os.fsdecode(name) if isinstance(name, bytes) else name
    text = text if text.endswith(".py") else f"{text}.py"
    (folder / text).write_text("x")
    (found,) = submitted_files(folder)
    assert "no name for a student's files" in found.problem
    assert (found.student + found.problem).isprintable()


def test_a_directory_that_cannot_be_read_is_an_error(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        submitted_files(folder / "missing")


def test_names_with_spaces_and_accents_are_students(folder: Path) -> None:
    for name in ("Jörg Müller.py", "Participant-12.py", "o'neill@example.org.py"):
        (folder / name).write_text("x")
    assert problems(folder) == {}
    assert set(by_student(folder)) == {"Jörg Müller", "Participant-12", "o'neill@example.org"}


def test_what_is_no_regular_file_is_told(folder: Path) -> None:
    (folder / "alice.py").mkdir()
    os.mkfifo(folder / "bob.py")
    (folder / "carol.py").write_text("x")
    assert problems(folder) == {
        "alice.py": "alice.py is no regular file. Put the notebook itself in its place.",
        "bob.py": "bob.py is no regular file. Put the notebook itself in its place.",
    }
