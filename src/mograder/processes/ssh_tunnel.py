"""A way to a hub that only SSH reaches: ``ssh -N -L``, for as long as one command runs.

The hub is then an address of this machine (compatibility-0.3.16.md 10). The user's own ``ssh`` does
the work, with its configuration, its agent and its known hosts; a password is asked on the
terminal.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mograder.core.errors import InvalidInput, RemoteFailed, TimedOut

_LOOPBACK = "127.0.0.1"
_OPEN_SECONDS = 90.0
"""How long ssh may take, a person who types a password included."""

_STEP_SECONDS = 0.1
_END_SECONDS = 5.0
_MAX_WORDS = 4000
_LISTENING = "0A"
"""The kernel's number of that state, in ``/proc/net/tcp``."""

_FIXED = (
    # A port that is taken must end it: what listens there is not the hub.
    *("-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"),
    # A shared connection would outlive this command, and the forwarding with it.
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),
)


@contextlib.contextmanager
def ssh_tunnel(host: str, *, port: int, options: Sequence[str] = ()) -> Iterator[str]:
    """Yield the URL at which the hub on ``host`` answers here; the tunnel ends with the context.

    ``port`` is the hub's on its own machine; ``options`` are further words for ssh.

    Raises:
        InvalidInput: The host is no host's name.
        RemoteFailed: ssh is missing, or ended; the message has its own words.
        TimedOut: It did not open the tunnel in time.
    """
    if not host or host.startswith("-") or not host.isprintable():
        raise InvalidInput(
            f"{host!r} is not the name of an SSH host.", hint="Give it as HOST or USER@HOST."
        )
    local = _free_port()
    forward = f"{_LOOPBACK}:{local}:localhost:{port}"
    with tempfile.TemporaryFile() as words:
        process = _start(["ssh", "-N", *_FIXED, *options, "-L", forward, "--", host], words)
        try:
            _wait_until_open(process, words, host, local)
            yield f"http://{_LOOPBACK}:{local}"
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        return int(listener.getsockname()[1])


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
    """Tell whether this user listens there: a token must not go to whoever was quicker.

    Where the kernel does not tell (not Linux), ssh's own end on a taken port has to do.
    """
    try:
        return set(listeners(Path("/proc/net/tcp"), port)) == {os.geteuid()}
    except OSError:
        return True


def listeners(table: Path, port: int) -> list[int]:
    """Return the uids that listen on a TCP port, by a table of ``/proc/net``.

    Raises: ``OSError``.
    """
    rows = [line.split() for line in table.read_text("ascii", "replace").splitlines()[1:]]
    found = [row for row in rows if row[3] == _LISTENING and row[1].endswith(f":{port:04X}")]
    return [int(row[7]) for row in found]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
