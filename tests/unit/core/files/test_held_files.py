"""Files that another program holds open on Windows."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mograder.core.errors import Conflict
from mograder.core.files import windows_files
from mograder.core.files.disk import explained_when_full
from mograder.core.files.windows_files import FileHeld, when_free


class Program:
    """Another program, which holds a file for a number of calls."""

    def __init__(self, calls: int, winerror: int = 32) -> None:
        self.left = calls
        self.winerror = winerror
        self.made = 0

    def __call__(self) -> None:
        self.made += 1
        if self.made <= self.left:
            error = PermissionError(errno.EACCES, "The process cannot access the file", "lab.py")
            error.winerror = self.winerror  # type: ignore[attr-defined,unused-ignore]
            raise error


@pytest.fixture(autouse=True)
def windows(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pretend Windows, and a clock that only pauses advance; return the pauses."""
    pauses: list[float] = []
    monkeypatch.setattr(windows_files, "SYSTEM", "windows")
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(pauses))
    return pauses


@pytest.mark.parametrize("winerror", [5, 32, 33])
def test_a_file_that_is_held_for_a_moment_is_waited_for(
    windows: list[float], winerror: int
) -> None:
    program = Program(3, winerror)
    when_free(program, "lab.py")
    assert program.made == 4
    assert windows == sorted(windows)


def test_a_file_that_stays_held_is_told_after_some_seconds(windows: list[float]) -> None:
    with pytest.raises(FileHeld, match="another program has it open") as failure:
        when_free(Program(10_000), "course/lab.py")
    assert failure.value.filename == "course/lab.py"
    assert 4 <= sum(windows) < 5


def test_the_message_names_the_file_and_the_remedy() -> None:
    with pytest.raises(Conflict) as failure, explained_when_full():
        when_free(Program(10_000), "course/lab.py", seconds=0)
    assert "course/lab.py is open in another program" in failure.value.message
    assert "Close it there" in failure.value.hint


@pytest.mark.usefixtures("windows")
def test_a_read_only_file_is_made_writable(tmp_path: Path) -> None:
    path = tmp_path / "lab.py"
    path.write_text("x")
    path.chmod(0o444)
    when_free(Program(1, 5), str(path))
    assert path.stat().st_mode & 0o200


def test_other_failures_and_other_systems_do_not_wait(
    windows: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PermissionError):
        when_free(Program(1, 1314), "lab.py")
    monkeypatch.setattr(windows_files, "SYSTEM", "macos")
    with pytest.raises(PermissionError):
        when_free(Program(1), "lab.py")
    assert windows == []
