"""The parts of the hub that grade, beside the students: with free memory, and little CPU weight."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from mograder.core.clock import Clock
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.core.tasks import Progress
from mograder.exchange.submission_times import submissions_in
from mograder.grading.course_late import CourseLate, export_if_set
from mograder.grading.submissions.autograde import AutogradeRequest, autograde
from mograder.grading.submissions.graded_assignment import AssignmentFiles, GradedAssignment
from mograder.grading.submissions.grading_jobs import Batch, Counts, GradingJobs, GradingRequest
from mograder.grading.submissions.grading_result import grading_key
from mograder.grading.submissions.grading_tools import GradingTools, lowered
from mograder.grading.submissions.result_forms import ResultRow
from mograder.grading.workbench import SandboxSlots
from mograder.hub.hosting import Hosting
from mograder.hub.services import HubGrading
from mograder.notebook.pep723 import read_script
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.execution.item_limits import AUTHORS_BOUNDS
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult, Runner
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.protocol import Limits
from mograder.sessions.capacity import UNKNOWN
from mograder.store.course.sources import Sources, contracts_of, open_sources
from mograder.store.filesystem.files import remove_tree
from mograder.store.gradebook.gradebook import Gradebook, existing_gradebook
from mograder.store.gradebook.grading_records import StudentGrade, utc_iso
from mograder.store.hub.grading_jobs import KeptJobs
from mograder.store.hub.hub_state import HubState
from mograder.store.releases.releases import Releases
from mograder.store.submissions.submitted_files import SubmittedFile

_PLACE = "grading"

_SLOTS_OF_ONE = 4
"""Sandboxes of one submission at a time: a worker and a judge, and as many that are ending."""


_log = get_logger(__name__)


WEIGHT = 10
"""The CPU weight of a run; a session has 100 by default. On an idle machine it makes no
difference."""

Memory = Callable[[int], AbstractAsyncContextManager[None]]
"""Waits for so many bytes of memory, and reserves them until the block ends."""


@dataclass(frozen=True, slots=True)
class BackgroundRunner(Runner):
    """Judges submissions and runs notebooks when there is memory, with a small CPU weight."""

    runner: Runner
    memory: Memory

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        async with self.memory(2 * UNKNOWN):
            return await self.runner.judge(replace(request, limits=_light(request.limits)))

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        async with self.memory(UNKNOWN):
            return await self.runner.execute(replace(request, limits=_light(request.limits)))


def _light(limits: Limits) -> Limits:
    return limits.model_copy(update={"cpu_weight": min(WEIGHT, limits.cpu_weight)})


@dataclass(frozen=True, slots=True)
class HubBatch:
    loaded: LoadedSettings
    tools: GradingTools
    releases: Releases
    sources: Sources
    jobs: int

    async def __call__(
        self, item: str, request: GradingRequest, progress: Callable[[Counts], None]
    ) -> Counts:
        """Keep each result once made; raises MograderError if the item cannot be graded at all."""
        watch = _Watch(item, progress)
        path = self.loaded.gradebook_path
        with closing(await asyncio.to_thread(Gradebook, path)) as gradebook:
            name = ItemName.parse(item)
            wanted = await asyncio.to_thread(self._wanted, gradebook, name, request)
            await autograde(wanted, self.tools, gradebook, watch)
            await asyncio.to_thread(export_if_set, self.loaded, gradebook, self.tools.now())
        return watch.counts

    def _wanted(self, book: Gradebook, name: ItemName, request: GradingRequest) -> AutogradeRequest:
        settings, path = self.loaded.settings, self.loaded.path
        directory = path(settings.dirs.submitted) / name
        output = path(settings.dirs.autograded) / name
        source, release = self.sources.find(name), self.releases.get(name)
        found = submissions_in(directory, name, self.loaded)
        return AutogradeRequest(
            files=AssignmentFiles(
                name,
                None if source is None else source.notebook,
                None if release is None else release.notebook,
            ),
            submissions=_selected(book, name, found, request),
            output=output,
            jobs=self.jobs,
            force=request.force,
            failed=request.failed_only,
            whole=not request.students,
            limits=lambda limits: lowered(limits, settings.rlimits),
        )


@dataclass(slots=True)
class _Watch:
    """Counts what is graded; its methods are those of ``AutogradeWatch``."""

    item: str
    tell: Callable[[Counts], None]
    counts: Counts = field(default_factory=Counts)

    def progress(self, message: str) -> None:
        _log.info("%s: %s", self.item, message)

    def warn(self, message: str) -> None:
        _log.warning("%s: %s", self.item, message)
        self._set(replace(self.counts, problems=(*self.counts.problems, ("", message))))

    def begins(self, assignment: GradedAssignment, total: int, skipped: int) -> None:
        self._set(replace(self.counts, total=total))

    def ended(self, row: ResultRow, completed: int, total: int) -> None:
        problems = [*self.counts.problems, *((row.student, note) for note in row.notes)]
        if row.problem:
            problems.append((row.student, row.problem))
        attention = self.counts.attention + row.needs_attention
        self._set(Counts(total, completed, attention, tuple(problems)))

    def _set(self, counts: Counts) -> None:
        self.counts = counts
        self.tell(counts)


def _selected(
    book: Gradebook, item: str, found: Sequence[SubmittedFile], request: GradingRequest
) -> tuple[SubmittedFile, ...]:
    chosen = set(request.students)
    wanted = (each for each in found if not chosen or each.student in chosen)
    since = request.since if request.force else None
    if since is None:
        return tuple(wanted)
    begun = utc_iso(since)
    runs = ((each, book.last_run(item, each.student)) for each in wanted)
    return tuple(each for each, run in runs if run is None or run.at < begun)


def open_grading(
    loaded: LoadedSettings,
    hosting: Hosting,
    environments: Environments,
    memory: Memory,
    releases: Releases,
    state: HubState,
    clock: Clock,
) -> HubGrading:
    """Raise InvalidInput if the key of the signatures cannot be read or written; blocks."""
    sources = open_sources(loaded, clock)
    jobs = min(loaded.settings.defaults.jobs, len(os.sched_getaffinity(0)))

    async def environment(text: str, progress: Progress) -> Path:
        built = await environments.prepare(read_script(text), progress)
        machines.warm_later(built.directory)
        return built.directory

    machines, place = hosting.machines, hosting.runs / _PLACE
    remove_tree(place)  # left by a hub that was killed
    runner = SandboxedRunner(machines, place, remove_tree, at_once=jobs, bounds=AUTHORS_BOUNDS)
    # For sandboxes that no student has: people's names begin with no underscore.
    slots = [state.slot_of(f"__grading_{each}__") for each in range(jobs * _SLOTS_OF_ONE)]
    tools = GradingTools(
        runner=BackgroundRunner(runner, memory),
        environment=environment,
        settings=loaded.settings,
        contracts=contracts_of(loaded),
        key=grading_key(loaded),
        slots=SandboxSlots(slots),
        now=clock.now,
    )
    batch = HubBatch(loaded, tools, releases, sources, jobs)
    return make_grading(loaded, state, clock, batch, sources)


def make_grading(
    loaded: LoadedSettings, state: HubState, clock: Clock, batch: Batch, sources: Sources
) -> HubGrading:
    return HubGrading(
        jobs=GradingJobs(KeptJobs(state.engine), batch, clock),
        sources=sources,
        grades=lambda item: _grades(loaded, item),
        key=grading_key(loaded),
    )


def _grades(loaded: LoadedSettings, item: str) -> tuple[StudentGrade, ...]:
    gradebook = existing_gradebook(loaded.gradebook_path)
    if gradebook is None:  # none yet, or one of 0.3.16, which the first grading extends
        return ()
    with gradebook:
        return CourseLate(loaded).grades(gradebook, item)
