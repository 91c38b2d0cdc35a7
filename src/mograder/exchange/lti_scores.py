"""Marks that are sent to a platform by LTI: the requests, their answers, and what became of each.

A mark is sent with the same timestamp at every try. The platform takes a timestamp once only, so a
mark whose answer was lost is not entered twice: the platform answers that it has it already. A
success says little: Moodle gives it also for a mark that a teacher overrode there. So the results
are read after the marks were sent, and again from time to time, once for all of a grade item.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from mograder.clients.lti_platform import LineItem, LtiServices, Refused, Result, Score
from mograder.core.clock import Clock
from mograder.core.errors import RemoteFailed
from mograder.store.external.external_tables import ScoreRow, ScoreState
from mograder.store.external.lti_scores import LONGEST_WAIT, LOOK_EVERY, NOT_ENROLLED, LtiScores

LONGEST_COMMENT = 4096
"""Bytes of a comment in UTF-8: a refusal of Moodle repeats it in the status line of its answer."""

_JOINERS = "\u200c\u200d"
"""They are part of words in Persian and Hindi, and of emoji."""

_CUT = "\n… (the rest is on the hub)"
_EQUAL, _ROUNDED = 0.0005, 0.0051
"""Marks are equal that differ by less than this part of the maximum, and less than these points:
platforms round them, to two decimals at the worst, and a teacher's correction may be small.
"""

_NO_PERSON = (
    "The platform does not find this person (404), who may have to open the activity first."
)
_FIRST = timedelta(minutes=1)
_SERVER_ERRORS = 500
_LATER = frozenset({401, 403, 408, 425, 429})
LOOK_AGAIN_AFTER_FAILURE = timedelta(minutes=1)
GONE = "The activity or its grade item does not exist any more."
UNREADABLE = "The platform does not let the hub read whether it is there."
NOT_THERE_YET = "The platform took it, but does not show it."

_MOST_TRIES_TAKEN = 3
"""Tries of a mark that the platform takes and does not show, until that is its last word."""


class Step(Enum):
    """What follows from the status of an answer to a mark that was sent."""

    COMPARE = auto()
    """The platform has a mark with this timestamp, or with a later one."""
    FIND = auto()
    """The grade item is gone, if it was not read just now: look for another one, once."""
    REFUSED = auto()
    """The platform will not take this mark."""
    LATER = auto()


def step_of(status: int) -> Step:
    """Return what follows from a status that is no success; 0 means an answer that was no HTTP."""
    if status == 409:
        return Step.COMPARE
    if status == 404:
        return Step.FIND
    if 400 <= status < _SERVER_ERRORS and status not in _LATER:
        return Step.REFUSED
    return Step.LATER


def wait_after(tries: int) -> timedelta:
    """Return how long to wait after this many tries: a minute first, an hour at most."""
    doubled: int = 1 << min(max(tries - 1, 0), 10)
    return min(_FIRST * doubled, LONGEST_WAIT)


def reason_to_wait(status: int) -> str:
    """Return why a mark waits after an answer, in a sentence with the remedy."""
    if status in (401, 403):
        return (
            f"The platform did not let the hub in ({status}): switch on its services of grades "
            "for this tool."
        )
    if status == _SERVER_ERRORS:
        return (
            f"The platform failed ({status}). If this stays, look whether its grade item is locked."
        )
    if status > _SERVER_ERRORS:
        return f"The platform does not work at the moment ({status})."
    return f"The platform could not take it now ({status})."


def is_ours(result: Result, ours: Collection[float | None]) -> bool:
    """Return whether the mark at a platform is one that this hub sent, or none at all.

    ``ours`` are parts of the maximum. A platform may cut what is above its maximum.
    """
    if result.score is None:
        return True
    return any(has_arrived(result, each) for each in ours if each is not None)


def _is_emptied(row: ScoreRow, found: Result) -> bool:
    """Return whether a mark of this hub that was there is not any more, and not by this hub."""
    before = [each for each in row.ours if each != row.part]
    return found.score is None and row.sent_at is not None and bool(before) and None not in before


def has_arrived(result: Result, part: float | None) -> bool:
    if result.score is None or part is None:
        return result.score is None and part is None
    allowed = min(_EQUAL * result.maximum, _ROUNDED)
    sent = (part, min(max(part, 0.0), 1.0))  # a platform may cut what is outside
    return any(abs(result.score - each * result.maximum) < allowed for each in sent)


def there(result: Result) -> str:
    if result.score is None:
        return "no mark"
    return f"{result.score:g} of {result.maximum:g}"


def grade_item_of(found: Sequence[LineItem], resource_link: str) -> str:
    """Return the address of the grade item to use, "" if it is not clear which one.

    The one of the activity itself is preferred, since the platform keeps a teacher's changes there.
    """
    own = [each.address for each in found if each.resource_link == resource_link]
    if own:
        return own[0]
    return found[0].address if len(found) == 1 else ""


def comment_text(comment: str, late: str = "") -> str:
    """Return a comment as plain text: the sum of a deduction first, and cut if it is too long."""
    lines = [late] if late else []
    lines += [comment.strip()] if comment.strip() else []
    text = "\n\n".join(lines).replace("\r\n", "\n").replace("\r", "\n")
    spaced = (" " if unicodedata.category(each) == "Zs" else each for each in text)
    allowed = frozenset(f"{_JOINERS}\n\t")
    text = "".join(each for each in spaced if each in allowed or each.isprintable())
    data = text.encode("utf-8", "replace")
    if len(data) <= LONGEST_COMMENT:
        return data.decode()
    room = LONGEST_COMMENT - len(_CUT.encode())
    return data[:room].decode("utf-8", "ignore") + _CUT


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
        """Send a mark, unless another one is there.

        A platform may answer 404 for a person as well (ILIAS does, until the person has opened the
        activity there): where the results were read just before, the grade item exists, and only
        this mark waits.
        """
        if row.stamp is None:
            raise ValueError("the mark was not taken from the queue")
        score = Score(row.subject, row.given, row.maximum, row.comment, row.stamp)
        now_there: Result | None = None
        try:
            now_there = self.services.result(row.lineitem, row.subject)
            if now_there is not None and not self._may_replace(row, now_there):
                self._changed(row, now_there)
                return
            if row.part is not None or now_there is None or now_there.score is not None:
                self.services.send(row.lineitem, score)
        except Refused as error:
            step = step_of(error.status)
            if step is Step.COMPARE:
                self._compare(row)
            elif step is Step.FIND and now_there is None:
                self._find([row], activity)
            elif step is Step.FIND:
                self.queue.later(row, self.clock.now() + LONGEST_WAIT, _NO_PERSON)
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
        elif (
            row.state is ScoreState.TAKEN
            and row.tries < _MOST_TRIES_TAKEN
            and is_ours(found, row.ours)
            and not _is_emptied(row, found)
        ):  # it may never have reached the platform
            self.queue.resume(row, self._next(row), NOT_THERE_YET)
        else:
            self._changed(row, found)

    @staticmethod
    def _may_replace(row: ScoreRow, now_there: Result) -> bool:
        if row.overwrite or (row.part is None and now_there.score is None):
            return True
        return is_ours(now_there, (*row.ours, row.part)) and not _is_emptied(row, now_there)

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
        """End a mark where another one is at the platform, and say why."""
        if found.score is None:
            why = "The mark was emptied on the platform, which goes on showing none."
        elif is_ours(found, row.ours):
            why = (
                f"The platform keeps {there(found)}, an earlier mark of this hub: it was "
                "overridden or locked there."
            )
        else:
            why = f"The platform has {there(found)}, which is not from this hub, and keeps it."
        self.queue.end(row, ScoreState.CHANGED, why, self.clock.now())

    def _find(self, rows: Sequence[ScoreRow], activity: ActivityAddress) -> None:
        """Try at another grade item of the same activity, if there is one."""
        first, now, found = rows[0], self.clock.now(), ""
        try:
            if activity.lineitems:
                items = self.services.line_items(activity.lineitems, first.item)
                found = grade_item_of(items, activity.resource_link)
        except Refused as error:
            if step_of(error.status) is not Step.FIND:
                raise
            # The course is gone, too.
        elsewhere = found and found != first.lineitem
        for row in rows:
            if not elsewhere or not self.queue.move(row, found, now):
                self.queue.end(row, ScoreState.GONE, GONE, now)

    def _refused(self, row: ScoreRow, status: int) -> bool:
        if step_of(status) is Step.LATER:
            why = reason_to_wait(status)
            self._later(row, why)
            # Perhaps only this grade item is locked: it must not keep the marks of all others.
            self.queue.put_behind(row, self._next(row), why)
            return False
        why = NOT_ENROLLED.get(status, f"The platform refuses this mark ({status}).")
        self.queue.end(row, ScoreState.REFUSED, why, self.clock.now())
        return True

    def _later(self, row: ScoreRow, why: str) -> None:
        self.queue.later(row, self._next(row), why)

    def _next(self, row: ScoreRow) -> datetime:
        return self.clock.now() + wait_after(row.tries)
