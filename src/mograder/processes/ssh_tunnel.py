"""An SSH tunnel (``ssh -N -L``) to a hub, for the duration of one command.

The hub is then reached at a loopback address of this machine (compatibility-0.3.16.md 10). The
user's own ``ssh`` is run, with its configuration, agent and known hosts; it asks for a password on
the terminal.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mograder.core.errors import InvalidInput, RemoteFailed, TimedOut
from mograder.core.operating_system import listeners, user_id

_LOOPBACK = "127.0.0.1"
_OPEN_SECONDS = 90.0
"""How long ssh may take, including the time to type a password."""

_STEP_SECONDS = 0.1
_END_SECONDS = 5.0
_MAX_WORDS = 4000

_FIXED = (
    # End if the local port is taken: another program listens on it, not the hub.
    *("-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"),
    # A shared connection, and its port forwarding, would outlive this command.
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
)


@contextlib.contextmanager
def ssh_tunnel(host: str, *, port: int, options: Sequence[str] = ()) -> Iterator[str]:
    """Yield the local URL of the hub on ``host``; the tunnel is closed with the context.

    ``port`` is the hub's port on its own machine; ``options`` are further arguments of ssh.

    Raises:
        InvalidInput: The host's name is not valid.
        RemoteFailed: ssh is missing, or ended; the message contains its output.
        TimedOut: It did not open the tunnel within 90 seconds.
    """
    if not host or host.startswith("-") or not host.isprintable():
        raise InvalidInput(
            f"{host!r} is not the name of an SSH host.", hint="Give it as HOST or USER@HOST."
        )
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        local = int(listener.getsockname()[1])
    forward = f"{_LOOPBACK}:{local}:localhost:{port}"
    with tempfile.TemporaryFile() as words:
        process = _start(["ssh", "-N", *_FIXED, *options, "-L", forward, "--", host], words)
        try:
            _wait_until_open(process, words, host, local)
            yield f"http://{_LOOPBACK}:{local}"
        finally:
            process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(argv: list[str], words: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=words
        )
    except OSError as error:
        raise RemoteFailed(
            f"ssh cannot be started: {error.strerror}.",
            hint="Install an SSH client, or reach the hub by --url.",
        ) from error


def _wait_until_open(
    process: subprocess.Popen[bytes], words: IO[bytes], host: str, port: int
) -> None:
    for _ in range(int(_OPEN_SECONDS / _STEP_SECONDS)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STEP_SECONDS)
            raise RemoteFailed(
                f"The SSH tunnel to {host} could not be opened: {_said(words, process)}",
                hint=f"Try `ssh {host}` by itself.",
            )
        if _answers(port) and _is_ours(port):
            return
    raise TimedOut(
        f"The SSH tunnel to {host} did not open in {_OPEN_SECONDS:.0f} seconds.",
        hint=f"Try `ssh {host}` by itself.",
    )


def _said(words: IO[bytes], process: subprocess.Popen[bytes]) -> str:
    words.seek(0)
    text = words.read(_MAX_WORDS).decode("utf-8", "replace").strip()
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return shown or f"it ended with status {process.returncode}."


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, port), _STEP_SECONDS):
        return True
    return False


def _is_ours(port: int) -> bool:
    """Return whether only this user listens on the port: no other user may receive the token.

    Without ``/proc/net/tcp`` (not Linux) return true: ssh ends if the port is taken.
    """
    with contextlib.suppress(OSError):
        return set(listeners(Path("/proc/net/tcp"), port)) == {user_id()}
    return True
