"""An environment as it is kept: its record, the lock on its use, and the Python that it is made of.

Builds cannot write to the record: otherwise a package could name directories of the host to be
mounted in sessions. ``SET_NAME`` are the names of the sets of marimo's files
(:mod:`.static_assets`). An environment can also be made of the Python that runs mograder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from uv import find_uv_bin

from mograder.core.errors import InvalidInput, NotFound, SandboxUnavailable
from mograder.core.files import file_lock
from mograder.core.operating_system import SYSTEM

ASSETS = "assets"
"""The directory of all sets, beside the environments."""

SET_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_]{0,39}-[0-9a-f]{16}")
"""The name of a set: marimo's version and a digest."""

RECORD = "environment.json"

_TAKEN_SECONDS = 1.0
"""Longer than an environment is taken that is not removed then."""

_SECONDS = 60.0
_HERE = "the hub" if SYSTEM == "linux" else "this computer"
_QUERY = (
    "import json, platform, sys;"
    "print(json.dumps([platform.python_version(), sys.base_prefix, sys.base_exec_prefix]))"
)


class EnvironmentRecord(BaseModel):
    """The record; ``interpreter_roots`` are host directories mounted read-only in sessions.

    ``assets`` is the name of the shared set of marimo's static files
    (:mod:`mograder.sandbox.environments.static_assets`), or "" if each session's own server must
    serve them: an old marimo without ``--asset-url``, or files that could not be collected.
    ``wheel`` is the file name of our wheel beside the record, or "" if an older release built it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    python: str
    marimo: str
    interpreter_roots: tuple[Path, ...]
    assets: str = Field(default="", pattern=rf"^(?:{SET_NAME.pattern})?$")
    wheel: str = Field(default="", pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9_.+-]*\.whl)?$")


def read_record(environment: Path) -> EnvironmentRecord:
    """Return the record of a finished environment. Raises: :class:`NotFound`."""
    try:
        return EnvironmentRecord.model_validate_json((environment / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise NotFound(f"There is no finished environment in {environment.name}.") from error


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


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python of the host: its program, its version, the directories that it needs."""

    program: Path
    version: str
    roots: tuple[Path, ...]


async def find_interpreter(requires_python: str) -> Interpreter:
    """Return mograder's own Python if it satisfies the specifier, else another installed one.

    Raises: :class:`InvalidInput` when no installed Python satisfies ``requires_python``.
    """
    own = platform.python_version()
    if not requires_python or SpecifierSet(requires_python).contains(own, prereleases=True):
        # In a virtual environment `sys.executable` is a link; uv needs its target.
        program = Path(getattr(sys, "_base_executable", sys.executable))
        return _interpreter(program, own, sys.base_prefix, sys.base_exec_prefix)
    command = ("python", "find", "--no-project", "--no-python-downloads", "--system")
    status, found = await _output(find_uv_bin(), *command, requires_python)
    if status != 0:
        raise InvalidInput(
            f"No Python on {_HERE} satisfies requires-python = {requires_python!r} "
            f"(mograder's own is {own}).",
            hint="Relax requires-python in the notebook's header, or install that Python.",
        )
    program = Path(found.splitlines()[-1])
    status, answer = await _output(str(program), "-I", "-c", _QUERY)
    if status != 0:
        raise InvalidInput(f"The Python at {program} does not run.")
    version, *prefixes = json.loads(answer)
    return _interpreter(program, str(version), *prefixes)


def _interpreter(program: Path, version: str, *prefixes: str) -> Interpreter:
    """Return an interpreter whose program is below a prefix or ``/usr``, as sandboxes see these."""
    roots = roots_of(*prefixes)
    visible = (Path("/usr"), *roots)
    if not any(program.is_relative_to(place) for place in visible):
        program = program.resolve()
    return Interpreter(program, version, roots)


def roots_of(*prefixes: str) -> tuple[Path, ...]:
    """Return the prefixes outside ``/usr`` (which every sandbox has), as given and resolved."""
    paths = {Path(prefix) for prefix in prefixes} | {Path(prefix).resolve() for prefix in prefixes}
    # `/bin/python3` with a merged /usr may report the prefix `/`; its files are below /usr.
    return tuple(sorted(p for p in paths if p != Path("/") and not p.is_relative_to("/usr")))


def make_own_environment(directory: Path) -> None:
    """Make an environment whose packages are those of the Python that runs mograder.

    Nothing is installed: it has links to them.
    """
    packages = sysconfig.get_path("purelib")
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    env = directory / "env"
    library = env / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    for each in (env / "bin", library, directory / "caches"):
        each.mkdir(parents=True)
    (env / "bin" / "python").symlink_to(base)
    (env / "pyvenv.cfg").write_text(f"home = {base.parent}\n", "utf-8")
    (library / "site-packages").symlink_to(packages)
    roots = roots_of(sys.base_prefix, sys.base_exec_prefix, packages)
    record = EnvironmentRecord(key=directory.name, python="", marimo="", interpreter_roots=roots)
    (directory / RECORD).write_text(record.model_dump_json(), "utf-8")


async def _output(*argv: str) -> tuple[int, str]:
    variables = None  # as where the person works: there is no hub on other systems
    if SYSTEM == "linux":
        variables = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(Path.home())}
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=variables,
        cwd=os.sep,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise SandboxUnavailable(f"{argv[0]} does not answer.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode("utf-8", "replace").strip()
