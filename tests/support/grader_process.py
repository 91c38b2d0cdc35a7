"""``mograder grader`` and ``mograder grader-asgi`` as processes of their own."""

from __future__ import annotations

from pathlib import Path

from tests.support.hub import MOGRADER, outside
from tests.support.process import OpenedByLink


class GraderProcess(OpenedByLink):
    """A grader of a course; use it as a context manager."""

    def __init__(self, course: Path, log: Path, command: str = "grader", *options: str) -> None:
        super().__init__(f"mograder {command}", log)
        self.course = course
        self._command = [str(MOGRADER), command, str(course), "-p", str(self.port), *options]

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch(self._command, outside(), self.course)
        self.wait_until(self.healthy, 60)
