"""One cell put back while the notebook is open: its own page replaces the cell and saves it.

A text that the hub writes below a running marimo would be lost at the next save, or replace what
was typed since the last one. Only marimo's page knows what is typed, so the bar above it passes the
change on (``static/frame-cell.js``, ``session-frame.js``), and the file is saved as always. The
page is the student's: it may say anything, so the caller looks into the file.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass

from mograder.core.errors import Conflict, NotFound
from mograder.notebook.versions import CodeChange
from mograder.sessions.session import LiveSession
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy
from mograder.web.hub.core.responses import Body, Done
from mograder.web.route import SELF, Route

_SECONDS = 12.0
"""How long the page has: it hears within 2 seconds, and gives up 8 seconds after that."""


class CellToPut(Body):
    """A cell that the open page is to replace; ``mark`` is the request's, for its answer.

    The cell is the one at ``index`` with the code ``before``, or else the only one with that code.
    """

    mark: str
    index: int
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Asked:
    cell: CellToPut
    answered: asyncio.Future[bool]


class OpenEditors:
    """Asks the pages of open notebooks to replace a cell, for one event loop.

    Mutable state: ``_asked``, the one cell that is asked of a session's page, by the session's id.
    """

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

    async def replace(self, session: str, change: CodeChange, tell: Callable[[], None]) -> bool:
        """Return whether the page says that it has replaced the cell and saved it.

        ``tell`` is called once the page can ask for the change.

        Raises: :class:`Conflict` while the page is asked for another cell.
        """
        if session in self._asked:
            raise Conflict(
                "Another cell of this notebook is just being put back.",
                hint="Wait a moment, then try again.",
            )
        cell = CellToPut(mark=secrets.token_urlsafe(6), **asdict(change))
        asked = _Asked(cell, asyncio.get_running_loop().create_future())
        self._asked[session] = asked
        tell()
        try:
            async with asyncio.timeout(_SECONDS):
                return await asked.answered
        except TimeoutError:
            return False
        finally:
            del self._asked[session]

    def asked_of(self, session: str) -> CellToPut | None:
        """Return what is asked of a session's page."""
        asked = self._asked.get(session)
        return None if asked is None else asked.cell

    def answer(self, session: str, mark: str, *, done: bool) -> None:
        """Take the page's answer. Raises: :class:`NotFound` where this is not asked any more."""
        asked = self._asked.get(session)
        if asked is None or asked.cell.mark != mark:
            raise NotFound("This cell is not asked for any more.")
        if not asked.answered.done():
            asked.answered.set_result(done)


async def answer(copy: KnownCopy, app: CurrentApp, mark: str, *, done: bool) -> Done:
    """Hear from the page of an open notebook whether it has put a cell back."""
    live = app.services.pool.find(copy.key)
    app.of(OpenEditors).answer("" if live is None else live.id, mark, done=done)
    return Done()


def asked_of_page(app: HubApp, caller: Caller, live: LiveSession) -> CellToPut | None:
    """Return the cell that a page of this session is to replace; only its owner's is asked."""
    return app.of(OpenEditors).asked_of(live.id) if caller.username == live.key.user else None


ROUTES = (Route("POST", "/standing/{user}/{a}", answer, SELF, "Copies"),)
