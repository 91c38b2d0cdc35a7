"""The service manager that started us: what systemd tells a service, and what it wants to hear.

Every part is optional: a hub that is started by hand, or by the seed's plain unit (B13), has no
manager to speak to, and everything here then does nothing.
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
"""Where systemd puts the first socket that it listens on for us."""

_MICROSECONDS = 1_000_000
_BEATS = 3
"""Signs of life in the time after which the manager would give us up."""

READY, STOPPING = "READY=1", "STOPPING=1"
_ALIVE = "WATCHDOG=1"


@dataclass(frozen=True, slots=True)
class Service:
    """What the environment says of the manager; the default is that there is none.

    ``watchdog_seconds``: after how long a silence it restarts us, 0 for never. ``sockets``: how
    many it listens on for us. ``journal``: our standard error goes to its journal.
    """

    notify_socket: str = ""
    watchdog_seconds: float = 0.0
    sockets: int = 0
    journal: bool = False

    @classmethod
    def found_in(cls, environ: Mapping[str, str]) -> Service:
        """Read systemd's variables; what is meant for another process counts as absent."""
        return cls(
            notify_socket=environ.get("NOTIFY_SOCKET", ""),
            watchdog_seconds=_number(environ, "WATCHDOG_USEC", "WATCHDOG_PID") / _MICROSECONDS,
            sockets=_number(environ, "LISTEN_FDS", "LISTEN_PID"),
            journal=_is_stderr(environ.get("JOURNAL_STREAM", "")),
        )

    def tell(self, *words: str) -> None:
        """Tell the manager ``READY=1``, ``STATUS=…`` and the like; a failure is only logged."""
        if not self.notify_socket:
            return
        address = self.notify_socket
        if address.startswith("@"):  # Linux's names without a file
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.connect(address)
                told.setblocking(False)  # one that does not read must not hold up the loop
                told.sendall("\n".join(words).encode())
        except OSError as error:
            _log.warning("the service manager cannot be told %s: %s", words[0], error)

    def listeners(self) -> tuple[socket.socket, ...]:
        """Take over the sockets that the manager listens on for us, which outlive our restarts."""
        found = []
        for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + self.sockets):
            os.set_inheritable(number, False)
            taken = socket.socket(fileno=number)
            taken.setblocking(False)
            found.append(taken)
        return tuple(found)

    @asynccontextmanager
    async def kept_alive(self) -> AsyncIterator[None]:
        """Show the manager during the block that the event loop turns.

        The signs come from the loop itself: one that stands still gives none, and is restarted.
        """
        if not (self.notify_socket and self.watchdog_seconds):
            yield
            return
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait({beating})

    async def _beat(self) -> None:
        while True:
            self.tell(_ALIVE)
            await asyncio.sleep(self.watchdog_seconds / _BEATS)


def _number(environ: Mapping[str, str], name: str, whose: str) -> int:
    """Return a count that is meant for this process, or 0."""
    text, pid = environ.get(name, ""), environ.get(whose, "")
    if not text.isdecimal() or (pid and pid != str(os.getpid())):
        return 0
    return int(text)


def _is_stderr(stream: str) -> bool:
    """Tell whether standard error is still the journal's: ``device:inode`` says which one was."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or a test's own
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


NO_SERVICE = Service()
"""What whoever is started by hand has."""
