"""Grading of an item's submissions with the hub's own sandboxes, environments and secret."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.exchange.submission_times import submissions_in
from mograder.grading.batch.autograde import AutogradeRequest, autograde
from mograder.grading.batch.autograded_files import AutogradedFiles
from mograder.grading.batch.grading_jobs import Counts, GradingRequest
from mograder.grading.late.course_late import export_if_set
from mograder.grading.results.result_row import ResultRow
from mograder.grading.runs.grading_tools import GradingTools
from mograder.grading.runs.run_limits import lowered
from mograder.grading.submissions.graded_assignment import AssignmentFiles, GradedAssignment
from mograder.store.course.sources import Sources
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.releases.releases import Releases
from mograder.store.submissions.submitted_files import SubmittedFile

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class HubBatch:
    """Grades the submissions that the hub has of an item, ``jobs`` at a time."""

    loaded: LoadedSettings
    tools: GradingTools
    releases: Releases
    sources: Sources
    jobs: int

    async def __call__(
        self, item: str, request: GradingRequest, progress: Callable[[Counts], None]
    ) -> Counts:
        """Grade them; the result of each is kept when it is made.

        Raises:
            MograderError: The item cannot be graded at all.
        """
        wanted = await asyncio.to_thread(self._wanted, ItemName.parse(item), request)
        watch = _Watch(item, progress)
        path = self.loaded.gradebook_path
        with closing(await asyncio.to_thread(Gradebook, path)) as gradebook:
            await autograde(wanted, self.tools, gradebook.record_run, watch)
            await asyncio.to_thread(export_if_set, self.loaded, gradebook, self.tools.now())
        return watch.counts

    def _wanted(self, name: ItemName, request: GradingRequest) -> AutogradeRequest:
        """Return what to grade; reads the disk."""
        settings, path = self.loaded.settings, self.loaded.path
        directory = path(settings.dirs.submitted) / name
        output = path(settings.dirs.autograded) / name
        source, release = self.sources.find(name), self.releases.get(name)
        found = submissions_in(directory, name, self.loaded)
        results = AutogradedFiles(output, name, self.tools.key)
        return AutogradeRequest(
            files=AssignmentFiles(
                name,
                None if source is None else source.notebook,
                None if release is None else release.notebook,
            ),
            submissions=_selected(found, results, request),
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
    found: Sequence[SubmittedFile], results: AutogradedFiles, request: GradingRequest
) -> tuple[SubmittedFile, ...]:
    """Return the submissions of the request's students that the job has not graded yet."""
    chosen = set(request.students)
    wanted = (each for each in found if not chosen or each.student in chosen)
    since = request.since if request.force else None
    return tuple(
        each for each in wanted if since is None or not _is_graded_after(since, each, results)
    )


def _is_graded_after(moment: datetime, file: SubmittedFile, files: AutogradedFiles) -> bool:
    try:
        return datetime.fromisoformat(files.read(file.student).result.at) >= moment
    except (NotFound, InvalidInput):
        return False
