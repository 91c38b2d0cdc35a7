"""Pages about an update: the instructors' page of an item's update, and one copy's result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import Username
from mograder.sessions.student_copies import CopyOf
from mograder.sessions.update_offers import UpdateOverview
from mograder.store.copies.copy_updates import (
    CopyUpdateRow,
    PreviewLine,
    PreviewState,
    UpdateState,
    cells_in,
    lines_in,
)
from mograder.web.hub.copies.hub_updates import HubUpdates
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp
from mograder.web.hub.core.items import item_name
from mograder.web.pages import outcome, page
from mograder.web.sheets import sheet_of


@dataclass(frozen=True, slots=True)
class StudentLine:
    """One copy: what the update would do to it, and what the last offer has done."""

    user: str
    planned: PreviewLine | None
    done: CopyUpdateRow | None

    @property
    def conflicts(self) -> int:
        """The number of places to look at in a merged copy."""
        return len(cells_in(self.done).conflicts) if self.done else 0

    @property
    def attention(self) -> int:
        """The place in the list: copies that cannot be merged, then those with conflicts."""
        if self.planned is not None and self.planned.reason:
            return 0
        if self.done is not None and self.done.state is UpdateState.REFUSED:
            return 0
        conflicts = self.conflicts or (self.planned is not None and self.planned.conflicts)
        return 1 if conflicts else 2


@dataclass(frozen=True, slots=True)
class PreviewCounts:
    """The copies of a preview: how many merge cleanly, with conflicts, not, or need nothing."""

    clean: int
    conflicts: int
    refused: int
    nothing: int


async def show(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show an item's update to instructors."""
    item = item_name(name)
    release = await to_thread.run_sync(app.services.releases.get, item)
    found = await app.of(HubUpdates).offers.overview(item)
    if release is None and found.offer is None:
        raise NotFound("There is no such item.")
    count = await app.copy_counts.look()
    preview = found.preview if found.previewed else None
    planned = lines_in(preview) if preview is not None else ()
    done, _ = outcome(request)
    return page(
        request,
        "update.html",
        here="items",
        name=item,
        release=release,
        begun=count.begun[str(item)],
        found=found,
        preview=preview,
        running=preview is not None and preview.state is PreviewState.RUNNING,
        counts=_counts(planned),
        states_of=_states(found),
        sheet=sheet_of(_lines(planned, found.copies), request),
        done=done,
    )


async def look(name: str, user: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Show what an update would do to one copy, cell by cell; none of it runs."""
    copy = CopyOf(Username.of_account(user), item_name(name))
    problem, proposal = "", None
    try:
        proposal = await app.of(HubUpdates).copies.propose(copy)
    except InvalidInput as error:
        problem = error.message
    await app.audit.record_foreign(request, caller, copy.user, "read", f"{copy.user}/{copy.item}")
    return page(
        request,
        "update_look.html",
        here="items",
        copy=copy,
        proposal=proposal,
        problem=problem,
        standing=await app.of(HubUpdates).copies.standing(copy),
    )


def _counts(lines: Sequence[PreviewLine]) -> PreviewCounts:
    refused = sum(bool(line.reason) for line in lines)
    conflicts = sum(bool(line.conflicts) for line in lines)
    nothing = sum(not line.changed and not line.reason for line in lines)
    clean = len(lines) - refused - conflicts - nothing
    return PreviewCounts(clean, conflicts, refused, nothing)


def _states(found: UpdateOverview) -> dict[str, int]:
    counted = dict.fromkeys((state.value for state in UpdateState), 0)
    for row in found.copies:
        counted[row.state.value] += 1
    return counted


def _lines(planned: Sequence[PreviewLine], copies: Sequence[CopyUpdateRow]) -> list[StudentLine]:
    """Return a line for each copy that is known, those that need attention first."""
    plans = {line.user: line for line in planned}
    rows = {row.username: row for row in copies}
    lines = [StudentLine(user, plans.get(user), rows.get(user)) for user in {*plans, *rows}]
    return sorted(lines, key=lambda line: (line.attention, line.user))
