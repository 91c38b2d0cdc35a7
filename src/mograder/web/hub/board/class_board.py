"""The board of one hub: its parts put together, and connected with its pages and sessions."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from mograder.core.tasks.periodic import Loop, running
from mograder.sandbox.protocol import Mode
from mograder.sessions.connections import share_editing
from mograder.sessions.session import LiveSession, SessionKey
from mograder.store.hub.board import Board, HelpRow
from mograder.web.hub.board.board_tables import BoardTables
from mograder.web.hub.board.check_log import CheckLog
from mograder.web.hub.core.hub_app import HubApp, Run
from mograder.web.hub.core.notifier import Part


class ClassBoard:
    """Hears of the reports of checks (``log``) and of requests for help."""

    def __init__(self, hub: HubApp) -> None:
        services, desk, checks = hub.services, hub.desk, hub.checks
        board = Board(services.state.engine)
        self._services, self._notifier = services, hub.notifier
        self._desk, self._checks = desk, checks
        self.tables = BoardTables(
            board, checks, desk, services.pool, services.clock, hub.pages, services.secret
        )
        self.log = CheckLog(board, checks, on_write=self._written)
        self._notifier.on_board = self.tables.note
        services.pool.checks.listener = self.log.heard
        desk.on_request = self._request_changed
        desk.on_message = self._messages_changed
        desk.on_leave = self._helper_leaves

    def at_work(self) -> AbstractAsyncContextManager[None]:
        """Write reports, and look for requests and for items' titles, during the block."""
        loops: dict[str, Loop] = {
            "titles of items": lambda _: asyncio.to_thread(self._checks.look),
            "reports of checks": self.log.run,
            "requests for help": lambda _: asyncio.to_thread(self._desk.load),
        }
        return running(loops, wake=self.log.wake)

    async def share(self, live: LiveSession) -> bool:
        """Let several pages edit one session's notebook; return whether its marimo can."""
        return await share_editing(live.endpoint, live.base_url, self._services.connections)

    def _written(self, items: frozenset[str]) -> None:
        for item in items:
            self._notifier.notify_boards(item)

    def _request_changed(self, user: str, item: str) -> None:
        self._notifier.notify_boards(item)
        self._notifier.notify(user, Part.HELP)

    def _messages_changed(self, item: str) -> None:
        self._notifier.notify_boards(item)
        for user in {live.key.user for live in self._services.pool.all() if live.key.item == item}:
            self._notifier.notify(user, Part.HELP)

    def _helper_leaves(self, request: HelpRow) -> None:
        """Close the helper's page of the student's session."""
        if request.helper == request.username:  # an instructor who tries it alone
            return
        live = self._services.pool.find(SessionKey(request.username, request.item, Mode.EDIT))
        if live is not None:
            self._services.capabilities.forget_visitor(live.id, request.helper)


def open_board(hub: HubApp) -> Run:
    """Make the board of a hub."""
    return hub.add(ClassBoard(hub)).at_work
