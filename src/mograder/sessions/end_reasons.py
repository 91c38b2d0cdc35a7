"""The reasons for which sessions end, and the explanation that students read for each.

The pages and the API call :func:`describe`, so a student reads the same text on the dashboard, on
the spinner page and in the page that was open. The history of endings is in memory for the pages,
and in the database for the next hub.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import get_args

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.sandbox.protocol import Ended, LimitReason, Limits, MachineReason, Mode
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub.hub_state import EndingRow, HubState

_DETAIL_LENGTH = 500
_TOLD = frozenset({*get_args(LimitReason), *get_args(MachineReason)})
"""Reasons that supervisors and nodes report."""


class EndReason(StrEnum):
    STOPPED = "stopped"
    """A person stopped it."""
    IDLE = "idle"
    PRESSURE = "pressure"
    """It was idle for less than the timeout, or not the one that its person used last, and others
    waited for its memory."""
    REPLACED = "replaced"
    """The lecture was published again."""
    REWRITTEN = "rewritten"
    """Another text took the notebook's place: a version, an update, an upload."""
    REMOVED = "removed"
    """Its student was removed from the access list."""
    MEMORY = "memory"
    PROCESSES = "processes"
    WORKSPACE = "workspace"
    DISK = "disk"
    OUTPUT = "output"
    CRASHED = "crashed"
    """Its process ended unexpectedly."""
    LOST = "lost"
    """Its supervisor ended; or it ended while no hub was connected to that."""
    MACHINE = "machine"
    """The machine that ran it failed, or was cut off from the hub for too long."""
    MOVED = "moved"
    """The machine that ran it is being taken out of service."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one session; ``detail`` is the last line of its log, only after a crash.

    The line was printed by the student's program: show it as text, never as markup. ``limits`` are
    those that the session ran under, or None if an earlier hub started it.
    """

    key: SessionKey
    session_id: str
    reason: EndReason
    at: datetime
    detail: str = ""
    limits: Limits | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The text for a student: what happened, then what to do.

    What is saved is not part of it: the reason does not know that, and the pages do.
    """

    title: str
    text: str


def reason_of(gone: Ended) -> EndReason:
    """Return the reason of an end that the hub did not request."""
    if gone.reason == "shortage":
        return EndReason.MEMORY  # its text names the server's memory, too
    if gone.reason in _TOLD:
        return EndReason(gone.reason)
    # Status 0: the student used marimo's own "shut down".
    return EndReason.STOPPED if gone.status == 0 else EndReason.CRASHED


def last_words(log_tail: str) -> str:
    """Return the last line of a log that is not blank, without control characters and cut."""
    last = next((line for line in reversed(log_tail.splitlines()) if line.strip()), "")
    return "".join(each for each in last if each.isprintable()).strip()[:_DETAIL_LENGTH]


def describe(ending: Ending, limits: Limits) -> Explanation:
    """Return the explanation of an ending for the student whose session it was.

    ``limits`` are used where the ending has none of its own.
    """
    limits = ending.limits or limits
    notebook = "lecture" if ending.key.mode is Mode.RUN else "notebook"
    explanation = _EXPLANATIONS[ending.reason]
    text = explanation.text.format(
        memory=_amount(limits.memory_mb),
        processes=limits.processes,
        workspace=_amount(limits.workspace_mb),
        notebook=notebook,
        detail=f" Its last words were: {ending.detail}" if ending.detail else "",
    )
    return Explanation(explanation.title.format(notebook=notebook), " ".join(text.split()))


def describe_to_others(ending: Ending, *, helps: bool) -> Explanation:
    """Return the explanation for somebody else who was in the session: a helper, or an instructor.

    Only its student can open it again by the link that the pages have.
    """
    owner, notebook = ending.key.user, "lecture" if ending.key.mode is Mode.RUN else "notebook"
    title = _EXPLANATIONS[ending.reason].title.format(notebook=notebook)
    if ending.reason is EndReason.REMOVED:
        title = f"{owner} is not on the access list any more."
    elif title.startswith("Your "):
        title = f"{owner}’s {title.removeprefix('Your ')}"
    words = f"Its last words were: {ending.detail}" if ending.detail else ""
    where = f"{owner} can ask for help again once it is open." if helps else ""
    return Explanation(title, " ".join(filter(None, (words, "What was saved stays.", where))))


_EXPLANATIONS = {
    EndReason.STOPPED: Explanation(
        "The {notebook} was stopped.",
        "Open it again whenever you like.",
    ),
    EndReason.IDLE: Explanation(
        "The {notebook} was closed because nobody used it.",
        "Open it again to go on where you were.",
    ),
    EndReason.PRESSURE: Explanation(
        "The {notebook} was closed to make room for others.",
        "Many people are working at the moment, and nobody was using this one, or another one of "
        "yours was used after it. Open it again to go on where you were; it may have to wait in "
        "line.",
    ),
    EndReason.REPLACED: Explanation(
        "The {notebook} was published again.",
        "Open it again to see the new version.",
    ),
    EndReason.REWRITTEN: Explanation(
        "The {notebook} was closed because another text took its place.",
        "An open editor would have written its own over it. Open it again to go on.",
    ),
    EndReason.REMOVED: Explanation(
        # Only people with access to the course read it: the others are refused every page.
        "The {notebook} was closed while you had no access to the course.",
        "You have access again. Open it again to go on where you were.",
    ),
    EndReason.MEMORY: Explanation(
        "Your {notebook} used too much memory and was stopped.",
        "It needed more than {memory}, or more than the server had left. Open it again, and "
        "load less data at once, or delete large variables that you no longer need.",
    ),
    EndReason.PROCESSES: Explanation(
        "Your {notebook} started too many processes and was stopped.",
        "It may have {processes} processes and threads at a time. Open it again, and "
        "start fewer at once; look for a loop that starts them without end.",
    ),
    EndReason.WORKSPACE: Explanation(
        "Your {notebook} filled its folder and was stopped.",
        "All files in the folder together may have {workspace}. Open it again, delete "
        "files that you do not need, and write less.",
    ),
    EndReason.DISK: Explanation(
        "Your {notebook} was stopped because the server's disk is nearly full.",
        "It was the one that wrote the most. Open it again and delete large files; if "
        "you have none, tell your instructor.",
    ),
    EndReason.OUTPUT: Explanation(
        "Your {notebook} printed too much and was stopped.",
        "Open it again, and look for a loop that prints without end.",
    ),
    EndReason.CRASHED: Explanation(
        "Your {notebook} ended unexpectedly.",
        "Open it again; if it happens again, tell your instructor.{detail}",
    ),
    EndReason.LOST: Explanation(
        "The {notebook} was closed because the server was restarted.",
        "Open it again to go on where you were.",
    ),
    EndReason.MACHINE: Explanation(
        "The machine that ran your {notebook} failed.",
        "Open it again: it starts on another machine, with what was saved.",
    ),
    EndReason.MOVED: Explanation(
        "The {notebook} was closed because its machine is being serviced.",
        "Open it again: it starts on another machine, and you go on where you were.",
    ),
}


def _amount(megabytes: int) -> str:
    if megabytes < 1024:
        return f"{megabytes} MB"
    return f"{megabytes / 1024:.1f}".removesuffix(".0") + " GB"


_log = logging.getLogger(__name__)

KEPT = timedelta(days=30)
"""How long endings are kept in the database."""

_KEPT_IN_MEMORY = 20_000
"""Number of endings, the newest: all of a course of 500 students with 30 items. Those that are not
here are not told, and a new start does not remove them from the database."""


def log_unasked_end(key: SessionKey, gone: Ended, reason: EndReason) -> None:
    """Log that a session ended though no hub had asked for it, with the end of its output."""
    _log.warning(
        "%s of %s for %s ended by itself (%s) with status %s: %s",
        key.mode.value,
        key.item,
        key.user,
        reason.value,
        gone.status,
        gone.log_tail[-500:],
    )


class History:
    """Endings by session id and by key. A failed write is logged and not raised."""

    def __init__(self, rows: HubState, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock
        self._by_id: OrderedDict[str, Ending] = OrderedDict()
        self._by_key: OrderedDict[SessionKey, Ending] = OrderedDict()

    async def load(self) -> None:
        for row in await asyncio.to_thread(self._rows.endings, self._clock.now() - KEPT):
            key = SessionKey(row.username, row.item, Mode(row.mode))
            # The row may be from a newer mograder with reasons that this one does not know.
            known = row.reason in set(EndReason)
            reason = EndReason(row.reason) if known else EndReason.CRASHED
            self._remember(Ending(key, row.session_id, reason, row.ended_at, row.detail))

    def note(self, live: LiveSession, reason: EndReason, detail: str = "") -> Ending:
        """Record an ending in memory and return it; :meth:`save` writes it to the database."""
        ending = Ending(live.key, live.id, reason, self._clock.now(), detail, live.limits)
        self._remember(ending)
        return ending

    async def save(self, ending: Ending) -> None:
        """Write an ending to the database, unless it was forgotten or replaced since."""
        if self._by_key.get(ending.key) is not ending:
            return
        before, key = self._clock.now() - KEPT, ending.key
        row = EndingRow(
            username=key.user,
            item=key.item,
            mode=key.mode.value,
            session_id=ending.session_id,
            reason=ending.reason.value,
            ended_at=ending.at,
            detail=ending.detail,
        )
        try:
            await asyncio.to_thread(self._rows.save_ending, row, forget_before=before)
        except MograderError as error:
            _log.warning("the ending of session %s was not saved: %s", ending.session_id, error)

    async def forget(self, key: SessionKey) -> None:
        """Remove the last ending of a key, because a new session of it runs.

        :meth:`of_session` still returns it, for pages of the old session that are open.
        """
        if self._by_key.pop(key, None) is None:
            return
        try:
            await asyncio.to_thread(self._rows.forget_ending, key.user, key.item, key.mode.value)
        except MograderError as error:
            _log.warning("the saved ending of %s was not deleted: %s", key.url, error)

    def of_session(self, session_id: str) -> Ending | None:
        """Return a session's ending, or None if it runs or its ending is no longer kept."""
        return self._by_id.get(session_id)

    def of_key(self, key: SessionKey) -> Ending | None:
        """Return the ending of the last session, or None if another was started since."""
        return self._by_key.get(key)

    def of_user(self, user: str) -> list[Ending]:
        """Return the last ending of each item and mode of a user, newest first."""
        return [each for each in reversed(self._by_key.values()) if each.key.user == user]

    def _remember(self, ending: Ending) -> None:
        self._by_id[ending.session_id] = ending
        self._by_key.pop(ending.key, None)
        self._by_key[ending.key] = ending
        for kept in (self._by_id, self._by_key):
            if len(kept) > _KEPT_IN_MEMORY:
                kept.popitem(last=False)
