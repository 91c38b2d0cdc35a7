"""The directory of environments: what is in it, and how a finished build gets there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from mograder.core.errors import MograderError, NotFound, SandboxUnavailable, is_disk_full
from mograder.core.files import file_lock
from mograder.core.files.atomic_file import write_file
from mograder.core.files.held_files import when_free
from mograder.core.system import SYSTEM, python_of
from mograder.sandbox.environments.build_job import LOCK, PROJECT, BuildFiles, BuildJob
from mograder.sandbox.environments.record import ASSETS, RECORD, EnvironmentRecord, read_record

if sys.platform == "linux":
    from mograder.sandbox.environments.static_assets import is_current, keep_assets

_STALE_SECONDS = 86_400
_TAKEN_SECONDS = 1.0
"""Longer than an environment is taken that is not removed then."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A finished environment; ``directory`` is mounted in sessions.

    ``python`` and ``marimo`` are versions. ``assets`` is the name of its set of marimo's static
    files, or "" if they are not shared.
    """

    key: str
    directory: Path
    python: str
    marimo: str
    assets: str = field(default="", compare=False)


class EnvironmentRoot:
    """Finds environments by their keys, and puts new ones in place.

    Layout: see :mod:`mograder.sandbox.environments.builder`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self, key: str) -> Environment:
        """Return a finished environment, marked as used. Raises: :class:`NotFound`."""
        directory = self.path / key
        record = read_record(directory)
        if not (is_whole(directory) and mark_used(directory)):
            raise NotFound(f"The environment {key} is not whole, or its Python is gone.")
        assets = ""
        if sys.platform == "linux" and record.assets:
            assets = self._keep_held(directory, record)
        return Environment(key, directory, record.python, record.marimo, assets)

    if sys.platform == "linux":

        def _keep_held(self, directory: Path, record: EnvironmentRecord) -> str:
            """Collect the static files again if the set is missing or old; return its name."""
            if not is_current(self.path / ASSETS, record.assets):
                assets = self._keep_assets(directory / "env", record.python, record.marimo)
                if assets != record.assets:  # this release selects other files
                    changed = record.model_copy(update={"assets": assets})
                    write_file(directory / RECORD, changed.model_dump_json(indent=2).encode())
                return assets
            return record.assets

        def _keep_assets(self, env: Path, python: str, marimo: str) -> str:
            root = self.path / ASSETS
            root.mkdir(parents=True, exist_ok=True)
            return keep_assets(env, python, marimo, root)

    async def build(
        self, job: BuildJob, files: BuildFiles, key: str, lock: str, *, assets: str | None = None
    ) -> Environment:
        """Install the packages of a lock in the job's workshop, and give the result its key.

        The workshop has ``files`` and the lock already; copies of them are kept with the result,
        by which a node can build the same. ``assets`` is the only set of static
        files that sessions may use, by default the environment's own.

        Raises: as :meth:`~mograder.sandbox.environments.builder.Environments.prepare`.
        """
        await job.install(files.wheel)
        marimo, has_asset_url = await job.warm()
        kept, python = "", job.interpreter.version
        # On other systems there are no sessions of several people to share them.
        if sys.platform == "linux" and has_asset_url:
            job.tell("Preparing the editor's files")
            env = job.workshop / "env"
            kept = await asyncio.to_thread(self._keep_assets, env, python, marimo)
        record = EnvironmentRecord(
            key=key,
            python=python,
            marimo=marimo,
            interpreter_roots=job.interpreter.roots,
            assets=kept if assets in {None, kept} else "",
            wheel=files.wheel,
        )
        await asyncio.to_thread(self._put_in_place, job.workshop, record, files, lock)
        return await asyncio.to_thread(self.load, key)

    def _put_in_place(
        self, workshop: Path, record: EnvironmentRecord, files: BuildFiles, lock: str
    ) -> None:
        """Rename a complete build to its key, so that an interrupted build never looks finished."""
        finished = self.path / f".finished-{secrets.token_hex(8)}"
        finished.mkdir()
        for part in ("env", "caches"):
            (workshop / part).rename(finished / part)
        (finished / PROJECT).write_text(files.project, "utf-8")
        (finished / files.wheel).write_bytes(files.content)
        (finished / LOCK).write_text(lock, "utf-8")
        (finished / RECORD).write_text(record.model_dump_json(indent=2), "utf-8")
        if sys.platform == "linux":  # elsewhere there are no sandboxes, which run as other users
            _let_all_read(finished)
        try:
            self._name(finished, record.key)
        finally:
            shutil.rmtree(finished, ignore_errors=True)

    def _name(self, finished: Path, key: str) -> None:
        try:
            # Scanners of new files hold directories of Windows for moments.
            when_free(lambda: finished.rename(self.path / key), str(finished))
        except OSError:
            try:  # another process has built it meanwhile; equal keys are equal environments
                self.load(key)
            except NotFound:  # after a power cut it has no record, so no session has used it
                broken = self.path / f".broken-{secrets.token_hex(8)}"
                (self.path / key).rename(broken)
                finished.rename(self.path / key)
                shutil.rmtree(broken, ignore_errors=True)

    def sweep(self) -> None:
        """Remove directories that were left by builds of killed hubs."""
        lefts = (".building-*", ".finished-*", f"{ASSETS}/.collecting-*")
        for left in chain.from_iterable(map(self.path.glob, lefts)):
            # Younger ones may belong to a build of another process; no build takes a day.
            if time.time() - left.lstat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

    def unwritable(self, error: OSError) -> MograderError:
        """Return the error of a build whose directory cannot be made."""
        remedy = f"Give it to the hub's user: install -d -o USER -m 755 {self.path}"
        prune = "Free some space on its disk: mograder hub prune"
        if SYSTEM != "linux":  # there is no hub
            remedy = "Check that you may write there."
            prune = "Free some space on its disk; this directory can be removed, too."
        return SandboxUnavailable(
            f"The directory of environments {self.path} cannot be written: {error.strerror}.",
            hint=prune if is_disk_full(error) else remedy,
        )


