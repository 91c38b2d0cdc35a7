"""A merge put in place: the text, and the release's data files around it."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import Conflict
from mograder.core.names import ItemName, Username
from mograder.store.copies import merged_files
from mograder.store.copies.merged_files import FileChange, KnownFiles, Placing
from mograder.store.copies.workspaces import FileStatus, Workspaces
from mograder.store.releases.releases import Release, Releases
from tests.support.releases import publish

ALICE = Username.parse("alice")
A1 = ItemName.parse("A1")
NOW = datetime(2100, 5, 4, 10, 0, tzinfo=UTC)
TEXT = b"merged\n"
OLD = {"A1.py": "old", "data.csv": "1", "gone.csv": "2", "sub/deep.csv": "3"}
NEW = {"A1.py": "new", "data.csv": "4", "more.csv": "5", "sub/deep.csv": "3"}


def published(root: Path, files: dict[str, str]) -> Release:
    return publish(Releases(root / "hub-release"), {n: t.encode() for n, t in files.items()})


def digests(*releases: dict[str, str]) -> dict[str, frozenset[str]]:
    """The SHA-256 of the data files of releases."""
    names = {name for files in releases for name in files if name != "A1.py"}
    found = {name: [files[name] for files in releases if name in files] for name in names}
    return {
        name: frozenset(hashlib.sha256(text.encode()).hexdigest() for text in texts)
        for name, texts in found.items()
    }


KNOWN = KnownFiles(digests(OLD, NEW), digests(OLD))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A student's folder with a copy of the old release."""
    return Workspaces(tmp_path / "hub-notebooks").ensure(ALICE, published(tmp_path, OLD))


def merge(
    tmp_path: Path, known: KnownFiles = KNOWN, files: dict[str, str] = NEW
) -> dict[str, FileChange]:
    release = published(tmp_path, files)
    changes = Workspaces(tmp_path / "hub-notebooks").merge(ALICE, release, TEXT, known, NOW)
    return {each.name: each for each in changes}


