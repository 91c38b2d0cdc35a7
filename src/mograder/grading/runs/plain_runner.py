"""A workbench without a supervisor, for systems that have no sandboxes.

A person's own notebook runs there with the person's rights, as the editor runs it. Environments are
built once for each set of requirements, as elsewhere, and kept for the next time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.grading.runs.workbench import (
    AUTHORS_BOUNDS,
    Workbench,
    demand_no_sandbox,
    environments_of,
    own_variables,
)
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from mograder.sandbox.execution.plain_processes import PlainCommands, PlainExecutor


@asynccontextmanager
async def open_plain(
    loaded: LoadedSettings, environ: Environ, *, own_python: bool = False, jobs: int = 2
) -> AsyncIterator[Workbench]:
    """Yield a workbench for ``jobs`` runs at a time; ``own_python`` is as in :class:`Workbench`.

    Raises:
        SandboxUnavailable: ``[security] use_bubblewrap`` demands a sandbox.
    """
    demand_no_sandbox(loaded)
    variables = own_variables(environ)
    if cache := loaded.settings.hub.uv_cache_dir:
        variables["UV_CACHE_DIR"] = str(loaded.path(cache))
    executor = PlainExecutor(variables, at_once=jobs, bounds=AUTHORS_BOUNDS)
    limits = limits_of(loaded.settings.limits)
    if own_python:
        yield Workbench(executor, _NoJudges(), limits, None, _no_warm_start)
        return
    environments = await environments_of(loaded, environ, PlainCommands(variables))
    try:
        yield Workbench(executor, _NoJudges(), limits, environments, _no_warm_start)
    finally:
        await environments.close()


class _NoJudges:
    """Judges nothing: that needs two processes that cannot reach each other."""

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        """Raise :class:`SandboxUnavailable`."""
        raise SandboxUnavailable("Checks can be judged apart from the answers on Linux only.")


async def _no_warm_start(_: Path) -> None:
    """Do nothing: only supervisors keep processes for fast starts."""