def mark_used(environment: Path) -> bool:
    """Record that an environment is about to be used; return false if it does not exist.

    :mod:`mograder.sandbox.environments.pruning` keeps environments that were used within the
    last hour. The time is the lock file's, since a zygote identifies its environment by the
    record's time. An environment that is being removed counts as removed.
    """
    try:
        with _kept(environment):
            os.utime(environment / LOCK)
    except (FileNotFoundError, NotFound):
        return False
    except OSError:  # a read-only disk: the environment cannot be removed from it either
        return True
    return True


@contextlib.contextmanager
def _kept(environment: Path) -> Iterator[None]:
    if sys.platform != "linux":  # nothing removes environments there
        yield
        return
    held = keep(environment)
    try:
        yield
    finally:
        os.close(held)


def is_whole(environment: Path) -> bool:
    """Return whether it has its record and an executable interpreter; cheap: called per start."""
    return (environment / RECORD).is_file() and os.access(python_of(environment / "env"), os.X_OK)


if sys.platform == "linux":

    def keep(environment: Path) -> int:
        """Return a descriptor that keeps an environment from being removed until it is closed.

        Every session and zygote has one. On a disk without locks nothing is removed.

        Raises: :class:`NotFound` if the environment does not exist, or is being removed.
        """
        held = _lock(environment, shared=True)
        if held is None:
            raise NotFound(f"The environment {environment.name} does not exist any more.")
        return held

    def take(environment: Path) -> int | None:
        """Return a descriptor that keeps an environment from being used, or None if it is in use.

        Rename the environment before the descriptor is closed.
        """
        return _lock(environment, shared=False)

    def _lock(environment: Path, *, shared: bool) -> int | None:
        """Lock the directory; return None if it is gone, or another process's lock excludes it."""
        try:
            descriptor = os.open(environment, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SandboxUnavailable(
                f"The environment {environment.name} cannot be opened: {error.strerror}."
            ) from error
        try:
            seconds = _TAKEN_SECONDS if shared else 0
            locked = file_lock.acquire(descriptor, seconds=seconds, shared=shared)
        except OSError:
            locked = shared
        with contextlib.suppress(OSError):  # removed or replaced before we had the lock
            if locked and os.path.samestat(os.fstat(descriptor), environment.stat()):
                return descriptor
        os.close(descriptor)
        return None

    def _let_all_read(top: Path) -> None:
        """Make files readable for all and writable only for their owner; packages vary in that.

        Raises: :class:`SandboxUnavailable`.
        """
        try:
            top.chmod(0o755)
            for _, directories, files, descriptor in os.fwalk(top, follow_symlinks=False):
                for name in (*directories, *files):
                    _let_read(name, descriptor)
        except OSError as error:
            raise SandboxUnavailable(f"The environment cannot be put in place: {error}.") from error

    def _let_read(name: str, descriptor: int) -> None:
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
        if not stat.S_ISLNK(mode):
            wanted = mode | (0o555 if mode & stat.S_IXUSR else 0o444)
            os.chmod(name, stat.S_IMODE(wanted) & ~0o022, dir_fd=descriptor)
