"""The means by which `generate` runs an author's notebooks, chosen by system and settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.grading.author.author_runs import AuthorRuns
from mograder.grading.runs.workbench import (
    UNPROTECTED,
    Workbench,
    demand_no_sandbox,
    open_workbench,
)
from mograder.sandbox.protocol import Limits

_NO_LIMITS = Limits(processes=0, open_files=0, file_size_mb=0, tmp_mb=0)


@asynccontextmanager
async def open_runs(
    loaded: LoadedSettings,
    environ: Environ,
    warn: Callable[[str], None],
    *,
    runs: int,
    jobs: int,
    sandbox: bool = True,
    own_python: bool = False,
) -> AsyncIterator[AuthorRuns]:
    """Yield the means for ``runs`` runs of an author's notebooks, ``jobs`` at a time.

    They run in a sandbox or directly on this machine. Authors would run their own notebooks anyway,
    so they run without a sandbox where none can be made; ``warn`` is called with a message then.
    ``own_python`` uses the Python that runs mograder; sandboxes do not have it. Without sandboxes
    no process is started before something runs.

    Raises:
        SandboxUnavailable: None can be made, and ``[security] use_bubblewrap`` demands one.
    """
    if UNPROTECTED:  # before anything runs
        demand_no_sandbox(loaded)
    opening = partial(open_workbench, loaded, environ, trusted=True, runs=runs, jobs=jobs)
    async with AsyncExitStack() as stack:
        bench = await _sandboxed(stack, opening, loaded, warn) if sandbox else None
        found, lock = [] if bench is None else [bench], asyncio.Lock()

        async def opened() -> Workbench:
            async with lock:
                if not found:
                    plain = opening(sandbox=False, own_python=own_python)
                    found.append(replace(await stack.enter_async_context(plain), limits=_NO_LIMITS))
                return found[0]

        yield AuthorRuns(loaded, opened, protected=bench is not None)


async def _sandboxed(
    stack: AsyncExitStack,
    opening: Callable[[], AbstractAsyncContextManager[Workbench]],
    loaded: LoadedSettings,
    warn: Callable[[str], None],
) -> Workbench | None:
    """Return a workbench with sandboxes until ``stack`` is closed; None if there are none."""
    demanded = loaded.settings.security.use_bubblewrap
    if UNPROTECTED or demanded is False:
        warn(UNPROTECTED or "Without a sandbox, since [security] use_bubblewrap is false.")
        return None
    try:
        return await stack.enter_async_context(opening())
    except SandboxUnavailable as error:
        if demanded:
            raise
        warn(f"Without a sandbox, since this machine makes none: {error}")
        return None
