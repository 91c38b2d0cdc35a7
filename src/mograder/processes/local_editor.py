"""Editors on a student's own machine: marimo on loopback, with the student's own rights.

There is no sandbox, as with ``marimo edit`` in a terminal: the student runs the student's own work.
Other users of the machine have no access: each editor has its own token, which is not passed as a
command-line argument. Editors end with the process that started them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from mograder.core.errors import TimedOut

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 120.0
_GRACE_SECONDS = 3.0
_LOG_CHARACTERS = 2000
_BACKLOG = 128
_SETTINGS = """\
[runtime]
auto_instantiate = true

[save]
autosave = "after_delay"
autosave_delay = 1000
"""
"""marimo's settings as on a hub: edits are saved, and the notebook runs when it is opened."""


class EditorFailed(TimedOut):
    """An editor ended before it answered, or took too long."""


@dataclass(frozen=True, slots=True)
class Editor:
    """A running editor; ``url`` contains the token, and is for the student's browser only."""

    name: str
    url: str = field(repr=False)


class _Process:
    """An editor's first process, and its process group, which has the same id.

    ``ended`` resolves once the group was killed and the process was reaped. The process is reaped
    only here: until then its id cannot be reused, so :meth:`kill_group` kills the right group.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        loop.add_reader(self._pidfd, self._collect)

    def hand_over(self, words: bytes) -> None:
        """Write ``words``, less than a pipe's buffer, to its standard input, and close that."""
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            stdin.write(words)

    def terminate(self) -> None:
        """Send SIGTERM to the first process."""
        if not self.ended.done():
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def kill_group(self) -> None:
        """Kill the process group, with the processes that the notebook started."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _collect(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        self.kill_group()
        self._process.wait()
        os.close(self._pidfd)
        self.ended.set_result(None)


@dataclass(frozen=True, slots=True)
class _Running:
    editor: Editor
    process: _Process
    watching: asyncio.Task[None]


class LocalEditors:
    """All editors of one dashboard, one per notebook; for one event loop.

    ``place`` is the directory for their logs, settings and caches; ``variables`` are their
    environment variables, besides those that marimo itself needs.
    """

    def __init__(self, place: Path, variables: Mapping[str, str]) -> None:
        self._place = place
        self._variables = dict(variables)
        self._running: dict[str, _Running] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    def find(self, name: str) -> Editor | None:
        """Return the running editor with this name, or None."""
        found = self._running.get(name)
        return None if found is None else found.editor

    async def open(self, name: str, notebook: Path, environment: Path) -> Editor:
        """Return the editor of a notebook; if none runs, start one with the environment's Python.

        Raises:
            EditorFailed: It does not start; the message contains the end of its log.
        """
        async with self._turns.setdefault(name, asyncio.Lock()):
            found = self.find(name)
            return found if found is not None else await self._start(name, notebook, environment)

    async def stop(self, name: str) -> bool:
        """End an editor and the processes of its notebook; return false if none was running."""
        found = self._running.get(name)
        if found is None:
            return False
        await _end(found.process)
        await found.watching
        return True

    async def close(self) -> None:
        """End all editors."""
        await asyncio.gather(*(self.stop(name) for name in tuple(self._running)))

    async def _start(self, name: str, notebook: Path, environment: Path) -> Editor:
        token = secrets.token_urlsafe(32)
        await asyncio.to_thread(self._place.mkdir, mode=0o700, parents=True, exist_ok=True)
        log = self._place / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}.log"
        with socket.create_server((_LOOPBACK, 0), backlog=_BACKLOG) as listener:
            port = int(listener.getsockname()[1])
            process = self._spawn(notebook, environment, listener, log)
            running = _Process(process)
        try:
            running.hand_over(token.encode() + b"\n")  # as an argument it would be visible to ps
            await _answers(running, port)
        except BaseException as error:
            await _end(running)
            if isinstance(error, OSError | TimeoutError):
                raise _failed(name, log) from error
            raise
        editor = Editor(name, f"http://{_LOOPBACK}:{port}/?access_token={token}")
        watching = asyncio.create_task(self._watch(name, running))
        self._running[name] = _Running(editor, running, watching)
        return editor

    def _spawn(
        self, notebook: Path, environment: Path, listener: socket.socket, log: Path
    ) -> subprocess.Popen[bytes]:
        """Start marimo on our listening socket, which queues connections until marimo accepts."""
        caches = str(environment / "caches")
        options = {"fd": listener.fileno(), "rlimits": {}, "config": _SETTINGS, "caches": caches}
        serve = str(resources.files("mograder.sandbox.inside") / "serve.py")
        create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(log, create, 0o600), "wb") as output:
            return subprocess.Popen(
                [
                    *(str(environment / "env/bin/python"), serve, json.dumps(options), "--"),
                    *("-q", "edit", "--headless", "--no-sandbox", "--skip-update-check"),
                    *("--host", _LOOPBACK, "--port", str(listener.getsockname()[1])),
                    *("--token-password-file", "-", str(notebook)),
                ],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=notebook.parent,
                env={**self._variables, **self._own_variables()},
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )

    def _own_variables(self) -> dict[str, str]:
        return {
            "XDG_CONFIG_HOME": str(self._place / "config"),
            "XDG_CACHE_HOME": str(self._place / "cache"),
            "XDG_STATE_HOME": str(self._place / "state"),
            "MARIMO_SKIP_UPDATE_CHECK": "1",
            # marimo checks whether this process lives, and ends itself when it was killed.
            "MARIMO_ANCESTOR_PID": str(os.getpid()),
            "MOGRADER_DASHBOARD": "1",
        }

    async def _watch(self, name: str, process: _Process) -> None:
        """Forget an editor once it has ended, for any reason (such as its Shut down button)."""
        await asyncio.wait({process.ended})
        del self._running[name]


async def _answers(process: _Process, port: int) -> None:
    """Wait until the editor answers. Raises: OSError when it has ended, TimeoutError."""
    async with asyncio.timeout(_START_SECONDS):
        asking = asyncio.create_task(_ask(port))
        try:
            await asyncio.wait((asking, process.ended), return_when=asyncio.FIRST_COMPLETED)
            if process.ended.done():
                raise ConnectionResetError("it has ended")
            await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


async def _ask(port: int) -> None:
    reader, writer = await asyncio.open_connection(_LOOPBACK, port)
    try:
        writer.write(f"GET /health HTTP/1.0\r\nHost: {_LOOPBACK}:{port}\r\n\r\n".encode())
        await writer.drain()
        if not await reader.readline():
            raise ConnectionResetError("it hung up")
    finally:
        writer.close()


async def _end(process: _Process) -> None:
    """End an editor: send SIGTERM, and kill its process group after three seconds."""
    process.terminate()
    await asyncio.wait({process.ended}, timeout=_GRACE_SECONDS)
    process.kill_group()
    await asyncio.wait({process.ended})


def _failed(name: str, log: Path) -> EditorFailed:
    told = log.read_text("utf-8", "replace").strip()[-_LOG_CHARACTERS:]
    return EditorFailed(
        f"The editor of {name} did not start." + (f" It said: {told}" if told else ""),
        hint="Try again; if it stays so, show this to your instructor.",
    )
