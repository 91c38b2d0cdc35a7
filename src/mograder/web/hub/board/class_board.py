"""The parts of the board of one hub, put together, and connected with its pages and sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from mograder.core.tasks.periodic import Loop, running
from mograder.sandbox.protocol import Mode
from mograder.sessions.connections import share_editing
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub.board import Board, HelpRow
from mograder.web.hub.board.board_tables import BoardTables
from mograder.web.hub.board.check_log import CheckLog
from mograder.web.hub.core.help_desk import HelpDesk
from mograder.web.hub.core.hub_app import HubApp, Run
from mograder.web.hub.core.item_checks import ItemChecks
from mograder.web.hub.core.notifier import Notifier, Part
from mograder.web.hub.core.services import Services


@dataclass(frozen=True, slots=True)
class ClassBoard:
    """The board's parts. ``log.heard`` is the listener of the sessions' reports."""

    checks: ItemChecks
    log: CheckLog
    desk: HelpDesk
    tables: BoardTables
    share: Callable[[LiveSession], Awaitable[bool]]
    """Lets several pages edit one session's notebook; returns whether its marimo can."""

    def at_work(self) -> AbstractAsyncContextManager[None]:
        """Write reports, and look for requests and for items' titles, during the block."""
        loops: dict[str, Loop] = {
            "titles of items": self._titles,
            "reports of checks": self.log.run,
            "requests for help": self._help,
        }
        return running(loops, wake=self.log.wake)

    async def _help(self, _: asyncio.Event) -> None:
        await asyncio.to_thread(self.desk.load)

    async def _titles(self, _: asyncio.Event) -> None:
        await asyncio.to_thread(self.checks.look)


def open_board(hub: HubApp) -> Run:
    """Make the board of a hub, which hears of reports and of requests for help."""
    services, notifier, desk, checks = hub.services, hub.notifier, hub.desk, hub.checks
    board = Board(services.state.engine)
    tables = BoardTables(
        board, checks, desk, services.pool, services.clock, hub.pages, services.secret
    )
    notifier.on_board = tables.note
    log = CheckLog(board, checks, on_write=partial(_written, notifier))
    services.pool.checks.listener = log.heard
    desk.on_request = partial(_request_changed, notifier)
    desk.on_message = partial(_messages_changed, services, notifier)
    desk.on_leave = partial(_helper_leaves, services)
    return hub.add(ClassBoard(checks, log, desk, tables, partial(_share, services))).at_work


async def _share(services: Services, live: LiveSession) -> bool:
    return await share_editing(live.endpoint, live.base_url, services.connections)


def _written(notifier: Notifier, items: frozenset[str]) -> None:
    for item in items:
        notifier.notify_boards(item)


def _request_changed(notifier: Notifier, user: str, item: str) -> None:
    notifier.notify_boards(item)
    notifier.notify(user, Part.HELP)


def _messages_changed(services: Services, notifier: Notifier, item: str) -> None:
    notifier.notify_boards(item)
    for user in {live.key.user for live in services.pool.all() if live.key.item == item}:
        notifier.notify(user, Part.HELP)


def _helper_leaves(services: Services, request: HelpRow) -> None:
    """Close the helper's page of the student's session."""
    if request.helper == request.username:  # an instructor who tries it alone
        return
    live = services.pool.find(SessionKey(request.username, request.item, Mode.EDIT))
    if live is not None:
        services.capabilities.forget_visitor(live.id, request.helper)
