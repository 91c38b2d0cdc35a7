"""The grading jobs of a hub, in its database: one for each item, its last one.

A hub that is started again finds the jobs that were queued or running here, and goes on with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    ColumnElement,
    UniqueConstraint,
    delete,
    insert,
    select,
    true,
    update,
)

from mograder.core.errors import Conflict
from mograder.store.database.database import Line, Name, Tables, table_of, writing
from mograder.store.hub.hub_state import bounded
from mograder.store.hub.hub_tables import metadata

_NAME, _TEXT = 200, 1000
_MOST = 200


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self not in _OPEN


_OPEN = (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class JobRow:
    """The last grading job of an item, asked for by ``who``; ``number`` is its place in the queue.

    ``students`` are the only ones to grade, all if empty. ``force`` grades submissions again whose
    result is up to date, ``failed_only`` only those without a result. ``completed`` of ``total``
    submissions are graded, of which ``attention`` have no result. ``problems`` are sentences about
    single students, by name, and about the assignment, by an empty name. ``error`` says why the job
    failed. ``attempts`` is how often it was begun and neither ended nor was put back in order.
    """

    number: int
    item: Name
    state: JobState
    who: Name
    students: tuple[str, ...]
    force: bool
    failed_only: bool
    total: int
    completed: int
    attention: int
    problems: tuple[tuple[str, str], ...]
    error: Line
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences about the assignment."""
        return tuple(text for who, text in self.problems if not who)


grading_jobs = table_of(
    "grading_jobs", metadata, JobRow, ("number",), UniqueConstraint("item"), attempts="0"
)


class KeptJobs(Tables):
    def add(
        self,
        item: str,
        who: str,
        students: tuple[str, ...],
        at: datetime,
        *,
        force: bool,
        failed_only: bool,
    ) -> JobRow:
        """Queue a job, in place of the item's last. Raises: Conflict if that has not ended."""
        ended = delete(grading_jobs).where(
            grading_jobs.c.item == item, grading_jobs.c.state.not_in(_OPEN)
        )
        new = insert(grading_jobs).values(
            item=item,
            state=JobState.QUEUED,
            who=who,
            students=students,
            force=force,
            failed_only=failed_only,
            total=0,
            completed=0,
            attention=0,
            problems=(),
            error="",
            asked_at=at,
        )
        try:
            with writing(self._engine) as connection:
                connection.execute(ended)
                row = connection.execute(new.returning(*grading_jobs.c)).one()
        except Conflict as error:
            raise Conflict(f"{item} is being graded already.", hint="Cancel that first.") from error
        return JobRow(*row)

    def of(self, item: str) -> JobRow | None:
        return self._row(JobRow, select(grading_jobs).filter_by(item=item))

    def open(self) -> tuple[JobRow, ...]:
        wanted = select(grading_jobs).where(grading_jobs.c.state.in_(_OPEN))
        return self._rows(JobRow, wanted.order_by(grading_jobs.c.number))

    def begin(self, number: int, at: datetime) -> bool:
        """Set a job to running, from 0, and count the attempt; return false if it has ended."""
        counts: dict[str, object] = {"total": 0, "completed": 0, "attention": 0, "problems": ()}
        which = grading_jobs.c.state.in_(_OPEN)
        attempts = grading_jobs.c.attempts + 1
        running = {"state": JobState.RUNNING, "started_at": at, "attempts": attempts}
        return self._set(number, which, **running, **counts)

    def ask_again(self, number: int, at: datetime) -> None:
        """Set when a job was asked for: one that goes on later uses results since then only."""
        self._set(number, true(), asked_at=at)

    def put_back(self, number: int) -> None:
        """Take back an attempt at a job that goes on later, since the hub stops in order."""
        which = (grading_jobs.c.state == JobState.RUNNING) & (grading_jobs.c.attempts > 0)
        self._set(number, which, attempts=grading_jobs.c.attempts - 1)

    def count(
        self,
        number: int,
        *,
        total: int,
        completed: int,
        attention: int,
        problems: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Store how far a job is; texts are truncated, and only the first problems kept."""
        kept = tuple((bounded(who, _NAME), bounded(why, _TEXT)) for who, why in problems[:_MOST])
        counts = {"total": total, "completed": completed, "attention": attention}
        self._set(number, true(), **counts, problems=kept)

    def end(self, number: int, state: JobState, at: datetime, error: str = "") -> None:
        """Set a job to an end, unless it has ended already."""
        which = grading_jobs.c.state.in_(_OPEN)
        self._set(number, which, state=state, ended_at=at, error=bounded(error, _TEXT))

    def _set(self, number: int, which: ColumnElement[bool], **values: object) -> bool:
        changed = update(grading_jobs).where(grading_jobs.c.number == number, which)
        return self._change(changed.values(**values)) > 0
