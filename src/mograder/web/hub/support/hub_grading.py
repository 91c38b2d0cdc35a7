"""What the hub grades with: the queue of jobs, the sources, and the marks in the gradebook."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mograder.core.clock import Clock
from mograder.core.settings import LoadedSettings
from mograder.grading.grading_jobs import Batch, GradingJobs
from mograder.store.grading_jobs import KeptJobs
from mograder.store.grading_records import StudentGrade
from mograder.store.hub_state import HubState
from mograder.store.releases import Limits, Releases
from mograder.store.sources import SENT, Sources


@dataclass(frozen=True, slots=True)
class HubGrading:
    """The parts of grading that handlers use.

    ``grades`` returns the marks of an item; it reads the gradebook, and may raise the gradebook's
    errors.
    """

    jobs: GradingJobs
    sources: Sources
    grades: Callable[[str], Sequence[StudentGrade]]


def make_grading(loaded: LoadedSettings, state: HubState, clock: Clock, batch: Batch) -> HubGrading:
    """Return the parts of grading; the queue is opened by the app."""
    limits = loaded.settings.limits
    bounds = Limits(limits.upload_files, limits.upload_mb)
    sent = Releases(loaded.state_dir / SENT, limits=bounds, clock=clock, private=True)
    return HubGrading(
        jobs=GradingJobs(KeptJobs(state.engine), batch, clock),
        sources=Sources(loaded.path(loaded.settings.dirs.source), sent),
        grades=lambda _: (),
    )