def contents(folder: Path) -> dict[str, str]:
    """The data files of the folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {
        str(path.relative_to(folder)): path.read_text() for path in files if path.suffix != ".py"
    }


def test_files_that_the_student_left_alone_become_those_of_the_release(
    tmp_path: Path, folder: Path
) -> None:
    changes = merge(tmp_path)
    assert contents(folder) == {"data.csv": "4", "more.csv": "5", "sub/deep.csv": "3"}
    assert {name: each.how for name, each in changes.items()} == {
        "data.csv": Placing.REPLACED,
        "more.csv": Placing.ADDED,
        "gone.csv": Placing.REMOVED,
    }
    assert (folder / "A1.py").read_bytes() == TEXT
    assert [path.read_text() for path in folder.glob("A1.bak.*.py")] == ["old"]


def test_a_changed_file_stays_and_the_authors_comes_beside_it(tmp_path: Path, folder: Path) -> None:
    (folder / "data.csv").write_text("mine")
    (folder / "gone.csv").write_text("mine")
    changes = merge(tmp_path)
    assert contents(folder)["data.csv"] == contents(folder)["gone.csv"] == "mine"
    assert contents(folder)["data.new.csv"] == "4"
    assert (
        changes["data.csv"].sentence == "You changed data.csv; the new release's is data.new.csv."
    )
    assert changes["gone.csv"].how is Placing.STAYS


def test_a_changed_file_stays_alone_if_the_author_left_it_as_it_was(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "sub" / "deep.csv").write_text("mine")
    assert "sub/deep.csv" not in merge(tmp_path)
    assert "sub/deep.new.csv" not in contents(folder)


def test_a_file_beside_gives_way_to_the_next_release_but_not_the_students_own(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "data.csv").write_text("mine")
    merge(tmp_path)
    third = NEW | {"data.csv": "6"}
    merge(tmp_path, KnownFiles(digests(OLD, NEW, third), digests(NEW)), third)
    assert contents(folder)["data.new.csv"] == "6"
    (folder / "data.new.csv").write_text("mine, too")
    fourth = NEW | {"data.csv": "7"}
    merge(tmp_path, KnownFiles(digests(OLD, NEW, third, fourth), digests(third)), fourth)
    assert contents(folder)["data.new.csv"] == "mine, too"
    assert contents(folder)["data.new2.csv"] == "7"


def test_merging_again_changes_nothing(tmp_path: Path, folder: Path) -> None:
    (folder / "data.csv").write_text("mine")
    merge(tmp_path)
    before = contents(folder)
    changes = merge(tmp_path)
    assert contents(folder) == before
    assert {each.how for each in changes.values()} == {Placing.BESIDE}
    assert len(list(folder.glob("A1.bak.*.py"))) == 1


def test_of_all_files_of_a_folder_only_so_many_bytes_are_read(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(merged_files, "_MOST_READ", 3 << 20)
    monkeypatch.setattr(merged_files, "_CHUNK", 1 << 20)
    os_read = os.read

    def counted(fd: int, most: int) -> bytes:
        data = os_read(fd, most)
        read.append(len(data))
        return data

    numbers = ["", ".new", *(f".new{number}" for number in range(2, 10))]
    for name in [f"data{number}.csv" for number in numbers] + ["more.csv"]:
        with (folder / name).open("wb") as file:
            file.truncate(1 << 20)
    os.truncate(folder / "data.new.csv", 4 << 20)  # more than is left: not read at all
    monkeypatch.setattr("mograder.store.copies.merged_files.os.read", counted)
    changes = merge(tmp_path)
    assert sum(read) <= 3 << 20
    assert changes["data.csv"].how is Placing.FAILED, "there is no free name beside it"
    assert changes["more.csv"].beside == "more.new.csv"


def test_a_link_in_a_files_place_is_not_followed(tmp_path: Path, folder: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("1")
    (folder / "data.csv").unlink()
    (folder / "data.csv").symlink_to(secret)
    (folder / "more.csv").symlink_to(secret)
    merge(tmp_path)
    assert secret.read_text() == "1"
    assert (folder / "data.csv").is_symlink()
    assert (folder / "data.new.csv").read_text() == "4"


def test_a_name_that_cannot_be_written_is_told_and_keeps_nothing_else_back(
    tmp_path: Path, folder: Path
) -> None:
    (folder / "sub" / "deep.csv").unlink()
    (folder / "sub").rmdir()
    (folder / "sub").write_text("a file in the place of a folder")
    changes = merge(tmp_path, files=NEW | {"sub/deep.csv": "6"})
    assert changes["sub/deep.csv"].how is Placing.FAILED
    assert contents(folder)["data.csv"] == "4"
    assert (folder / "A1.py").read_bytes() == TEXT


def test_a_merged_copy_is_not_older_than_the_release(tmp_path: Path, folder: Path) -> None:
    spaces = Workspaces(tmp_path / "hub-notebooks")
    assert spaces.file_status(ALICE, A1) is FileStatus.UPLOADED
    merge(tmp_path)
    release = Releases(tmp_path / "hub-release").get(A1)
    assert release is not None
    assert not spaces.updated(ALICE, release)
    assert spaces.file_status(ALICE, A1) is FileStatus.UPLOADED, "it was not edited"
    (folder / "A1.py").write_text("edited after the merge")
    future = NOW.timestamp() + 60
    os.utime(folder / "A1.py", (future, future))
    assert spaces.file_status(ALICE, A1) is FileStatus.MODIFIED


def test_a_release_that_was_replaced_meanwhile_is_not_put_in_place(
    tmp_path: Path, folder: Path
) -> None:
    release = published(tmp_path, NEW)
    published(tmp_path, OLD)
    with pytest.raises(Conflict, match="published again"):
        Workspaces(tmp_path / "hub-notebooks").merge(ALICE, release, TEXT, KNOWN, NOW)
    assert (folder / "A1.py").read_text() == "old"
