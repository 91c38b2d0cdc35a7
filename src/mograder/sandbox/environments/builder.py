"""Environments of notebooks: locked and built with uv, once per distinct set of dependencies.

There are two keys. A *request* is the digest of a header's requirements, which are locked once.
The *key* of an environment is the digest of the resulting lock; requests with equal locks share
one environment. An environment is read-only for all its users and never changes: other
dependencies get another one (B96, sessions.md).

Layout below the root: ``requests/<request>`` holds the key of an environment;
``<key>/`` holds ``env/``, ``caches/``, ``lock.txt``, ``pyproject.toml``, our wheel and
``environment.json``, and is renamed to this name only when complete; ``assets/`` holds marimo's
static files (:mod:`mograder.sandbox.environments.static_assets`).

Each command of a build runs in a sandbox of the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mograder.core.errors import (
    InvalidInput,
    MograderError,
    NotFound,
    SandboxUnavailable,
    is_disk_full,
)
from mograder.core.files.disk import write_file
from mograder.core.files.windows_files import when_free
from mograder.core.log import get_logger
from mograder.core.operating_system import PYTHONS, SYSTEM, python_of
from mograder.core.tasks import Progress, SingleFlight
from mograder.core.wheel import OURS
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.record import (
    ASSETS,
    RECORD,
    EnvironmentRecord,
    Interpreter,
    find_interpreter,
    read_record,
)
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.protocol import RunCommand

if sys.platform == "linux":
    from mograder.sandbox.environments.static_assets import is_complete, keep_assets

NO_MOGRADER = "".join(f"{name} ; python_version < '0'\n" for name in sorted(OURS))
"""uv overrides that remove ``mograder`` and ``mograder-hub`` from all requirements.

What an index has under these names is not ours; notebooks get the wheel of the runtime (decision
5). They are used only for the lock: in the project's settings they would exclude our wheel as well.
"""


def lock_project(script: Script) -> str:
    """Return a ``pyproject.toml`` with the notebook's requirements, and marimo."""
    names = {canonicalize_name(Requirement(text).name) for text in script.dependencies}
    wanted = [*script.dependencies, *([] if "marimo" in names else ["marimo"])]
    project = {"name": "notebook", "version": "0", "dependencies": wanted}
    if script.requires_python:
        project["requires-python"] = script.requires_python
    options = json.loads(script.tool_uv) if script.tool_uv else {}
    return tomlkit.dumps({"project": project, "tool": {"uv": options}})


_BUILD_VARIABLES = {
    "NO_COLOR": "1",
    "UV_NO_PROGRESS": "1",
    "UV_LINK_MODE": "copy",  # cache and environment are different mounts in the sandbox
    "UV_COMPILE_BYTECODE": "1",
    "UV_PYTHON_DOWNLOADS": "never",
    "XDG_CACHE_HOME": "caches",
}
_WARM = """\
import importlib.util, marimo, mograder.runtime, os, shutil
importlib.util.find_spec('matplotlib') and __import__('matplotlib.font_manager')
print('MARIMO', marimo.__version__)
try:
    from marimo._cli.cli import main
    options = [{each.name for each in main.commands[mode].params} for mode in ('edit', 'run')]
except Exception:
    options = [set()]
print('ASSET-URL', 'yes' if all('asset_url' in names for names in options) else 'no')
shutil.rmtree(os.path.join(os.environ['XDG_CACHE_HOME'], 'marimo'), True)
"""
"""Imports the slow modules; prints marimo's version and whether it has ``--asset-url``, an option
that its help hides. Removes marimo's log, since every program in a sandbox copies the caches; here,
inside, because a build may have replaced the directory by a link to any path."""
_EXPLANATION = ("\N{MULTIPLICATION SIGN}", "error:")
"""The beginnings of the line from which on uv explains a failure."""
LOCK = "lock.txt"
PROJECT = "pyproject.toml"
"""The file with the requirements, and with the settings by which uv finds packages."""

