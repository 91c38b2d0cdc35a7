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
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from mograder.core.errors import TimedOut
from mograder.core.operating_system import SYSTEM, python_of
from mograder.core.process_tree import ProcessTree, apart
from mograder.core.tasks import first_of

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 120.0
_GRACE_SECONDS = 3.0
_LOG_CHARACTERS = 2000
_SETTINGS = """\
[runtime]
auto_instantiate = true

[save]
autosave = "after_delay"
autosave_delay = 1000
"""
"""marimo's settings as on a hub: edits are saved, and the notebook runs when it is opened."""


_UNNAMED = re.compile(r"^/tmp/|^/var/folders|AppData\\Local\\Temp")
"""Paths below which marimo takes a notebook for one without a name, and saves nothing by itself."""


def saves_by_itself(notebook: Path) -> bool:
    """Return whether marimo's page saves this notebook without being told."""
    return not _UNNAMED.search(str(notebook))


class EditorFailed(TimedOut):
    """An editor ended before it answered, or took too long."""


@dataclass(frozen=True, slots=True)
class Editor:
    """A running editor; ``url`` contains the token, and is for the student's browser only."""

    name: str
    url: str = field(repr=False)


class _Process:
    """An editor's processes; ``ended`` once the first has ended and the others were killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tree = ProcessTree(process.pid)
        self.ended = asyncio.create_task(self._wait())

    async def begin(self, words: bytes) -> int:
        """Write ``words`` to its standard input, close that, and return the port it listens on.

        Raises: OSError when it has ended.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(words)
        await stdin.drain()
        stdin.close()
        line = await stdout.readline()
        try:
            return int(json.loads(line)["port"])
        except (ValueError, TypeError, KeyError) as error:
            raise ConnectionResetError("it told no port") from error

    def terminate(self) -> None:
        """Ask it to end, where the system has a signal for that; else it ends at once."""
        if SYSTEM == "windows":
            self.kill()
        elif not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    def kill(self) -> None:
        """Kill it, with the processes that the notebook started."""
        if not self.ended.done():
            self._tree.kill()

    async def _wait(self) -> None:
        await self._process.wait()
        self._tree.kill()


@dataclass(frozen=True, slots=True)
class _Running:
    editor: Editor
    process: _Process


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
        found = self._running.get(name)
        return None if found is None else found.editor

    async def open(self, name: str, notebook: Path, environment: Path) -> Editor:
        """Return the editor of a notebook; if none runs, start one with the environment's Python.

        Raises: :class:`EditorFailed` with the end of its log if it does not start.
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
        return True

    async def close(self) -> None:
        await asyncio.gather(*(self.stop(name) for name in tuple(self._running)))

    async def _start(self, name: str, notebook: Path, environment: Path) -> Editor:
        token = secrets.token_urlsafe(32)
        await asyncio.to_thread(self._place.mkdir, mode=0o700, parents=True, exist_ok=True)
        log = self._place / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}.log"
        running = _Process(await self._spawn(notebook, environment, log))
        try:
            async with asyncio.timeout(_START_SECONDS):
                # The token would be visible to ps as an argument.
                port = await running.begin(token.encode() + b"\n")
                await _answers(running, port)
        except BaseException as error:
            await _end(running)
            if not isinstance(error, OSError | TimeoutError):
                raise
            told = log.read_text("utf-8", "replace").strip()[-_LOG_CHARACTERS:]
            raise EditorFailed(
                f"The editor of {name} did not start." + (f" It said: {told}" if told else ""),
                hint="Try again; if it stays so, show this to your instructor.",
            ) from error
        editor = Editor(name, f"http://{_LOOPBACK}:{port}/?access_token={token}")
        self._running[name] = _Running(editor, running)
        # However it ends, such as by its Shut down button.
        running.ended.add_done_callback(lambda _: self._running.pop(name))
        return editor

    async def _spawn(
        self, notebook: Path, environment: Path, log: Path
    ) -> asyncio.subprocess.Process:
        """Start marimo on a port that it chooses, and tells on its standard output."""
        options: dict[str, object] = {
            "host": _LOOPBACK,
            "rlimits": {},
            "config": _SETTINGS,
            "caches": str(environment / "caches"),
        }
        variables = {
            **self._variables,
            "XDG_CONFIG_HOME": str(self._place / "config"),
            "XDG_CACHE_HOME": str(self._place / "cache"),
            "XDG_STATE_HOME": str(self._place / "state"),
            "MARIMO_SKIP_UPDATE_CHECK": "1",
            "MOGRADER_DASHBOARD": "1",
            # Files are opened as UTF-8 on every system, as they are on the course's servers.
            "PYTHONUTF8": "1",
        }
        # The editor ends when this process was killed, which marimo checks, but not on Windows.
        if SYSTEM == "windows":
            options["owner"] = os.getpid()
        else:
            variables["MARIMO_ANCESTOR_PID"] = str(os.getpid())
        serve = str(resources.files("mograder.sandbox.inside") / "serve.py")
        create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(log, create, 0o600), "wb") as output:
            return await asyncio.create_subprocess_exec(
                *(str(python_of(environment / "env")), serve, json.dumps(options), "--"),
                *("-q", "edit", "--headless", "--no-sandbox", "--skip-update-check"),
                *("--token-password-file", "-", str(notebook)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                cwd=notebook.parent,
                env=variables,
                **apart(),
            )


async def _answers(process: _Process, port: int) -> None:
    """Wait until the editor answers. Raises: OSError when it has ended."""
    asking = asyncio.create_task(_ask(port))
    try:
        await first_of(asking, process.ended)
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
    """End an editor: ask it to end, and kill its processes after three seconds."""
    process.terminate()
    await asyncio.wait({process.ended}, timeout=_GRACE_SECONDS)
    process.kill()
    await asyncio.wait({process.ended})
