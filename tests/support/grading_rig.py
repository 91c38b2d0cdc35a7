"""Grades submissions in real sandboxes, with the tools that commands open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mograder.core.settings import LoadedSettings, load_settings, read_environ
from mograder.grading.submissions.grade_submission import (
    GradedNotebook,
    SubmittedNotebook,
    grade_submission,
)
from mograder.grading.submissions.graded_assignment import (
    AssignmentFiles,
    GradedAssignment,
    prepare_assignment,
)
from mograder.grading.submissions.grading_result import GradingState
from mograder.grading.submissions.grading_tools import GradingTools, open_grading_tools
from mograder.sandbox.protocol import Deadlines
from tests.support.fake_judges import written

QUICK = Deadlines(call=5.0, check=10.0, submission=60.0, notebook=20.0)


@dataclass
class GradingRig:
    tools: GradingTools
    course: Path

    async def prepare(
        self, source: str | AssignmentFiles, *, quick: bool = False
    ) -> GradedAssignment:
        """Prepare an assignment of a source's text, with the release that belongs to it."""
        files = written(self.course, source) if isinstance(source, str) else source
        made = await prepare_assignment(files, self.tools, lambda _: None)
        return replace(made, deadlines=QUICK) if quick else made

    async def grade(
        self, assignment: GradedAssignment, text: str | bytes, student: str = "alice"
    ) -> GradedNotebook:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        submitted = SubmittedNotebook(student, Path(f"{student}.py"), data)
        return await grade_submission(assignment, submitted, self.tools)


@asynccontextmanager
async def open_grading_rig(
    course: Path, runtime: Path, uv_cache: Path, environments: Path, *, sandbox: bool = True
) -> AsyncIterator[GradingRig]:
    """A rig with a supervisor of its own, gone afterwards."""
    loaded = _loaded(course, runtime, uv_cache, environments)
    async with open_grading_tools(loaded, read_environ(), jobs=2, sandbox=sandbox) as tools:
        yield GradingRig(tools, course)


@pytest.fixture
async def rig(
    runtime: Path, tmp_path: Path, uv_cache: Path, run_directory: Path
) -> AsyncIterator[GradingRig]:
    """A rig for one test; environments are built once in a run."""
    place = run_directory / "environments"
    async with open_grading_rig(tmp_path / "course", runtime, uv_cache, place) as rig:
        yield rig


def _loaded(course: Path, runtime: Path, uv_cache: Path, environments: Path) -> LoadedSettings:
    course.mkdir(parents=True, exist_ok=True)
    (course / "mograder.toml").touch()
    overrides = {
        "hub.runtime_dir": str(runtime),
        "hub.uv_cache_dir": str(uv_cache),
        "hub.environments_dir": str(environments),
        "security.use_bubblewrap": True,
    }
    return load_settings(course, overrides=overrides, environ={})


def marks(found: GradedNotebook) -> dict[str, tuple[float | None, GradingState]]:
    return {each.key: (each.earned, each.state) for each in found.result.questions}
