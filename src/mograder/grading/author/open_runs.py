"""The means by which `generate` runs an author's notebooks, chosen by the system."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks.single_flight import Progress
from mograder.grading.author.author_runs import (
    AuthorJudging,
    AuthorRuns,
    AuthorTrial,
    trusted_run,
    trusted_variants,
)
from mograder.grading.runs.local_runner import UNPROTECTED
from mograder.grading.runs.workbench import demand_no_sandbox, own_variables
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.execution.unsandboxed import AuthorEnvironment
from mograder.sandbox.protocol import LONGEST_SECONDS, Deadlines

if sys.platform == "linux":
    from mograder.grading.author.author_judging import trusted_judging
    from mograder.grading.author.sandboxed_runs import enter_sandboxed_runs


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
    ``own_python`` uses the Python that runs mograder; sandboxes do not have it.

    Raises:
        SandboxUnavailable: None can be made, and ``[security] use_bubblewrap`` demands one.
    """
    async with AsyncExitStack() as stack:
        if sandbox and UNPROTECTED:
            demand_no_sandbox(loaded)
            warn(UNPROTECTED)
        elif sys.platform == "linux" and sandbox:
            found = await enter_sandboxed_runs(stack, loaded, environ, warn, runs=runs, jobs=jobs)
            if found is not None:
                yield found
                return
        # In the course's directory: at the same path, uv finds what it installed for the same
        # wheel.
        wheels = loaded.state_dir / "runtime"
        environment = AuthorEnvironment(wheels, own_variables(environ), own=own_python)
        stack.push_async_callback(environment.close)
        seconds = loaded.settings.defaults.timeout
        yield AuthorRuns(
            trusted_run(environment, seconds=seconds),
            _judging(environment, seconds),
            trusted_variants(environment),
        )


def _judging(environment: AuthorEnvironment, seconds: float) -> AuthorJudging:
    """Return how to judge an author's own notebook without a sandbox."""
    if sys.platform == "linux":
        return trusted_judging(environment, Deadlines(notebook=min(seconds, LONGEST_SECONDS)))
    else:  # noqa: RET505 - mypy takes no other form for a choice by system
        return AuthorJudging(_judge_nothing, _keep_nothing)


async def _judge_nothing(trial: AuthorTrial, progress: Progress) -> JudgingResult:
    raise SandboxUnavailable("Checks can be judged apart from the answers on Linux only.")


async def _keep_nothing(trial: AuthorTrial, contract: str) -> None:
    """Keep nothing: nothing is judged."""
