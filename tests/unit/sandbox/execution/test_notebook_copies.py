"""sandbox.execution.notebook_copies: what is beside a notebook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.errors import TooLarge
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.notebook_copies import copy_folder, folder_digest, needed_files


def test_empty_files_count_too_where_a_copy_has_a_most_number_of_files(tmp_path: Path) -> None:
    (tmp_path / "hw1").mkdir()
    for number in range(3):
        (tmp_path / "hw1" / f"{number}.csv").touch()
    copy_folder(tmp_path / "hw1", tmp_path / "enough", CopyBounds(files=3), notebooks=False)
    with pytest.raises(TooLarge, match="more than 2 files"):
        copy_folder(tmp_path / "hw1", tmp_path / "few", CopyBounds(files=2), notebooks=False)


def test_a_directory_that_becomes_a_pipe_or_a_link_meanwhile_is_left_out(tmp_path: Path) -> None:
    """A session may be open. Opening a pipe waits for its writer, which no time limit would end."""
    folder, outside = tmp_path / "hw1", tmp_path / "outside"
    for path in (folder / "data", folder / "link", folder / "pipe", outside):
        path.mkdir(parents=True)
        (path / "1.csv").touch()
    (folder / "a.csv").touch()
    found = needed_files(folder)
    assert next(found)[:2] == (Path(), "a.csv")
    for name in ("link", "pipe"):
        (folder / name / "1.csv").unlink()
        (folder / name).rmdir()
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    assert [each[:2] for each in found] == [(Path("data"), "1.csv")]


def test_files_are_needed_six_levels_below_a_folder_and_not_in_one_that_is_a_link(
    tmp_path: Path,
) -> None:
    deep = tmp_path / "hw1" / Path(*"123456")
    (deep / "7").mkdir(parents=True)
    for path in (deep / "there", deep / "7" / "not"):
        path.touch()
    assert [name for _, name, _ in needed_files(tmp_path / "hw1")] == ["there"]
    (tmp_path / "link").symlink_to(tmp_path / "hw1")
    assert list(needed_files(tmp_path / "link")) == []
    with pytest.raises(FileNotFoundError):
        list(needed_files(tmp_path / "nowhere"))


def test_the_digest_of_a_folder_is_of_names_and_contents_of_what_a_run_gets(tmp_path: Path) -> None:
    folder = tmp_path / "hw1"
    (folder / "data").mkdir(parents=True)
    days = folder / "data" / "days.csv"
    days.write_text("1")
    first = folder_digest(folder)
    (folder / "other.py").write_text("app = marimo.App()")
    (folder / ".hidden").write_text("1")
    (folder / "link").symlink_to(days)
    os.mkfifo(folder / "pipe")
    os.utime(days, ns=(0, 0))
    assert folder_digest(folder) == first
    moved = days.rename(folder / "days.csv")
    assert folder_digest(folder) != first
    moved.rename(days)
    (folder / "helper.py").write_text("x = 1")
    assert folder_digest(folder) != first
