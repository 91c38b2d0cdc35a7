"""Sends a mark to a platform and notes what became of it.

A mark is sent with the same timestamp at every try. The platform takes a timestamp once only, so a
mark whose answer was lost is not entered twice: the platform answers that it has it already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mograder.clients.lti_services import LtiServices, Refused, Result, Score
from mograder.core.clock import Clock
from mograder.core.errors import RemoteFailed
from mograder.exchange.lti.scores import (
    Step,
    grade_item_of,
    has_arrived,
    is_ours,
    reason_of_refusal,
    reason_to_wait,
    step_of,
    there,
    wait_after,
)
from mograder.store.external.lti_scores import LtiScores, ScoreRow, ScoreState


@dataclass(frozen=True, slots=True)
class ActivityAddress:
    """Where the grade items of an activity are found; ``lineitems`` is empty if it is not known."""

    lineitems: str = ""
    resource_link: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Sends the marks of one platform."""

    services: LtiServices
    queue: LtiScores
    clock: Clock

    def deliver(self, row: ScoreRow, activity: ActivityAddress) -> bool:
        """Send a mark that was taken from the queue; return false if the platform does not work.

        Raises: Busy when the hub's database does not answer; the mark is tried again after the
        lease.
        """
        try:
            self._send(row, activity)
        except Refused as error:
            return self._refused(row, error.status)
        except RemoteFailed as error:
            self._later(row, str(error))
            return False
        return True

    def _send(self, row: ScoreRow, activity: ActivityAddress) -> None:
        try:
            now_there = self.services.result(row.grade.lineitem, row.grade.subject)
            if now_there is not None and not self._may_replace(row, now_there):
                self._changed(row, now_there)
                return
            self.services.send(row.grade.lineitem, _score(row))
        except Refused as error:
            step = step_of(error.status)
            if step is Step.COMPARE:
                self._compare(row)
            elif step is Step.FIND:
                self._find(row, activity)
            else:
                raise
        else:
            self.queue.done(row, self.clock.now())

    @staticmethod
    def _may_replace(row: ScoreRow, now_there: Result) -> bool:
        return row.overwrite or is_ours(now_there, (*row.ours, row.part))

    def _compare(self, row: ScoreRow) -> None:
        """Find out whether a mark has arrived at an earlier try, or was replaced since."""
        found = self.services.result(row.grade.lineitem, row.grade.subject)
        if found is None:
            text = "The platform has a newer mark, which the hub may not read."
            self.queue.end(row, ScoreState.CHANGED, text)
        elif has_arrived(found, row.part):
            self.queue.done(row, self.clock.now())
        else:
            self._changed(row, found)

    def _changed(self, row: ScoreRow, found: Result) -> None:
        text = f"The platform has {there(found)}, which is not from this hub, and keeps it."
        self.queue.end(row, ScoreState.CHANGED, text)

    def _find(self, row: ScoreRow, activity: ActivityAddress) -> None:
        """Try at another grade item of the same activity, if there is one."""
        found = ""
        if activity.lineitems:
            items = self.services.line_items(activity.lineitems, row.item)
            found = grade_item_of(items, activity.resource_link)
        now = self.clock.now()
        if not found or found == row.grade.lineitem or not self.queue.move(row, found, now):
            self.queue.end(row, ScoreState.REFUSED, reason_of_refusal(404))

    def _refused(self, row: ScoreRow, status: int) -> bool:
        if step_of(status) is Step.LATER:
            self._later(row, reason_to_wait(status))
            return False
        self.queue.end(row, ScoreState.REFUSED, reason_of_refusal(status))
        return True

    def _later(self, row: ScoreRow, why: str) -> None:
        self.queue.later(row, self._next(row), why)

    def _next(self, row: ScoreRow) -> datetime:
        return self.clock.now() + wait_after(row.tries)


def _score(row: ScoreRow) -> Score:
    if row.stamp is None:
        raise ValueError("the mark was not taken from the queue")
    return Score(row.grade.subject, row.given, row.maximum, row.comment, row.stamp)
