"""Fetching an assignment; no edits are lost (B149)."""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.portable_names import server_name
from mograder.exchange.student.course import StudentCourse
from mograder.exchange.student.fetch import Change, FetchedFile, fetch
from mograder.store.copies.student_folder import StudentFolder
from tests.support.clock import ManualClock
from tests.support.fake_course import START, FakeCourse

NOTEBOOK = b"import marimo\n"


def zip_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return buffer.getvalue()


@pytest.fixture
def course() -> FakeCourse:
    return FakeCourse({"hw1": {"hw1.py": NOTEBOOK, "data.csv": b"1,2\n"}})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Student:
    """A student who fetches into a directory."""

    def __init__(self, course: FakeCourse, out: Path, clock: ManualClock) -> None:
        self.course, self.out, self.clock = course, out, clock

    def fetch(self, name: str = "hw1") -> dict[str, FetchedFile]:
        found = self.course.assignment(name)
        files = fetch(self.course, found, self.out, print, self.clock.now())
        self.clock.advance(60)
        return {file.name: file for file in files}

    def files(self) -> dict[str, bytes]:
        """Return the files there, without our own directory."""
        return {
            path.relative_to(self.out).as_posix(): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file() and ".mograder" not in path.parts
        }


@pytest.fixture
def student(course: FakeCourse, tmp_path: Path, clock: ManualClock) -> Student:
    return Student(course, tmp_path / "hw1", clock)


def test_b149_zips_are_unpacked(student: Student) -> None:
    archive = zip_of(hw1_py=NOTEBOOK, public__a_csv=b"3")
    student.course.files["hw1"] = {"hw1.zip": archive}
    fetched = student.fetch()
    assert [(name, file.archive) for name, file in fetched.items()] == [
        ("hw1.zip", ""),
        ("hw1.py", "hw1.zip"),
        ("public/a.csv", "hw1.zip"),
    ]
    assert student.files() == {"hw1.zip": archive, "hw1.py": NOTEBOOK, "public/a.csv": b"3"}
    assert (student.out / ".mograder" / "release" / "hw1" / "hw1.py").read_bytes() == NOTEBOOK


def test_a_notebook_lies_in_the_assignments_own_folder_though_a_folder_was_packed(
    student: Student, tmp_path: Path
) -> None:
    """The dashboard found none. Commands fetch into a folder that several assignments may share."""
    notebook = b"app = marimo.App()\n"
    zips = {
        "hw1.zip": zip_of(hw1__hw1_py=notebook, hw1__data_csv=b"1"),
        "more.zip": zip_of(data__x_csv=b"2"),
        "utils.zip": zip_of(utils__sums_py=b"def total(): ...\n"),
    }
    student.course.files["hw1"] = zips
    mine = StudentCourse(StudentFolder(student.out.parent), student.clock)
    mine.sync(student.course, "http://server.test", print)
    mine.fetch(student.course, "hw1", print)
    others = {"data/x.csv": b"2", "utils/sums.py": b"def total(): ...\n"}
    assert student.files() == {**zips, **others, "hw1.py": notebook, "data.csv": b"1"}
    assert (student.out / ".mograder" / "release" / "hw1" / "hw1.py").read_bytes() == notebook
    shared = Student(student.course, tmp_path / "shared", student.clock)
    shared.fetch()
    assert shared.files() == {**zips, **others, "hw1/hw1.py": notebook, "hw1/data.csv": b"1"}
    student.course.files["hw1"]["work.py"] = notebook
    found = student.course.assignment("hw1")
    files = fetch(student.course, found, tmp_path / "b", print, START, own_folder=True)
    assert {"work.py", "hw1/hw1.py"} <= {file.name for file in files}, "examples beside a notebook"


def test_what_the_server_also_offers_by_itself_wins_over_a_zip(student: Student) -> None:
    archive = zip_of(hw1_py=b"# stale", more_txt=b"m")
    student.course.files["hw1"]["hw1.zip"] = archive
    student.fetch()
    assert student.files() == {
        "hw1.py": NOTEBOOK,
        "data.csv": b"1,2\n",
        "hw1.zip": archive,
        "more.txt": b"m",
    }


def test_b149_two_edits_within_a_second_are_both_kept(student: Student) -> None:
    student.clock.advance(0)
    student.fetch()
    kept = []
    for text in ("# one", "# two"):
        (student.out / "hw1.py").write_text(text)
        now = student.clock.now()
        found = student.course.assignment("hw1")
        fetched = fetch(student.course, found, student.out, print, now)
        kept += [file.kept for file in fetched if file.kept]
    assert [path.read_text() for path in kept] == ["# one", "# two"]


def test_an_unedited_file_is_renewed_without_a_copy(student: Student) -> None:
    student.fetch()
    student.course.files["hw1"] |= {"hw1.py": b"# v2", "data.csv": b"9"}
    fetched = student.fetch()
    assert {(file.change, file.kept) for file in fetched.values()} == {(Change.UPDATED, None)}
    assert student.files() == {"hw1.py": b"# v2", "data.csv": b"9"}


