"""The Python interpreter of an environment, and the directories that must be mounted for it.

An environment can also be made of the Python that runs mograder.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet
from uv import find_uv_bin

from mograder.core.errors import InvalidInput, SandboxUnavailable
from mograder.core.system import SYSTEM
from mograder.sandbox.environments.record import RECORD, EnvironmentRecord

_SECONDS = 60.0
_HERE = "the hub" if SYSTEM == "linux" else "this computer"
_QUERY = (
    "import json, platform, sys;"
    "print(json.dumps([platform.python_version(), sys.base_prefix, sys.base_exec_prefix]))"
)


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
