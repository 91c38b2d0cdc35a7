"""Grading beside the students' sessions: with memory that is free, and little CPU weight."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from mograder.sandbox.execution.judging import Judges, JudgingRequest, JudgingResult
from mograder.sandbox.execution.report import Executes, ExecutionRequest, ExecutionResult
from mograder.sandbox.protocol import Limits
from mograder.sessions.capacity import UNKNOWN

WEIGHT = 10
"""The CPU weight of a run; a session has 100 by default. On an idle machine it makes no
difference."""

Memory = Callable[[int], AbstractAsyncContextManager[None]]
"""Waits for so many bytes of memory, and reserves them until the block ends."""


class BackgroundJudges:
    """Judges submissions when there is memory for a worker and a judge."""

    def __init__(self, judges: Judges, memory: Memory) -> None:
        self._judges = judges
        self._memory = memory

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        """Judge one submission.

        Raises:
            MograderError: As ``judges`` does.
        """
        async with self._memory(2 * UNKNOWN):
            return await self._judges.judge(replace(request, limits=_light(request.limits)))


class BackgroundExecutor:
    """Runs notebooks when there is memory for one."""

    def __init__(self, executor: Executes, memory: Memory) -> None:
        self._executor = executor
        self._memory = memory

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        """Run a notebook until it ends or its time is over, and return the result.

        Raises:
            MograderError: As ``executor`` does.
        """
        async with self._memory(UNKNOWN):
            return await self._executor.execute(replace(request, limits=_light(request.limits)))


def _light(limits: Limits) -> Limits:
    return limits.model_copy(update={"cpu_weight": min(WEIGHT, limits.cpu_weight)})