def test_of_an_assignment_that_was_renamed_the_release_that_was_fetched_last_counts(
    student: Student,
) -> None:
    """Validate ran the checks of the one whose title was first in the alphabet."""
    folder = StudentFolder(student.out.parent)
    for title, text in ("hw1", b"# v1"), ("hw1 (corrected)", b"# v2"), ("hw1", b"# v3"):
        for earlier in student.out.glob(".mograder/release/*/hw1.py"):
            os.utime(earlier, (0, 0))
        student.course.files["hw1"] = {"hw1.py": text}
        named = replace(student.course.assignment("hw1"), name=title)
        fetch(student.course, named, student.out, print, student.clock.now())
        notebook = folder.notebook("hw1")
        assert notebook is not None
        released = folder.released(notebook)
        assert released is not None
        assert released.read_bytes() == text


def test_a_release_that_0_3_16_fetched_counts_as_unedited_too(student: Student) -> None:
    cached = student.out / ".mograder" / "release" / "hw1" / "hw1.py"
    cached.parent.mkdir(parents=True)
    for path in (cached, student.out / "hw1.py"):
        path.write_bytes(b"# v1")
    assert student.fetch()["hw1.py"].kept is None
    assert (student.out / "hw1.py").read_bytes() == NOTEBOOK


def test_fetching_again_changes_nothing(student: Student) -> None:
    student.fetch()
    before = (student.out / "hw1.py").stat()
    assert {file.change for file in student.fetch().values()} == {Change.UNCHANGED}
    after = (student.out / "hw1.py").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_link_is_replaced_and_what_it_leads_to_is_not(student: Student, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    student.out.mkdir()
    (student.out / "hw1.py").symlink_to(outside)
    fetched = student.fetch()["hw1.py"]
    assert outside.read_text() == "untouched"
    assert not (student.out / "hw1.py").is_symlink()
    assert fetched.kept is not None
    assert fetched.kept.readlink() == outside


def test_nothing_changes_before_everything_has_arrived(student: Student) -> None:
    student.fetch()
    (student.out / "hw1.py").write_text("# my work")
    student.course.files["hw1"] |= {"data.csv": b"new", "hw1.py": b"# v2"}
    student.course.broken.add("data.csv")
    with pytest.raises(NotFound):
        student.fetch()
    assert student.files() == {"hw1.py": b"# my work", "data.csv": b"1,2\n"}


def test_what_arrived_before_a_failure_is_not_fetched_again(student: Student) -> None:
    student.course.broken.add("data.csv")
    with pytest.raises(NotFound):
        student.fetch()
    student.course.broken.clear()
    student.fetch()
    assert student.course.downloads == ["hw1.py", "data.csv", "data.csv"]
    assert not list((student.out / ".mograder" / "fetching").iterdir())


@pytest.mark.parametrize("name", ["../evil.py", "/evil.py", "a/../../evil.py", "x\0.py"])
def test_a_file_that_is_not_safe_to_write_stops_everything(student: Student, name: str) -> None:
    student.course.files["hw1"][name] = b"evil"
    with pytest.raises(InvalidInput, match="not safe"):
        student.fetch()
    assert not student.out.exists()


def test_names_that_not_every_system_takes_are_written_under_others(student: Student) -> None:
    """What they are called locally leads back to the server's name, for the submission."""
    odd = {"C:x.csv": b"1", "x\\y.csv": b"2", "A.csv": b"3", "a.csv": b"4", "100%25.csv": b"5"}
    student.course.files["hw1"] |= odd
    assert {file.change for file in student.fetch().values()} == {Change.NEW}
    assert student.files() == {
        "hw1.py": NOTEBOOK,
        "data.csv": b"1,2\n",
        "C%3Ax.csv": b"1",
        "x%5Cy.csv": b"2",
        "A.csv": b"3",
        "%61.csv": b"4",
        "100%2525.csv": b"5",
    }
    assert {server_name(name) for name in student.files()} >= set(odd)
    assert {file.change for file in student.fetch().values()} == {Change.UNCHANGED}


def test_of_a_listed_file_and_one_in_a_zip_that_differ_in_case_the_listed_one_is_taken(
    student: Student,
) -> None:
    student.course.files["hw1"]["more.zip"] = zip_of(HW1_py=b"other", b_csv=b"1")
    student.fetch()
    assert set(student.files()) == {"hw1.py", "data.csv", "more.zip", "b.csv"}


def test_hidden_files_of_a_server_are_not_taken(student: Student) -> None:
    student.course.files["hw1"] |= {".env": b"", ".mograder/release/hw1/hw1.py": b"evil"}
    student.fetch()
    assert set(student.files()) == {"hw1.py", "data.csv"}
    assert ".env" not in student.course.downloads


def test_a_directory_where_a_file_belongs_is_kept_too(student: Student) -> None:
    (student.out / "hw1.py").mkdir(parents=True)
    (student.out / "hw1.py" / "note").write_text("mine")
    fetched = student.fetch()["hw1.py"]
    assert fetched.kept is not None
    assert (fetched.kept / "note").read_text() == "mine"


def test_an_assignment_without_files_says_so(student: Student) -> None:
    student.course.files["hw1"] = {}
    with pytest.raises(NotFound, match="no files"):
        student.fetch()


def test_a_damaged_zip_changes_nothing(student: Student) -> None:
    student.course.files["hw1"]["more.zip"] = b"PK, but no zip"
    with pytest.raises(MograderError, match=r"more.zip cannot be unpacked"):
        student.fetch()
    assert student.files() == {}
