"""The choice by system of what runs the notebooks of a command on a person's own machine."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager

from mograder.core.settings import Environ, LoadedSettings
from mograder.core.system import SYSTEM, SYSTEM_NAME
from mograder.grading.runs.workbench import Workbench

if sys.platform == "linux":
    from mograder.grading.runs.sandboxed_runner import open_sandboxed
else:
    from mograder.grading.runs.plain_runner import open_plain

UNPROTECTED = (
    ""
    if SYSTEM == "linux"
    else f"{SYSTEM_NAME} has no sandbox: notebooks run with your rights, as in the editor."
)
"""The sentence for people whose machine is not protected from notebooks; empty on Linux."""


def open_workbench(
    loaded: LoadedSettings,
    environ: Environ,
    *,
    sandbox: bool = True,
    own_python: bool = False,
    trusted: bool = False,
    runs: int = 1,
    jobs: int = 2,
) -> AbstractAsyncContextManager[Workbench]:
    """Return the context of a workbench for ``runs`` runs, ``jobs`` at a time.

    On Linux, without ``sandbox``, or if the settings switch it off, this machine is not protected
    from the notebooks. On other systems it never is. ``own_python`` and ``trusted`` are as for
    :func:`~mograder.grading.runs.sandboxed_runner.open_sandboxed`.

    Entering it raises:
        SandboxUnavailable: A sandbox is wanted and cannot be made; or the settings demand one on a
            system that has none.
    """
    if sys.platform == "linux":
        return open_sandboxed(
            loaded,
            environ,
            sandbox=sandbox,
            own_python=own_python,
            trusted=trusted,
            runs=runs,
            jobs=jobs,
        )
    else:  # noqa: RET505 - mypy skips an else of another system, and no statements after it
        return open_plain(loaded, environ, own_python=own_python, jobs=jobs)
