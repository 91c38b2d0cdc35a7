"""The parts of the hub that grade: the queue of jobs, the sources, and the marks in the gradebook.

Submissions are graded on the machines that run the sessions, in the hub's environments.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.clock import Clock
from mograder.core.settings import LoadedSettings
from mograder.core.tasks.single_flight import Progress
from mograder.grading.batch.grading_jobs import Batch, GradingJobs
from mograder.grading.late.course_late import CourseLate
from mograder.grading.results.grading_result import grading_key
from mograder.grading.runs.grading_tools import GradingTools, contracts_of
from mograder.grading.runs.sandbox_slots import SandboxSlots
from mograder.notebook.pep723 import read_script
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.judge_runner import JudgeRunner
from mograder.sandbox.execution.runner import Executor
from mograder.sandbox.machines import Machines
from mograder.sessions.manager import SessionManager
from mograder.store.course.sources import Sources, open_sources
from mograder.store.filesystem.files import remove_tree
from mograder.store.gradebook.gradebook import existing_gradebook
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.store.hub.grading_jobs import KeptJobs
from mograder.store.hub.hub_state import HubState
from mograder.store.releases.releases import Releases
from mograder.web.hub.core.background_judges import BackgroundExecutor, BackgroundJudges
from mograder.web.hub.core.hub_batch import HubBatch

_PLACE = "grading"
_BOUNDS = CopyBounds(files=10_000, mb=1000)
"""The same limits as for the files of a release beside its notebooks."""

_SLOTS_OF_ONE = 4
"""Sandboxes of one submission at a time: a worker and a judge, and as many that are ending."""


@dataclass(frozen=True, slots=True)
class HubGrading:
    """The parts of grading that handlers use.

    ``grades`` returns the marks of an item; it reads the gradebook, and may raise the gradebook's
    errors. ``key`` is that of the signatures of results.
    """

    jobs: GradingJobs
    sources: Sources
    grades: Callable[[str], Sequence[StudentGrade]]
    key: bytes


@dataclass(frozen=True, slots=True)
class Hands:
    """The services of the hub that grading works with; ``runs`` is a directory for copies."""

    machines: Machines
    environments: Environments
    pool: SessionManager
    releases: Releases
    state: HubState
    clock: Clock
    runs: Path


def open_grading(loaded: LoadedSettings, hands: Hands) -> HubGrading:
    """Return the parts of grading on a hub; blocks.

    Raises:
        InvalidInput: The secret of the course's signatures cannot be read or written.
    """
    sources = open_sources(loaded, hands.clock)
    jobs = max(1, min(loaded.settings.defaults.jobs, len(os.sched_getaffinity(0))))
    tools = _tools(loaded, hands, jobs)
    batch = HubBatch(loaded, tools, hands.releases, sources, jobs)
    return make_grading(loaded, hands.state, hands.clock, batch, sources)


def make_grading(
    loaded: LoadedSettings, state: HubState, clock: Clock, batch: Batch, sources: Sources
) -> HubGrading:
    """Return the parts of grading; the app opens the queue. Blocks.

    Raises: as :func:`open_grading`.
    """
    return HubGrading(
        jobs=GradingJobs(KeptJobs(state.engine), batch, clock),
        sources=sources,
        grades=lambda item: _grades(loaded, item),
        key=grading_key(loaded),
    )


def _tools(loaded: LoadedSettings, hands: Hands, jobs: int) -> GradingTools:
    place = hands.runs / _PLACE
    remove_tree(place)  # left by a hub that was killed
    memory = hands.pool.admission.run
    judges = JudgeRunner(hands.machines, place, remove_tree, at_once=jobs, bounds=_BOUNDS)
    runs = Executor(hands.machines, place / "runs", remove_tree, at_once=jobs, bounds=_BOUNDS)

    async def environment(text: str, progress: Progress) -> Path:
        built = await hands.environments.prepare(read_script(text), progress)
        hands.machines.warm_later(built.directory)
        return built.directory

    return GradingTools(
        judges=BackgroundJudges(judges, memory),
        executor=BackgroundExecutor(runs, memory),
        environment=environment,
        settings=loaded.settings,
        contracts=contracts_of(loaded),
        key=grading_key(loaded),
        slots=SandboxSlots(_slots(hands.state, jobs * _SLOTS_OF_ONE)),
        now=hands.clock.now,
    )


def _slots(state: HubState, count: int) -> list[int]:
    """Return numbers for sandboxes that no student has: people's names begin with no underscore."""
    return [state.slot_of(f"__grading_{number}__") for number in range(count)]


def _grades(loaded: LoadedSettings, item: str) -> tuple[StudentGrade, ...]:
    gradebook = existing_gradebook(loaded.gradebook_path)
    if gradebook is None:  # none yet, or one of 0.3.16, which the first grading extends
        return ()
    with gradebook:
        return CourseLate(loaded).grades(gradebook, item)