_OVERRIDES = "overrides.txt"
_LOCK_LINES, _MOST_LOCK_LINES = 1500, 60_000
"""Lines of a lock that are read at once: a package has one for each of its files' digests."""

_OUTPUT_LINES = 60
_HASHES = re.compile(r" \\\n(?:    --hash=\S+(?: \\)?\n)+")


class CommandRunner(Protocol):
    """Runs one build command in a sandbox (the supervisor's client)."""

    async def run(self, command: RunCommand, on_line: Progress) -> int: ...


@dataclass(frozen=True, slots=True)
class BuildFiles:
    """The inputs of a build besides a lock: the project's text, and our wheel's name and bytes."""

    project: str
    wheel: str
    content: bytes

    def write(self, workshop: Path, lock: str) -> None:
        (workshop / "caches").mkdir(parents=True)
        (workshop / PROJECT).write_text(self.project, "utf-8")
        (workshop / _OVERRIDES).write_text(NO_MOGRADER, "utf-8")
        (workshop / LOCK).write_text(lock, "utf-8")
        (workshop / self.wheel).write_bytes(self.content)


@dataclass(frozen=True, slots=True)
class BuildJob:
    """The commands of one build, each in a sandbox with the build directory and uv's cache."""

    runner: CommandRunner
    workshop: Path
    interpreter: Interpreter
    timeout: float
    tell: Progress

    async def lock(self) -> str:
        python = ("--python", str(self.interpreter.program))
        command = ("uv", "pip", "compile", PROJECT, "-o", LOCK, "--no-header")
        quietly = ("--no-annotate", "--quiet", "--override", _OVERRIDES, "--generate-hashes")
        await self._run("The notebook's requirements cannot be met", *command, *python, *quietly)
        if SYSTEM != "linux":  # there are no sandboxes
            return await asyncio.to_thread((self.workshop / LOCK).read_text, "utf-8")
        # Read inside the sandbox: the build may have replaced the file by a link to any path.
        # The supervisor passes on whole only a limited number of lines.
        lines: list[str] = []
        while len(lines) % _LOCK_LINES == 0 and len(lines) < _MOST_LOCK_LINES:
            part = f"{len(lines) + 1},{len(lines) + _LOCK_LINES}p"
            failed = "The lock cannot be read"
            read = await self._run(failed, "/usr/bin/sed", "-n", part, LOCK)
            if not read:
                break
            lines += read
        return "\n".join(lines) + "\n"

    async def install(self, wheel: str) -> None:
        python = str(self.interpreter.program)
        failed = "The notebook's environment cannot be built"
        await self._run(failed, "uv", "venv", "--relocatable", "--python", python, "env")
        into = ("uv", "pip", "install", "--python", self._python(), "--no-deps")
        self.tell("Downloading and installing packages")
        await self._run(failed, *into, "-r", LOCK)
        await self._run(failed, *into, f"./{wheel}")

    async def warm(self) -> tuple[str, bool]:
        """Import slow modules once, which fills their caches.

        Return marimo's version, and whether it has ``--asset-url``.
        """
        self.tell("Warming up")
        lines = await self._run(
            "The notebook's environment does not start", self._python(), "-c", _WARM
        )
        versions = [line.split()[1] for line in lines if line.startswith("MARIMO ")]
        if not versions:
            raise InvalidInput("The notebook's environment has no working marimo.")
        return versions[-1][:40], "ASSET-URL yes" in lines

    def _python(self) -> str:
        """Return the environment's Python, relative to the directory of the build."""
        return python_of(self.workshop / "env").relative_to(self.workshop).as_posix()

    async def _run(self, failed: str, *argv: str) -> list[str]:
        lines: list[str] = []

        explained = False

        def hear(line: str) -> None:
            nonlocal explained
            if len(lines) < 100_000:
                lines.append(line)
            # From here on uv explains a failure, which the error message repeats.
            explained = explained or line.strip().startswith(_EXPLANATION)
            if line.strip() and argv[0] == "uv" and not explained:
                self.tell(line.strip())

        status = await self.runner.run(
            RunCommand(
                argv=argv,
                directory=self.workshop,
                readable=self.interpreter.roots,
                variables=_BUILD_VARIABLES,
                timeout=self.timeout,
            ),
            hear,
        )
        if status != 0:
            said = "\n".join(line for line in lines[-_OUTPUT_LINES:] if line.strip())
            raise InvalidInput(
                f"{failed}:\n{said}" if said else f"{failed} (exit status {status}).",
                hint="" if said else "The supervisor's log may tell why.",
            )
        return lines


