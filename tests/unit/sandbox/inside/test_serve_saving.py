"""What marimo's save leaves on the disk, with our write in the place of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from marimo._session.notebook.storage import FilesystemStorage

from mograder.sandbox.inside import serve


@pytest.fixture(autouse=True)
def _marimo(monkeypatch: pytest.MonkeyPatch) -> None:
    """marimo's class as it is in a session, and as it was once the test has ended."""
    monkeypatch.setattr(FilesystemStorage, "write", FilesystemStorage.write)
    serve._save_whole()


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "A1.py"
    path.write_text("# old")
    return path


def test_the_name_of_a_saved_text_is_on_the_disk_too(
    notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the text from before could be back, although the editor said "saved"."""
    synced: list[tuple[str, str]] = []

    def sync(fd: int) -> None:
        synced.append((Path(f"/proc/self/fd/{fd}").readlink().name, notebook.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    FilesystemStorage().write(notebook, "# new")
    assert synced == [(".A1.py.saving", "# old"), (notebook.parent.name, "# new")]


def test_a_directory_that_cannot_be_synced_stops_no_save(
    notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows syncs none, and neither do some network file systems."""
    real = os.fsync

    def sync(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").is_dir():
            raise OSError(22, "Invalid argument")
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    FilesystemStorage().write(notebook, "# new")
    assert notebook.read_text() == "# new"
