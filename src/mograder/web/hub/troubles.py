"""What went wrong lately, gathered for the instructors' page; the template has the words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from mograder.core.disk import Space
from mograder.core.errors import Conflict
from mograder.sessions.endings import EndReason
from mograder.store.hub_state import AuditRow, EndingRow
from mograder.web.hub.desk import Desk

_LATELY = timedelta(hours=24)
_MOST = 60
_AUDIT_LINES = 400
_NO_TROUBLE = frozenset({EndReason.STOPPED, EndReason.IDLE, EndReason.REPLACED, EndReason.REMOVED})


class Standing(StrEnum):
    """What is wrong now, until somebody mends it."""

    UNSANDBOXED = "unsandboxed"
    DEV = "dev"
    RULES = "rules"
    """The file of visibility rules cannot be read, so everything is hidden."""

    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Troubles:
    """``standing`` lasts, the others are of the last day, the newest first."""

    standing: tuple[Standing, ...]
    endings: tuple[EndingRow, ...]
    refusals: tuple[AuditRow, ...]
    free: int


def gather(desk: Desk) -> Troubles:
    """Look at the machine, the sessions that ended badly, and who was refused; reads the disk."""
    services = desk.services
    since = services.clock.now() - _LATELY
    endings = [row for row in services.state.endings(since) if row.reason not in _NO_TROUBLE]
    lines = services.state.recent_audit(_AUDIT_LINES)
    refusals = [row for row in lines if row.outcome == "refused" and row.at >= since]
    space = services.workspaces.space()
    return Troubles(
        standing=tuple(_standing(desk, space)),
        endings=tuple(reversed(endings))[:_MOST],
        refusals=tuple(refusals)[:_MOST],
        free=space.free,
    )


def _standing(desk: Desk, space: Space) -> list[Standing]:
    services, found = desk.services, []
    if not services.sandboxed:
        found.append(Standing.UNSANDBOXED)
    if services.dev:
        found.append(Standing.DEV)
    try:
        desk.visibility.all()
    except Conflict:
        found.append(Standing.RULES)
    if space.free < 2 * services.loaded.settings.limits.disk_reserve.of(space.total):
        found.append(Standing.DISK)
    return found
