"""A temporary supervisor and environments, for commands that run notebooks on this machine.

When the command ends, the supervisor and its sessions end too. The environments that were built are
kept for the next time.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mograder.core.settings import Environ, LoadedSettings
from mograder.grading.runs.workbench import (
    AUTHORS_BOUNDS,
    Workbench,
    environments_of,
    places,
)
from mograder.sandbox.client.bootstrap import momentary_supervisor, supervisor_config
from mograder.sandbox.environments.interpreters import make_own_environment
from mograder.sandbox.execution.item_limits import CopyBounds, limits_of
from mograder.sandbox.execution.judge_runner import JudgeRunner
from mograder.sandbox.execution.runner import Executor
from mograder.store.filesystem.files import remove_tree

assert sys.platform == "linux"  # supervisors need it

_WARM_FROM = 2
"""Number of runs from which importing marimo once for all of them pays."""
_WARM_ENVIRONMENTS = 4


@asynccontextmanager
async def open_sandboxed(
    loaded: LoadedSettings,
    environ: Environ,
    *,
    sandbox: bool = True,
    own_python: bool = False,
    trusted: bool = False,
    runs: int = 1,
    jobs: int = 2,
) -> AsyncIterator[Workbench]:
    """Yield a workbench for ``runs`` runs, ``jobs`` at a time, with a supervisor of its own.

    With ``trusted``, the files beside a notebook may be as many and as large as an author's.
    Without ``sandbox``, or if the settings switch it off, this machine is not protected from the
    notebooks. With ``own_python`` they have the packages of the Python that runs mograder.

    Raises:
        SandboxUnavailable: A sandbox is wanted and cannot be made.
    """
    place, _ = places(loaded, environ)
    config = supervisor_config(loaded, environ)
    if not sandbox:
        config = config.model_copy(update={"sandbox": "none"})
    if config.uv_cache.is_relative_to(loaded.state_dir):
        config = config.model_copy(update={"uv_cache": place / "uv-cache"})
    warm = _WARM_ENVIRONMENTS if runs >= _WARM_FROM else 0
    bounds = AUTHORS_BOUNDS if trusted else CopyBounds()
    async with momentary_supervisor(config, warm=warm) as moment:
        client = moment.client
        environments = None if own_python else await environments_of(loaded, environ, client)
        copies = Path(tempfile.mkdtemp(prefix="mograder-"))
        judging, own = copies / "judging", copies / "own"
        if own_python:
            await asyncio.to_thread(make_own_environment, own)
        try:
            yield Workbench(
                Executor(client, copies / "runs", remove_tree, at_once=jobs, bounds=bounds),
                JudgeRunner(client, judging, remove_tree, at_once=jobs, bounds=bounds),
                limits_of(loaded.settings.limits),
                environments,
                client.warm,
                own,
            )
        finally:
            if environments is not None:
                await environments.close()
            await asyncio.to_thread(shutil.rmtree, copies, ignore_errors=True)
