"""``mograder autograde`` in a small course, with judges that decide by a submission's text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mograder.cli.autograde import command
from mograder.core.settings import Environ, LoadedSettings
from mograder.grading.results.grading_result import GradingResult
from mograder.grading.runs.grading_tools import GradingTools
from tests.support.graded_results import newest_results
from tests.support.grading_course import HALF, RIGHT, WRONG, TextJudges, make_course, tools_with


@dataclass
class Desk:
    """A course, which is the working directory, and its judges."""

    root: Path
    judges: TextJudges = field(default_factory=TextJudges)
    opened: list[int] = field(default_factory=list)
    refusal: str = ""

    def results(self, assignment: str = "hw1") -> dict[str, GradingResult]:
        """Return the results that were recorded, by student."""
        return newest_results(self.root / "gradebook.db", assignment)

    def submit(self, name: str, text: str = HALF, assignment: str = "hw1") -> Path:
        """Write a submission."""
        path = self.root / "submitted" / assignment / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def desk(here: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The course, with three submissions to ``hw1``, as the working directory."""
    desk = Desk(make_course(here, {"alice": RIGHT, "bob": HALF, "carol": WRONG}))

    @asynccontextmanager
    async def opening(
        loaded: LoadedSettings, environ: Environ, *, jobs: int, sandbox: bool
    ) -> AsyncIterator[GradingTools]:
        desk.opened.append(jobs)
        desk.judges.gate.set()
        yield tools_with(desk.judges, here, refusal=desk.refusal)

    monkeypatch.setattr(command, "open_grading_tools", opening)
    return desk
