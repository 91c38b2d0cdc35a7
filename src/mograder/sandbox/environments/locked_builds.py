"""Environments of a node: built by the lock that a hub sends, under the hub's name for them.

The lock names each package's version and the digests of its files, so that the environments of all
machines have the same packages. Each machine builds its own: they are large, and have many files.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
import shutil
from pathlib import Path

from packaging.version import InvalidVersion, Version

from mograder.core.errors import Conflict, InvalidInput, NotFound, SandboxUnavailable
from mograder.core.tasks import Progress, SingleFlight
from mograder.sandbox.environments.builder import (
    LOCK,
    PROJECT,
    BuildFiles,
    BuildJob,
    CommandRunner,
    Environment,
    EnvironmentRoot,
    is_whole,
    without_hashes,
)
from mograder.sandbox.environments.record import RECORD, Interpreter, find_interpreter, read_record
from mograder.sandbox.protocol import LONGEST_LOCK, PrepareEnvironment


def order_of(environment: Path, *, warm: bool = False) -> PrepareEnvironment:
    """Return the order by which a node builds the same environment as this machine's.

    Raises: :class:`NotFound` if it is not there, :class:`InvalidInput` if it has too many packages.
    """
    record = read_record(environment)
    try:
        lock = (environment / LOCK).read_text()
        project = (environment / PROJECT).read_text()
        wheel = (environment / record.wheel).read_bytes()
    except OSError as error:
        raise NotFound(f"The environment {record.key} is not whole.") from error
    if len(lock) > LONGEST_LOCK:
        raise InvalidInput("The notebook's environment has too many packages for nodes.")
    return PrepareEnvironment(
        key=record.key,
        lock=lock,
        project=project,
        python=record.python,
        assets=record.assets,
        wheel=record.wheel,
        content=base64.b64encode(wheel).decode(),
        warm=warm,
    )


class LockedBuilds:
    """Builds environments by their locks; concurrent callers share one build per key."""

    def __init__(self, root: Path, runner: CommandRunner, *, seconds: float) -> None:
        """``seconds`` limits each build command."""
        self._root = EnvironmentRoot(root)
        self._runner = runner
        self._seconds = seconds
        self._builds: SingleFlight[str, Environment] = SingleFlight()

    @property
    def path(self) -> Path:
        return self._root.path

    def keys(self) -> tuple[str, ...]:
        try:
            found = [record.parent for record in self._root.path.glob(f"[!.]*/{RECORD}")]
        except OSError:
            return ()
        return tuple(sorted(path.name for path in found if is_whole(path)))

    async def prepare(self, order: PrepareEnvironment, progress: Progress) -> Environment:
        """Return the environment of an order; build it first if it is not there.

        The cancellation of one caller does not stop the build for the others.

        Raises: :class:`InvalidInput` for a bad wheel or version, or with uv's message;
        :class:`Conflict` if there is another environment of that name; :class:`SandboxUnavailable`
        when this machine lacks the Python, or cannot build.
        """
        built = await self._builds.get(
            order.key, lambda tell: self._load_or_build(order, tell), progress
        )
        lock = await asyncio.to_thread((built.directory / LOCK).read_text)
        if without_hashes(lock) != without_hashes(order.lock):
            raise Conflict(f"This node has another environment of the name {order.key}.")
        return built

    async def close(self) -> None:
        await self._builds.close()

    async def _load_or_build(self, order: PrepareEnvironment, tell: Progress) -> Environment:
        try:
            return await asyncio.to_thread(self._root.load, order.key)
        except NotFound:
            interpreter = await _interpreter(order.python)
        workshop = self._root.path / f".building-{secrets.token_hex(8)}"
        try:
            files = await asyncio.to_thread(self._furnish, workshop, order)
            job = BuildJob(self._runner, workshop, interpreter, self._seconds, tell)
            return await self._root.build(job, files, order.key, order.lock, assets=order.assets)
        finally:
            await asyncio.to_thread(shutil.rmtree, workshop, ignore_errors=True)

    def _furnish(self, workshop: Path, order: PrepareEnvironment) -> BuildFiles:
        try:
            wheel = base64.b64decode(order.content, validate=True)
            files = BuildFiles(order.project, order.wheel, wheel)
            self._root.sweep()
            files.write(workshop, order.lock)
        except binascii.Error as error:
            raise InvalidInput("The wheel of an environment cannot be read.") from error
        except OSError as error:
            raise self._root.unwritable(error) from error
        return files


async def _interpreter(version: str) -> Interpreter:
    """Return a Python of the hub's feature release. Raises: InvalidInput, SandboxUnavailable."""
    try:
        release = Version(version)
    except InvalidVersion as error:
        raise InvalidInput(f"{version!r} is not a version of Python.") from error
    feature = f"{release.major}.{release.minor}"
    try:
        return await find_interpreter(f"=={feature}.*")
    except InvalidInput as error:
        raise SandboxUnavailable(
            f"This node has no Python {feature}, which the notebook's environment needs.",
            hint=f"Install Python {feature} on the node, as on the hub's machine.",
        ) from error
