"""The one connection to the server: used by one thread at a time, with its last error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from anyio import to_thread

from mograder.clients.course_server import Transport
from mograder.core.errors import (
    Busy,
    MograderError,
    NotAuthenticated,
    RemoteFailed,
    TimedOut,
)
from mograder.web.student.connector import Connector, demand_owner

T = TypeVar("T")

_AWAY = (RemoteFailed, Busy, TimedOut)


class ServerConnection:
    """The login, and whether the server could be reached at the last request."""

    def __init__(self, connector: Connector, owner: Callable[[], str]) -> None:
        """Store the connector; ``owner`` returns the user whose work is in the folder, or ""."""
        self.connector = connector
        self._owner = owner
        self.trouble = ""
        """Why the server cannot be used at the moment; empty when it can."""
        self.first_look: asyncio.Task[str] | None = None
        """The sync with the server that the dashboard began by itself, None without a login."""
        self._transport: Transport | None = None
        self._turn = asyncio.Lock()

    @property
    def user(self) -> str:
        """The user who is signed in, or ""."""
        return "" if self._transport is None else self._transport.user

    async def resume(self) -> None:
        """Restore the last connection, if its credentials are still stored."""
        async with self._turn:
            try:
                self._transport = await to_thread.run_sync(self._resumed)
            except MograderError as error:  # an invalid stored address must not stop the dashboard
                self.trouble = str(error)

    async def sign_in(self, way: str, fields: Mapping[str, str]) -> None:
        """Sign in by a filled-in form. Raises: MograderError with a message for the student."""
        async with self._turn:
            fresh = await to_thread.run_sync(
                lambda: self.connector.sign_in(way, fields, self._owner())
            )
            self._hang_up()
            self._transport, self.trouble = fresh, ""

    async def sign_out(self) -> None:
        """Delete the login."""
        async with self._turn:
            self._hang_up()
            await to_thread.run_sync(self.connector.sign_out)

    async def use(self, do: Callable[[Transport], T]) -> T:
        """Return the result of ``do`` with the connection.

        Raises: NotAuthenticated without a login; what ``do`` raises.
        """
        async with self._turn:
            if self._transport is None:
                raise NotAuthenticated("Nobody is signed in.", hint="Sign in first.")
            try:
                # Cancellation waits for the thread: the transport allows one thread at a time.
                result = await to_thread.run_sync(do, self._transport)
            except (*_AWAY, NotAuthenticated) as error:
                signed_out = isinstance(error, NotAuthenticated)
                self.trouble = error.message if signed_out else str(error)
                raise
            self.trouble = ""
            return result

    async def close(self) -> None:
        """Close the connection; the login stays stored."""
        async with self._turn:
            self._hang_up()

    def _resumed(self) -> Transport | None:
        found = self.connector.resume()
        if found is None:
            return None
        try:
            demand_owner(self._owner(), found.user)
        except MograderError:
            found.close()
            raise
        return found

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._transport = None