def without_hashes(lock: str) -> str:
    """Return a lock without the digests of the packages' files.

    An index may get more files of a version later: the environment is the same, and so its key.
    """
    return _HASHES.sub("\n", lock)


_STALE_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Environment:
    """A finished environment; ``directory`` is mounted in sessions.

    ``assets`` is the name of its set of marimo's static files, or "" if they are not shared.
    """

    directory: Path
    assets: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        return self.directory.name


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
        assets = record.assets if sys.platform == "linux" else ""
        if sys.platform == "linux" and assets and not is_complete(self.path / ASSETS, assets):
            try:
                assets = self._keep_assets(directory / "env", record.python, record.marimo)
            except OSError as error:
                if is_disk_full(error):
                    return Environment(directory)
                raise
            if assets != record.assets:  # this release selects other files
                changed = record.model_copy(update={"assets": assets})
                write_file(directory / RECORD, changed.model_dump_json(indent=2).encode())
        return Environment(directory, assets)

    if sys.platform == "linux":

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
        try:
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
        except OSError as error:
            raise self.unwritable(error) from error

    def _put_in_place(
        self, workshop: Path, record: EnvironmentRecord, files: BuildFiles, lock: str
    ) -> None:
        """Rename a complete build to its key, so that an interrupted build never looks finished."""
        finished = self.path / f".finished-{secrets.token_hex(8)}"
        finished.mkdir()
        try:
            for part in ("env", "caches"):
                (workshop / part).rename(finished / part)
            (finished / PROJECT).write_text(files.project, "utf-8")
            (finished / files.wheel).write_bytes(files.content)
            (finished / LOCK).write_text(lock, "utf-8")
            (finished / RECORD).write_text(record.model_dump_json(indent=2), "utf-8")
            if sys.platform == "linux":  # elsewhere no sandboxes run as other users
                _let_all_read(finished)
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
        """Remove directories that were left by killed hubs while they built or pruned."""
        lefts = (".building-*", ".finished-*", ".broken-*", ".pruned-*")
        of_assets = (f"{ASSETS}/.collecting-*", f"{ASSETS}/.broken-*")
        for left in chain.from_iterable(map(self.path.glob, (*lefts, *of_assets))):
            # Younger ones may belong to a build of another process; no build takes a day.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - left.lstat().st_mtime > _STALE_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)

    def unwritable(self, error: OSError) -> MograderError:
        """Return the error of a build whose directory cannot be made, or not be put in place."""
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
    record's time.
    """
    try:
        os.utime(environment / LOCK)
    except FileNotFoundError:
        return False
    except OSError:  # a read-only disk: the environment cannot be removed from it either
        return True
    return True


def is_whole(environment: Path) -> bool:
    """Return whether it has its record and an executable interpreter; cheap: called per start."""
    programs = (environment / "env" / each for each in PYTHONS)
    return (environment / RECORD).is_file() and any(os.access(each, os.X_OK) for each in programs)


if sys.platform == "linux":

    def _let_all_read(top: Path) -> None:
        """Make files readable for all and writable only for their owner; packages vary in that.

        The set-group-id bit, which directories take from a shared course folder, is dropped: the
        hub's service may not set it.
        """
        top.chmod(0o755)
        for _, directories, files, descriptor in os.fwalk(top, follow_symlinks=False):
            for name in (*directories, *files):
                _let_read(name, descriptor)

    def _let_read(name: str, descriptor: int) -> None:
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
        if not stat.S_ISLNK(mode):
            wanted = mode | (0o555 if mode & stat.S_IXUSR else 0o444)
            os.chmod(name, wanted & 0o755, dir_fd=descriptor)


REQUESTS = "requests"
_log = get_logger(__name__)
_LOCK_SECONDS = 400 * 86_400
_KEY_LENGTH = 20
_MOST_TROUBLES = 500


@dataclass(frozen=True, slots=True)
class SharedLocks:
    """The lock of each request, for all hubs of a course: they lock it at different times.

    With the same packages their environments have the same key, and notebooks the same results.
    Without ``writes``, for a hub that waits, :meth:`keep` does nothing.
    """

    directory: Path
    writes: bool

    def find(self, request: str) -> str:
        """Return the lock of a request, "" if there is none."""
        with contextlib.suppress(OSError):
            return (self.directory / request).read_text("utf-8")
        return ""

    def keep(self, request: str, environment: Path) -> None:
        """Keep the lock of a request; remove those that have not been kept again for a year."""
        if not self.writes:
            return
        try:
            self.directory.mkdir(exist_ok=True)
            write_file(self.directory / request, (environment / LOCK).read_bytes())
            for path in self.directory.iterdir():
                if time.time() - path.stat().st_mtime > _LOCK_SECONDS:
                    path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("the lock of %s is not kept for other hubs: %s", environment.name, error)


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
        locks: SharedLocks | None = None,
    ) -> None:
        """``on_ready`` is called with the directory of each environment that becomes ready.

        ``locks`` are those of all hubs, where several may work on the course.
        """
        self._on_ready = on_ready
        self._locks = locks
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

    async def next_build(self) -> None:
        """Wait until an environment was built since the last call; the first returns at once."""
        await self._built.wait()
        self._built.clear()

    async def close(self) -> None:
        await self._builds.close()

    async def _obtain(self, script: Script, tell: Progress) -> Environment:
        interpreter = await find_interpreter(script.requires_python)
        name = request_name(script, interpreter.version, self._wheel.name)
        request = self._root.path / REQUESTS / name
        environment = await asyncio.to_thread(self._recall, request)
        if environment is None:
            environment = await self._lock_and_build(script, interpreter, request.name, tell)
            await asyncio.to_thread(_keep_key, request, environment.key)
        if self._locks is not None:
            await asyncio.to_thread(self._locks.keep, request.name, environment.directory)
        self._known[script] = environment
        self._on_ready(environment.directory)
        return environment

    def _recall(self, request: Path) -> Environment | None:
        try:
            return self._root.load(request.read_text("utf-8"))
        except (OSError, NotFound):
            return None

    async def _lock_and_build(
        self, script: Script, interpreter: Interpreter, request: str, tell: Progress
    ) -> Environment:
        workshop = self._root.path / f".building-{secrets.token_hex(8)}"
        try:
            files = await asyncio.to_thread(self._furnish, workshop, script, request)
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

    def _furnish(self, workshop: Path, script: Script, request: str) -> BuildFiles:
        """Make the directory of a build. Raises: :class:`SandboxUnavailable`."""
        try:
            self._root.sweep()
            if not self._wheel.is_file():  # it was deleted after the hub's start
                build_runtime_wheel(self._wheel.parent)
            content = self._wheel.read_bytes()
            files = BuildFiles(lock_project(script), self._wheel.name, content)
            # uv keeps the versions of an existing lock file where they fit.
            kept = "" if self._locks is None else self._locks.find(request)
            files.write(workshop, kept or f"marimo=={self._marimo}\n")
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
    """Write the environment's key to a request's file, atomically.

    Without it the environment is ready nevertheless; the next hub locks the request again.
    """
    try:
        request.parent.mkdir(parents=True, exist_ok=True)
        write_file(request, key.encode())
    except OSError as error:
        _log.warning("which environment was built for a request is not kept: %s", error)
