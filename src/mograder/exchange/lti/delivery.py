"""Sends marks to a platform, looks whether they are there, and notes what became of them.

A mark is sent with the same timestamp at every try. The platform takes a timestamp once only, so a
mark whose answer was lost is not entered twice: the platform answers that it has it already. A
success says little: Moodle gives it also for a mark that a teacher overrode there. So the results
are read after the marks were sent, and again from time to time, once for all of a grade item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mograder.clients.lti_platform import LtiServices, Refused, Result, Score
from mograder.core.clock import Clock
from mograder.core.errors import RemoteFailed
from mograder.exchange.lti.scores import (
    Step,
    grade_item_of,
    has_arrived,
    is_emptied,
    is_ours,
    not_there,
    reason_of_refusal,
    reason_to_wait,
    step_of,
    wait_after,
)
from mograder.store.external.external_tables import ScoreRow, ScoreState
from mograder.store.external.lti_scores import LOOK_EVERY, LtiScores

LOOK_AGAIN_AFTER_FAILURE = timedelta(minutes=1)
GONE = "The activity or its grade item does not exist any more."
UNREADABLE = "The platform does not let the hub read whether it is there."
NOT_THERE_YET = "The platform took it, but does not show it."
_MOST_TRIES_TAKEN = 3
"""Tries of a mark that the platform takes and does not show, until that is its last word."""


@dataclass(frozen=True, slots=True)
class ActivityAddress:
    """Where the grade items of an activity are found; ``lineitems`` is empty if it is not known."""

    lineitems: str = ""
    resource_link: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Sends the marks of one platform.

    Its methods raise Busy when the hub's database does not answer; a mark that was taken from the
    queue is then tried again after the lease.
    """

    services: LtiServices
    queue: LtiScores
    clock: Clock

    def deliver(self, row: ScoreRow, activity: ActivityAddress) -> bool:
        """Send a mark that was taken from the queue; return false if the platform does not work."""
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
            now_there = self.services.result(row.lineitem, row.subject)
            if now_there is not None and not self._may_replace(row, now_there):
                self._changed(row, now_there)
                return
            self.services.send(row.lineitem, _score(row))
        except Refused as error:
            step = step_of(error.status)
            if step is Step.COMPARE:
                self._compare(row)
            elif step is Step.FIND:
                self._find([row], activity)
            else:
                raise
        else:
            self.queue.took(row, self.clock.now())

    def look(self, rows: Sequence[ScoreRow], activity: ActivityAddress) -> bool:
        """Compare marks of a grade item with what is there; false if the platform does not work."""
        first = rows[0]
        try:
            try:
                found = self.services.results(
                    first.lineitem, first.subject if len(rows) == 1 else ""
                )
            except Refused as error:
                if step_of(error.status) is not Step.FIND:
                    raise
                self._find(rows, activity)
                return True
        except RemoteFailed:
            self.queue.look_later(rows, self.clock.now() + LOOK_AGAIN_AFTER_FAILURE)
            return False
        for row in rows:
            there = None if found is None else found.get(row.subject, Result())
            self._judge(row, there)
        return True

    def _judge(self, row: ScoreRow, found: Result | None) -> None:
        now = self.clock.now()
        if found is None and row.state is ScoreState.TAKEN:
            self.queue.done(row, now, UNREADABLE)
        elif found is None:
            self.queue.look_later([row], now + LOOK_EVERY)
        elif has_arrived(found, row.part):
            self.queue.done(row, now)
        elif row.state is ScoreState.GONE:
            self.queue.resume(row, now)  # the grade item is there again
        elif row.state is ScoreState.TAKEN and self._may_be_lost(row, found):
            self.queue.resume(row, self._next(row), NOT_THERE_YET)
        else:
            self._changed(row, found)

    @staticmethod
    def _may_be_lost(row: ScoreRow, found: Result) -> bool:
        """Return whether a mark that was taken may never have reached the platform."""
        tried_enough = row.tries >= _MOST_TRIES_TAKEN
        return not tried_enough and not is_emptied(row, found) and is_ours(found, row.ours)

    @staticmethod
    def _may_replace(row: ScoreRow, now_there: Result) -> bool:
        if row.overwrite or (row.part is None and now_there.score is None):
            return True
        return is_ours(now_there, (*row.ours, row.part)) and not is_emptied(row, now_there)

    def _compare(self, row: ScoreRow) -> None:
        """Find out whether a mark has arrived at an earlier try, or was replaced since."""
        found = self.services.result(row.lineitem, row.subject)
        if found is None:
            text = "The platform has a newer mark, which the hub may not read."
            self.queue.end(row, ScoreState.CHANGED, text, self.clock.now())
        elif has_arrived(found, row.part):
            self.queue.done(row, self.clock.now())
        else:
            self._changed(row, found)

    def _changed(self, row: ScoreRow, found: Result) -> None:
        self.queue.end(row, ScoreState.CHANGED, not_there(row, found), self.clock.now())

    def _find(self, rows: Sequence[ScoreRow], activity: ActivityAddress) -> None:
        """Try at another grade item of the same activity, if there is one."""
        first, now = rows[0], self.clock.now()
        found = self._other_grade_item(first.item, activity)
        elsewhere = found and found != first.lineitem
        for row in rows:
            if not elsewhere or not self.queue.move(row, found, now):
                self.queue.end(row, ScoreState.GONE, GONE, now)

    def _other_grade_item(self, item: str, activity: ActivityAddress) -> str:
        if not activity.lineitems:
            return ""
        try:
            items = self.services.line_items(activity.lineitems, item)
        except Refused as error:
            if step_of(error.status) is Step.FIND:
                return ""  # the course is gone, too
            raise
        return grade_item_of(items, activity.resource_link)

    def _refused(self, row: ScoreRow, status: int) -> bool:
        if step_of(status) is Step.LATER:
            why = reason_to_wait(status)
            self._later(row, why)
            # Perhaps only this grade item is locked: it must not keep the marks of all others.
            self.queue.put_behind(row, self.clock.now() + wait_after(1), why)
            return False
        self.queue.end(row, ScoreState.REFUSED, reason_of_refusal(status), self.clock.now())
        return True

    def _later(self, row: ScoreRow, why: str) -> None:
        self.queue.later(row, self._next(row), why)

    def _next(self, row: ScoreRow) -> datetime:
        return self.clock.now() + wait_after(row.tries)


def _score(row: ScoreRow) -> Score:
    if row.stamp is None:
        raise ValueError("the mark was not taken from the queue")
    return Score(row.subject, row.given, row.maximum, row.comment, row.stamp)
