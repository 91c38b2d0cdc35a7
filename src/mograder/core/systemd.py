"""The service manager (systemd) that started this process: its variables and notifications.

Every part is optional: a hub that is started by hand, or by a plain unit (B13), has no manager, and
everything here then does nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

_log = logging.getLogger(__name__)

_FIRST_DESCRIPTOR = 3

_MICROSECONDS = 1_000_000
_BEATS = 3
"""Watchdog notifications per watchdog timeout."""

READY, STOPPING = "READY=1", "STOPPING=1"
WAITS = "Waiting: another hub is at work"
"""The status of a hub's service while it waits."""
WAITS_ANSWER = "This hub waits: another one is at work on the course. Try again in a few seconds.\n"
"""The text of its answers meanwhile, all of them with status 503."""
_ALIVE = "WATCHDOG=1"


@dataclass(frozen=True, slots=True)
class Service:
    """The service manager, as the environment describes it; by default there is no manager.

    ``watchdog_seconds``: the time without a notification after which it restarts us, 0 for never.
    ``sockets``: the number of sockets that it passes to us. ``journal``: standard error goes to its
    journal.
    """

    notify_socket: str = ""
    watchdog_seconds: float = 0.0
    sockets: int = 0
    journal: bool = False

    @classmethod
    def found_in(cls, environ: Mapping[str, str]) -> Service:
        """Return the service in systemd's variables; those for another process are ignored."""
        return cls(
            notify_socket=environ.get("NOTIFY_SOCKET", ""),
            watchdog_seconds=_number(environ, "WATCHDOG_USEC", "WATCHDOG_PID") / _MICROSECONDS,
            sockets=_number(environ, "LISTEN_FDS", "LISTEN_PID"),
            journal=_is_stderr(environ.get("JOURNAL_STREAM", "")),
        )

    def tell(self, *words: str) -> None:
        """Send ``READY=1``, ``STATUS=…`` and the like to the manager; a failure is only logged."""
        if not self.notify_socket:
            return
        address = self.notify_socket
        if address.startswith("@"):  # an abstract socket address
            address = "\0" + address[1:]
        try:
            _send(address, "\n".join(words).encode())
        except OSError as error:
            _log.warning("cannot send %s to the service manager: %s", words[0], error)

    def listeners(self) -> tuple[socket.socket, ...]:
        """Return the sockets that the manager passed to us; they stay open when we restart."""
        found = []
        for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + self.sockets):
            os.set_inheritable(number, False)
            taken = socket.socket(fileno=number)
            taken.setblocking(False)
            found.append(taken)
        return tuple(found)

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Send watchdog notifications during the block.

        The event loop itself sends them, so that the manager restarts a process whose loop is
        blocked.
        """
        if not (self.notify_socket and self.watchdog_seconds):
            yield
            return

        async def beat() -> None:
            while True:
                self.tell(_ALIVE)
                await asyncio.sleep(self.watchdog_seconds / _BEATS)

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait({beating})


def _number(environ: Mapping[str, str], name: str, whose: str) -> int:
    """Return a number from a variable, or 0 if it is for another process."""
    text, pid = environ.get(name, ""), environ.get(whose, "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return 0
    return int(text)


def _is_stderr(stream: str) -> bool:
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or replaced by a test
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


NO_SERVICE = Service()


def _send(address: str, message: bytes) -> None:
    if sys.platform == "linux":
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.connect(address)
            told.setblocking(False)  # a full queue must not block the event loop
            told.sendall(message)
