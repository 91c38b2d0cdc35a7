"""Environments of notebooks: locked and built with uv, once per distinct set of dependencies.

There are two keys. A *request* is the digest of a header's requirements, which are locked once.
The *key* of an environment is the digest of the resulting lock; requests with equal locks share
one environment. An environment is read-only for all its users and never changes: other
dependencies get another one (B96, sessions.md).

Layout below the root: ``requests/<request>`` holds the key of an environment;
``<key>/`` holds ``env/``, ``caches/``, ``lock.txt``, ``pyproject.toml``, our wheel and
``environment.json``, and is renamed to this name only when complete; ``assets/`` holds marimo's
static files (:mod:`mograder.sandbox.environments.static_assets`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import MograderError, NotFound
from mograder.core.files.atomic_file import write_file
from mograder.core.tasks.single_flight import Progress, SingleFlight
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.build_job import (
    BuildFiles,
    BuildJob,
    CommandRunner,
    lock_project,
    without_hashes,
)
from mograder.sandbox.environments.environment_root import (
    Environment,
    EnvironmentRoot,
    is_whole,
    mark_used,
)
from mograder.sandbox.environments.interpreters import Interpreter, find_interpreter
from mograder.sandbox.environments.record import ASSETS
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel

REQUESTS = "requests"
_KEY_LENGTH = 20
_MOST_TROUBLES = 500


class Environments:
    """Finds, locks and builds environments; concurrent callers share one build per request.

    ``marimo`` is the preferred version where a notebook's header does not pin one: the version
    with which this release was tested. ``timeout`` is the limit of each build command in seconds.
    """

    def __init__(
        self,
        root: Path,
        runner: CommandRunner,
        *,
        wheel: Path,
        marimo: str,
        timeout: float,
        on_ready: Callable[[Path], None] = lambda _: None,
    ) -> None:
        """``on_ready`` is called with the directory of each environment that becomes ready."""
        self._on_ready = on_ready
        self._root = EnvironmentRoot(root)
        self._runner = runner
        self._wheel = wheel
        self._marimo = marimo
        self._timeout = timeout
        self._known: dict[Script, Environment] = {}
        self._builds: SingleFlight[Script, Environment] = SingleFlight()
        self._troubles: dict[Script, str] = {}
        self._one_key: dict[str, asyncio.Lock] = {}
        self._built = asyncio.Event()
        self._built.set()  # the first call of next_build returns at once

    async def prepare(self, script: Script, progress: Progress) -> Environment:
        """Return the environment for a header; build it first if necessary.

        The cancellation of one caller does not stop the build for the others.
        Raises: :class:`InvalidInput` with uv's own message when the requirements cannot be met,
        :class:`SandboxUnavailable` when builds are not possible on this machine.
        """
        known = self.ready(script)
        if known is not None and mark_used(known.directory):
            return known
        try:
            found = await self._builds.get(
                script, lambda tell: self._obtain(script, tell), progress
            )
        except MograderError as error:
            if len(self._troubles) >= _MOST_TROUBLES:
                self._troubles.clear()
            self._troubles[script] = str(error)
            raise
        self._troubles.pop(script, None)
        return found

    def announce(self, environment: Environment) -> None:
        """Say once more that an environment is ready, so that its sessions start warm."""
        self._on_ready(environment.directory)

    def building(self, script: Script) -> bool:
        """Return whether the environment is being prepared."""
        return self._builds.busy(script)

    def trouble(self, script: Script) -> str:
        """Return the error message of the last failed preparation, or "" if it succeeded."""
        return self._troubles.get(script, "")

    def ready(self, script: Script) -> Environment | None:
        """Return the environment if it is known to be finished, else None; start no build."""
        known = self._known.get(script)
        if known is None or not is_whole(known.directory):
            return None
        if known.assets and not (self._root.path / ASSETS / known.assets).is_dir():
            return None
        return known

    async def kept(self, script: Script) -> Environment | None:
        """Return the environment if it was built before, else None; start no build.

        Raises: :class:`InvalidInput` when no installed Python satisfies the header.
        """
        known = self.ready(script)
        if known is None:
            interpreter = await find_interpreter(script.requires_python)
            known = await asyncio.to_thread(self._recall, self._request(script, interpreter))
        return known

    async def next_build(self) -> None:
        """Wait until an environment was built since the last call; the first returns at once."""
        await self._built.wait()
        self._built.clear()

    async def close(self) -> None:
        """Cancel the builds in progress."""
        await self._builds.close()

    async def _obtain(self, script: Script, tell: Progress) -> Environment:
        interpreter = await find_interpreter(script.requires_python)
        request = self._request(script, interpreter)
        environment = await asyncio.to_thread(self._recall, request)
        if environment is None:
            environment = await self._lock_and_build(script, interpreter, tell)
            await asyncio.to_thread(_keep_key, request, environment.key)
        self._known[script] = environment
        self._on_ready(environment.directory)
        return environment

    def _request(self, script: Script, interpreter: Interpreter) -> Path:
        name = request_name(script, interpreter.version, self._wheel.name)
        return self._root.path / REQUESTS / name

    def _recall(self, request: Path) -> Environment | None:
        try:
            return self._root.load(request.read_text("utf-8"))
        except (OSError, NotFound):
            return None

    async def _lock_and_build(
        self, script: Script, interpreter: Interpreter, tell: Progress
    ) -> Environment:
        workshop = self._root.path / f".building-{secrets.token_hex(8)}"
        try:
            files = await asyncio.to_thread(self._furnish, workshop, script)
            job = BuildJob(self._runner, workshop, interpreter, self._timeout, tell)
            tell("Resolving the notebook's requirements")
            lock = await job.lock()
            versions = without_hashes(lock)
            key = _digest(versions, interpreter.version, str(interpreter.program), self._wheel.name)
            async with self._one_key.setdefault(key, asyncio.Lock()):
                try:
                    return await asyncio.to_thread(self._root.load, key)
                except NotFound:
                    built = await self._root.build(job, files, key, lock)
                    self._built.set()
                    return built
        finally:
            await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)

    def _furnish(self, workshop: Path, script: Script) -> BuildFiles:
        """Make the directory of a build. Raises: :class:`SandboxUnavailable`."""
        try:
            self._root.sweep()
            if not self._wheel.is_file():  # it was deleted after the hub's start
                build_runtime_wheel(self._wheel.parent)
            content = self._wheel.read_bytes()
            files = BuildFiles(lock_project(script), self._wheel.name, content)
            # uv keeps the versions of an existing lock file where they fit.
            files.write(workshop, f"marimo=={self._marimo}\n")
        except OSError as error:
            raise self._root.unwritable(error) from error
        return files


def request_name(script: Script, python: str, wheel: str) -> str:
    """Return the file name below ``requests`` for a header, a Python version and a wheel's name."""
    return _digest(*script.dependencies, script.requires_python, script.tool_uv, python, wheel)


def _digest(*parts: str) -> str:
    """Return a digest of texts; ``("ab", "c")`` and ``("a", "bc")`` have different ones."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_KEY_LENGTH]


def _keep_key(request: Path, key: str) -> None:
    """Write the environment's key to a request's file, atomically."""
    request.parent.mkdir(parents=True, exist_ok=True)
    write_file(request, key.encode())
