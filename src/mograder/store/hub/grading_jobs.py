"""The grading jobs of a hub, in its database: one for each item, its last one.

A hub that is started again finds the jobs that were queued or running here, and goes on with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Engine, RowMapping, delete, insert, select, true, update

from mograder.core.errors import Conflict
from mograder.store.database.database import reading, writing
from mograder.store.hub.hub_state import bounded
from mograder.store.hub.hub_tables import JobRow, JobState, grading_jobs

__all__ = ["JobRow", "JobState", "KeptJobs"]

_NAME, _TEXT = 200, 1000
_MOST = 200
_OPEN = (JobState.QUEUED, JobState.RUNNING)


class KeptJobs:
    """The table of jobs; every method may raise :class:`~mograder.core.errors.Busy`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
        """Add a job at the end of the queue, in place of the item's job that has ended.

        Raises:
            Conflict: The item has a job that has not ended.
        """
        ended = delete(grading_jobs).where(
            grading_jobs.c.item == item, grading_jobs.c.state.not_in(_OPEN)
        )
        new = insert(grading_jobs).values(
            item=item,
            state=JobState.QUEUED,
            who=who,
            students=json.dumps(students),
            force=force,
            failed_only=failed_only,
            total=0,
            completed=0,
            attention=0,
            problems="[]",
            error="",
            asked_at=at,
        )
        try:
            with writing(self._engine) as connection:
                connection.execute(ended)
                row = connection.execute(new.returning(*grading_jobs.c)).mappings().one()
        except Conflict as error:
            raise Conflict(f"{item} is being graded already.", hint="Cancel that first.") from error
        return _row(row)

    def of(self, item: str) -> JobRow | None:
        """Return the last job of an item, or None."""
        wanted = select(grading_jobs).where(grading_jobs.c.item == item)
        with reading(self._engine) as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        return None if row is None else _row(row)

    def open(self) -> tuple[JobRow, ...]:
        """Return the jobs that have not ended, in the order of arrival."""
        wanted = (
            select(grading_jobs)
            .where(grading_jobs.c.state.in_(_OPEN))
            .order_by(grading_jobs.c.number)
        )
        with reading(self._engine) as connection:
            return tuple(map(_row, connection.execute(wanted).mappings()))

    def begin(self, number: int, at: datetime) -> bool:
        """Set a job to running and count the attempt, or return false if it has ended.

        Its counts start at 0, also when it goes on after a restart.
        """
        counts: dict[str, object] = {"total": 0, "completed": 0, "attention": 0, "problems": "[]"}
        which = grading_jobs.c.state.in_(_OPEN)
        attempts = grading_jobs.c.attempts + 1
        running = {"state": JobState.RUNNING, "started_at": at, "attempts": attempts}
        return self._change(number, which, **running, **counts)

    def put_back(self, number: int) -> None:
        """Take back an attempt at a job that goes on later, since the hub stops in order."""
        which = (grading_jobs.c.state == JobState.RUNNING) & (grading_jobs.c.attempts > 0)
        self._change(number, which, attempts=grading_jobs.c.attempts - 1)

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
        kept = [(bounded(who, _NAME), bounded(why, _TEXT)) for who, why in problems[:_MOST]]
        counts = {"total": total, "completed": completed, "attention": attention}
        self._change(number, true(), **counts, problems=json.dumps(kept, ensure_ascii=False))

    def end(self, number: int, state: JobState, at: datetime, error: str = "") -> None:
        """Set a job to an end, unless it has ended already."""
        which = grading_jobs.c.state.in_(_OPEN)
        self._change(number, which, state=state, ended_at=at, error=bounded(error, _TEXT))

    def _change(self, number: int, which: ColumnElement[bool], **values: object) -> bool:
        changed = update(grading_jobs).where(grading_jobs.c.number == number, which)
        with writing(self._engine) as connection:
            return connection.execute(changed.values(**values)).rowcount > 0


def _row(values: RowMapping) -> JobRow:
    students = tuple(json.loads(values["students"]))
    problems = tuple((who, why) for who, why in json.loads(values["problems"]))
    return JobRow(**{**values, "students": students, "problems": problems})
