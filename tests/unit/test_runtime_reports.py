"""Reports of checks to the hub: told where it listens, and never a burden to the student."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mograder.runtime import Grader, check
from mograder.sandbox.protocol import LONGEST_REPORT
from mograder.sessions.check_reports import LONGEST_LABEL, CheckReport, report_of


class Pipe:
    """A hub's pipe: its read end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def lines(self) -> list[str]:
        """What was written meanwhile, by line."""
        with suppress(BlockingIOError):
            return os.read(self._descriptor, 1 << 16).decode().splitlines()
        return []


@pytest.fixture
def pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    """A hub that listens."""
    path = tmp_path / "checks"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setenv("MOGRADER_CHECKS_PATH", str(path))
    monkeypatch.delenv("MOGRADER_SIDECAR_PATH", raising=False)
    yield Pipe(descriptor)
    os.close(descriptor)


def test_both_kinds_of_check_report_what_the_hub_accepts(pipe: Pipe) -> None:
    check("Q1: the mean", [(True, "a"), (False, "b", 3)])
    Grader({"Q2": 5}).check("Q2: é", [(True, "a")])
    check("Q3", [])
    assert [report_of(line) for line in pipe.lines()] == [
        CheckReport("Q1: the mean", "partial", 1, 4),
        CheckReport("Q2: é", "success", 1, 1),
        CheckReport("Q3", "warn", 0, 0),
    ]


@pytest.mark.parametrize("letter", ["x", "\x01", "𝔛", '"', "\n"])
def test_a_very_long_label_is_cut_to_what_the_hub_accepts(pipe: Pipe, letter: str) -> None:
    check("Q1 " + letter * 5000 + ".", [(True, "a")])
    (line,) = pipe.lines()
    assert len(line.encode()) <= LONGEST_REPORT
    assert len(json.loads(line)["label"]) == LONGEST_LABEL
    assert report_of(line) is not None


def test_the_messages_of_the_conditions_are_not_told(pipe: Pipe) -> None:
    check("Q1", [(False, "the mean should be 4"), (lambda: 1 / 0, "dividing")])
    (line,) = pipe.lines()
    assert json.loads(line) == {"label": "Q1", "status": "danger", "earned": 0, "total": 2}


def test_a_pipe_that_is_full_costs_nothing(pipe: Pipe) -> None:
    for _ in range(2000):
        box = check("Q1", [(True, "fine")])
    assert "all checks passed" in box.text
    assert 0 < len(pipe.lines()) < 2000


@pytest.mark.parametrize("place", ["missing", "directory", "no reader", "nul", "too long"])
def test_a_hub_that_does_not_listen_costs_nothing(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "fifo")
    paths: dict[str, Any] = {
        "missing": tmp_path / "missing" / "checks",
        "directory": tmp_path,
        "no reader": tmp_path / "fifo",
        "nul": "nul",
        "too long": "x" * 5000,
    }
    monkeypatch.setenv("MOGRADER_CHECKS_PATH", str(paths[place]))
    if place == "nul":  # as a notebook could set it
        monkeypatch.setattr(os, "environ", {**os.environ, "MOGRADER_CHECKS_PATH": "a\0b"})
    assert "all checks passed" in check("Q1", [(True, "fine")]).text


def test_without_a_hub_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOGRADER_CHECKS_PATH", raising=False)
    monkeypatch.delenv("MOGRADER_SIDECAR_PATH", raising=False)
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("a file was opened"))
    check("Q1", [(True, "fine")])


def test_a_plain_file_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    monkeypatch.setenv("MOGRADER_CHECKS_PATH", str(path))
    check("Q1", [(True, "fine")])
    assert path.read_text() == "precious"
