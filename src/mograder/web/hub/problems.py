"""The page of problems, for instructors: what is wrong now, and went wrong in the last day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import Conflict, MograderError
from mograder.core.files.disk import Space
from mograder.core.name_lookup import misnamed
from mograder.exchange.mailing import Post
from mograder.sessions.end_reasons import EndReason
from mograder.store.hub.hub_state import AuditRow, EndingRow
from mograder.store.hub.letters import LetterRow
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.items.item_pages import failed_items
from mograder.web.pages import page
from mograder.web.route import Access, Route

_LATELY = timedelta(days=1)
_MOST, _MOST_LETTERS = 60, 50
_AUDIT_LINES = 400
_NO_TROUBLE = frozenset(
    {
        *(EndReason.STOPPED, EndReason.IDLE, EndReason.REMOVED),
        *(EndReason.REPLACED, EndReason.REWRITTEN),
    }
)


class CurrentProblem(StrEnum):
    UNSANDBOXED = "unsandboxed"
    DEV = "dev"
    RULES = "rules"
    """The rules of visibility, or a platform's openings, cannot be read, so items are hidden."""

    DISK = "disk"


@dataclass(frozen=True, slots=True)
class RecentProblems:
    """``current`` problems, and those of the last day, the newest first; ``free`` is in bytes.

    ``mail`` is why the mail server sends nothing, else ""; ``letters`` were not sent. ``misnamed``
    are the tables of items in the settings that no item has for its name, with the item meant.
    ``gradebook`` is why the gradebook cannot be opened, else "". ``submissions`` are
    the assignments whose submissions cannot be read, with the reason.
    """

    current: tuple[CurrentProblem, ...]
    endings: tuple[EndingRow, ...]
    refusals: tuple[AuditRow, ...]
    free: int
    mail: str = ""
    letters: tuple[LetterRow, ...] = ()
    misnamed: tuple[tuple[str, str], ...] = ()
    gradebook: str = ""
    submissions: tuple[tuple[str, str], ...] = ()

    @property
    def now(self) -> int:
        lasting = (*self.current, *self.misnamed, *self.submissions)
        return len(lasting) + bool(self.gradebook)

    @property
    def unsent(self) -> int:
        """The number of letters that were not sent, with one more for a server that takes none."""
        return len(self.letters) + bool(self.mail)

    @property
    def count(self) -> int:
        """The number of all but refused actions, for the navigation and *Today*."""
        return self.now + len(self.endings) + self.unsent


def problems(request: Request, app: CurrentApp) -> Response:
    return page(
        request, "problems.html", here="problems", problems=gather(app), failed=failed_items(app)
    )


def gather(app: HubApp) -> RecentProblems:
    """Return the machine's state, sessions that ended badly and refused actions; reads the disk."""
    services = app.services
    since = services.clock.now() - _LATELY
    endings = [row for row in services.state.endings(since) if row.reason not in _NO_TROUBLE]
    lines = services.state.recent_audit(_AUDIT_LINES)
    refusals = [row for row in lines if row.outcome == "refused" and row.at >= since]
    space, post, gradebook = services.workspaces.space(), app.find(Post), ""
    try:
        app.book()
    except MograderError as error:
        gradebook = str(error)
    return RecentProblems(
        current=tuple(_current(app, space)),
        endings=tuple(reversed(endings))[:_MOST],
        refusals=tuple(refusals)[:_MOST],
        free=space.free,
        mail=post.problem if post else "",
        letters=post.letters.failed(since, _MOST_LETTERS) if post else (),
        misnamed=misnamed(
            services.loaded.settings.items, [each.name for each in services.releases.all()]
        ),
        gradebook=gradebook,
        submissions=tuple(_unread(app)),
    )


def _unread(app: HubApp) -> Iterator[tuple[str, str]]:
    for name in app.services.releases.assignments():
        try:
            app.submissions.check(name)
        except MograderError as error:
            yield name, str(error)


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


ROUTES = (Route("GET", "/course/problems", problems, Access.INSTRUCTOR),)
