"""How the hub connects to a session's server: on its own machine by a Unix socket."""

from __future__ import annotations

import socket
from typing import Protocol

import aiohttp

from mograder.sandbox.protocol import Endpoint


class Connections(Protocol):
    """Connects to the servers of sessions, wherever they run."""

    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        """Return a connector to one session's server; with ``keepalive`` None for one request each.

        ``keepalive`` is how long an unused connection is kept, in seconds.
        """
        ...

    def is_dead(self, endpoint: Endpoint) -> bool:
        """Return whether the server certainly accepts no more connections; does not block."""
        ...


class LocalConnections:
    """Connections to sessions on the hub's own machine."""

    def connector(
        self, endpoint: Endpoint, *, limit: int = 100, keepalive: float | None = None
    ) -> aiohttp.BaseConnector:
        """Return a connector to a Unix socket."""
        path = str(endpoint.socket)
        if keepalive is None:
            return aiohttp.UnixConnector(path, limit=limit, force_close=True)
        return aiohttp.UnixConnector(path, limit=limit, keepalive_timeout=keepalive)

    def is_dead(self, endpoint: Endpoint) -> bool:
        """Return whether the socket refuses connections."""
        with socket.socket(socket.AF_UNIX) as line:
            line.setblocking(False)
            try:
                line.connect(str(endpoint.socket))
            except (ConnectionRefusedError, FileNotFoundError):
                return True
            except OSError:  # its backlog is full, or this process has too many open files
                pass
        return False
