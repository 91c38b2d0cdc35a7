"""Runs a person's own notebooks where there are no sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from mograder.core.system import python_of
from mograder.sandbox.execution.copy_bounds import CopyBounds
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult
from mograder.sandbox.execution.unsandboxed import OwnRun, run_own


class PlainExecutor:
    """Runs copies of notebooks, at most ``at_once`` at the same time; further calls wait.

    ``variables`` are their environment variables. Of the limits of a request only the time counts.
    """

    def __init__(self, variables: Mapping[str, str], *, at_once: int, bounds: CopyBounds) -> None:
        self._variables = dict(variables)
        self._bounds = bounds
        self._turn = asyncio.Semaphore(at_once)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        """Run a notebook until it ends or its time is over, and return the result.

        Raises: :class:`~mograder.core.errors.TooLarge` for too many or too large support files.
        """
        wanted = OwnRun(
            content=request.text.encode("utf-8", "surrogatepass"),
            name=request.name,
            folder=request.folder,
            python=(str(python_of(request.environment / "env")),),
            variables=self._variables,
            seconds=request.seconds,
            outputs=request.outputs,
            bounds=self._bounds,
        )
        async with self._turn:
            return await run_own(wanted)
