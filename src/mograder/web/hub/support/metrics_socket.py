"""The hub's metrics on a Unix socket of their own, for an agent on this machine without a token.

Who may read them is decided by the file system: the socket is the hub's user's and group's.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mograder.core.errors import Conflict, InvalidInput
from mograder.web.hub.support.metrics import Metrics

_MODE = 0o660
_BACKLOG = 16
_LONGEST_PATH = 107
_NOT_FOUND = "Metrics are at /metrics.\n"


@contextmanager
def metrics_listener(path: Path) -> Iterator[socket.socket]:
    """Listen at a path until the end of the block; a socket left over from before is replaced.

    Raises: :class:`Conflict` when something else is there, :class:`InvalidInput` when no socket
    can be made there.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise InvalidInput(
            f"The path of [hub] metrics_socket is longer than {_LONGEST_PATH} bytes.",
            hint="Choose a shorter one, such as /run/mograder/metrics.sock.",
        )
    _sweep(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Before the socket has a name, so that it never is open to more than it should be.
        os.fchmod(listener.fileno(), _MODE)
        listener.bind(str(path))
        path.chmod(_MODE)
    except OSError as error:
        listener.close()
        raise InvalidInput(
            f"No socket can be made at {path}: {error.strerror}.",
            hint="Correct [hub] metrics_socket; its directory must exist.",
        ) from error
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    try:
        yield listener
    finally:
        listener.close()
        with suppress(OSError):
            path.unlink()


def metrics_app(metrics: Metrics) -> ASGIApp:
    """Build the app behind that socket: the metrics and nothing else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        found = scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD")
        response = metrics.response() if found else PlainTextResponse(_NOT_FOUND, 404)
        await response(scope, receive, send)

    return app


def _sweep(path: Path) -> None:
    try:
        found = path.lstat()
    except OSError:
        return  # nothing there, or nothing to be seen: binding will tell
    if not stat.S_ISSOCK(found.st_mode):
        raise Conflict(
            f"There is a file at {path} that is no socket.", hint="Correct [hub] metrics_socket."
        )
    path.unlink()
