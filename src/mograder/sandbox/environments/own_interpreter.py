"""The Python that runs mograder: whether it can be started again, and an environment of it."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.system import account_name
from mograder.sandbox.environments.interpreters import roots_of
from mograder.sandbox.environments.record import RECORD, EnvironmentRecord

assert sys.platform == "linux"  # only supervisors ask, which need Linux


def demand_own_interpreter() -> None:
    """Check that this user may execute the Python that this process runs in.

    A process that was started as root may run in an interpreter that it cannot start again, for
    example in a virtual environment below ``/root``.
    Raises: :class:`SandboxUnavailable` with the remedy.
    """
    if os.access(sys.executable, os.X_OK, effective_ids=True):
        return
    user = account_name(os.geteuid(), "uid {}")
    raise SandboxUnavailable(
        f"The hub runs as {user}, who cannot execute the hub's own Python ({sys.executable}).",
        hint="Install mograder where that user can read and execute it, for example in a virtual "
        "environment below /opt or in the user's home; not below another user's private directory.",
    )


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
    (env / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
    (library / "site-packages").symlink_to(packages)
    roots = roots_of(sys.base_prefix, sys.base_exec_prefix, packages)
    record = EnvironmentRecord(key=directory.name, python="", marimo="", interpreter_roots=roots)
    (directory / RECORD).write_text(record.model_dump_json())
