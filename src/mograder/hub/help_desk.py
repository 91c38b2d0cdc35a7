"""The open requests for help and the messages; the database decides, each change is read back."""

from __future__ import annotations

import asyncio
import contextlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from typing import TypeVar

from mograder.core.clock import Clock
from mograder.core.errors import MograderError
from mograder.hub.notifier import Notifier, Part
from mograder.store.hub.board import Board, HelpRow, MessageRow

T = TypeVar("T")


class HelpDesk:
    """Requests and messages; for one event loop.

    ``users_of`` returns the users who have an item open, ``leave`` closes the page of a request's
    helper. Mutable state: ``_requests``, by user and item, the oldest first, and ``_messages``;
    ``_shared``, the session that a helper may edit, by user and item.
    """

    def __init__(
        self,
        board: Board,
        clock: Clock,
        notifier: Notifier,
        users_of: Callable[[str], Iterable[str]],
        leave: Callable[[HelpRow], None],
    ) -> None:
        self._board = board
        self._clock = clock
        self._notifier = notifier
        self._users_of = users_of
        self._leave = leave
        self._requests: dict[tuple[str, str], HelpRow] = {}
        self._messages: tuple[MessageRow, ...] = ()
        self._shared: dict[tuple[str, str], str] = {}
        self._turn = asyncio.Lock()

    def load(self) -> None:
        self._board.forget_old(self._clock.now())
        self._requests, self._messages = self._read()

    # ---- memory only

    def of_copy(self, user: str, item: str) -> HelpRow | None:
        return self._requests.get((user, item))

    def requests(self, item: str = "") -> tuple[HelpRow, ...]:
        return tuple(each for each in self._requests.values() if not item or each.item == item)

    def messages(self, item: str, user: str = "") -> tuple[MessageRow, ...]:
        now = self._clock.now()
        shown = (each for each in self._messages if each.item == item and each.until > now)
        return tuple(each for each in shown if not user or each.username in ("", user))

    def took(self, helper: str, user: str, item: str) -> bool:
        """Return whether a person has taken the request of a copy, and so may read the copy."""
        request = self.of_copy(user, item)
        return request is not None and bool(helper) and request.helper == helper

    def works_with(self, helper: str, user: str, item: str) -> bool:
        request = self.of_copy(user, item)
        return request is not None and request.together and self.took(helper, user, item)

    def is_shared(self, user: str, item: str, session_id: str) -> bool:
        """Return whether the pages of a session, loaded again, edit the notebook together."""
        return self._shared.get((user, item)) == session_id

    def share(self, user: str, item: str, session_id: str) -> None:
        """Note that they do, and tell them. A session that is started later is not shared."""
        self._shared[user, item] = session_id
        self._notifier.notify(user, Part.HELP)

    # ---- changes

    async def ask(self, request: HelpRow) -> bool:
        """Add a request; return False if the copy has one already."""
        return await self._do(partial(self._board.ask, request))

    async def take(self, item: str, user: str, helper: str) -> None:
        """Give a request to a helper. Raises: NotFound, Conflict."""
        await self._do(partial(self._board.take, item, user, helper))

    async def join(self, item: str, user: str, helper: str) -> None:
        """Let the helper of a request enter the session. Raises: NotFound."""
        await self._do(partial(self._board.join, item, user, helper))

    async def end(self, item: str, user: str) -> HelpRow | None:
        return await self._do(partial(self._board.end, item, user))

    async def send(self, item: str, text: str, sender: str, until: datetime, user: str = "") -> int:
        """Send to an item's open notebooks, or a user's; return the number. Raises: Conflict."""
        message = MessageRow(0, item, text, sender, self._clock.now(), until, user)
        return await self._do(partial(self._board.send, message))

    async def take_back(self, item: str, number: int) -> bool:
        return await self._do(partial(self._board.take_back, item, number))

    async def look(self) -> None:
        async with self._turn:
            requests, messages = await asyncio.to_thread(self._read)
            before, told = self._requests, self._messages
            self._requests, self._messages = requests, messages
            self._shared = {each: of for each, of in self._shared.items() if each in requests}
        for place in before.keys() | requests.keys():
            old, new = before.get(place), requests.get(place)
            if old == new:
                continue
            if old is not None and old.together and not self.works_with(old.helper, *place):
                self._leave(old)
            user, item = place
            self._notifier.notify_boards(item)
            self._notifier.notify(user, Part.HELP)
        for item in {each.item for each in {*told} ^ {*messages}}:
            self._notifier.notify_boards(item)
            for user in self._users_of(item):
                self._notifier.notify(user, Part.HELP)

    async def _do(self, change: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(change)
        finally:
            with contextlib.suppress(MograderError):  # the next look reads it
                await self.look()

    def _read(self) -> tuple[dict[tuple[str, str], HelpRow], tuple[MessageRow, ...]]:
        now = self._clock.now()
        requests = {(row.username, row.item): row for row in self._board.requests(now)}
        return requests, self._board.messages(now)


_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\s*\n\s*")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Categories of characters that are not shown, or turn the direction of the text around them."""


def plain_words(text: str, most: int, *, lines: bool = False) -> str:
    """Return a text of at most ``most`` characters; on one line unless ``lines``."""
    shown = "".join(
        char if char == "\n" or unicodedata.category(char) not in _HIDDEN else " "
        for char in text[: 4 * most].replace("\r\n", "\n")
    )
    joined = _LINES.sub("\n" if lines else " ", _SPACES.sub(" ", shown))
    return joined.strip()[:most].rstrip()
