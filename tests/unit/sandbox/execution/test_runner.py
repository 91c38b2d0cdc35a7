"""sandbox.execution.runner: what is beside a notebook."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.errors import TooLarge
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.runner import FolderCopy, folder_digest


def test_empty_files_count_too_where_a_copy_has_a_most_number_of_files(tmp_path: Path) -> None:
    (tmp_path / "hw1").mkdir()
    for number in range(3):
        (tmp_path / "hw1" / f"{number}.csv").touch()
    FolderCopy(tmp_path / "enough", CopyBounds(files=3), notebooks=False).copy(tmp_path / "hw1")
    with pytest.raises(TooLarge, match="more than 2 files"):
        FolderCopy(tmp_path / "few", CopyBounds(files=2), notebooks=False).copy(tmp_path / "hw1")


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
