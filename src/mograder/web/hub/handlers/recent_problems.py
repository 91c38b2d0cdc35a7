"""Recent problems, gathered for the instructors' page; the template has the texts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from mograder.core.errors import Conflict
from mograder.core.files.disk import Space
from mograder.sessions.end_reasons import EndReason
from mograder.store.hub.hub_state import AuditRow, EndingRow
from mograder.web.hub.support.hub_app import HubApp

_LATELY = timedelta(hours=24)
_MOST = 60
_AUDIT_LINES = 400
_NO_TROUBLE = frozenset(
    {
        *(EndReason.STOPPED, EndReason.IDLE, EndReason.REMOVED),
        *(EndReason.REPLACED, EndReason.REWRITTEN),
    }
)


class CurrentProblem(StrEnum):
    """A problem that lasts until it is repaired."""

    UNSANDBOXED = "unsandboxed"
    DEV = "dev"
    RULES = "rules"
    """The file of visibility rules cannot be read, so everything is hidden."""

    DISK = "disk"


@dataclass(frozen=True, slots=True)
class RecentProblems:
    """``current`` problems, and those of the last day, the newest first; ``free`` is in bytes."""

    current: tuple[CurrentProblem, ...]
    endings: tuple[EndingRow, ...]
    refusals: tuple[AuditRow, ...]
    free: int


def gather(app: HubApp) -> RecentProblems:
    """Return the machine's state, sessions that ended badly and refused actions; reads the disk."""
    services = app.services
    since = services.clock.now() - _LATELY
    endings = [row for row in services.state.endings(since) if row.reason not in _NO_TROUBLE]
    lines = services.state.recent_audit(_AUDIT_LINES)
    refusals = [row for row in lines if row.outcome == "refused" and row.at >= since]
    space = services.workspaces.space()
    return RecentProblems(
        current=tuple(_current(app, space)),
        endings=tuple(reversed(endings))[:_MOST],
        refusals=tuple(refusals)[:_MOST],
        free=space.free,
    )


def _current(app: HubApp, space: Space) -> list[CurrentProblem]:
    services, found = app.services, []
    if not services.sandboxed:
        found.append(CurrentProblem.UNSANDBOXED)
    if services.dev:
        found.append(CurrentProblem.DEV)
    try:
        app.visibility.all()
    except Conflict:
        found.append(CurrentProblem.RULES)
    if space.free < 2 * services.loaded.settings.limits.disk_reserve.of(space.total):
        found.append(CurrentProblem.DISK)
    return found
