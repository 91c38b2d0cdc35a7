"""The tools of grading: sandboxes, environments, kept contracts, and the key of signatures.

A command opens them for its own run; a hub makes them of what it has already.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mograder.core.clock import SystemClock
from mograder.core.sections.settings_model import Settings
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import Progress
from mograder.grading.results.grading_result import grading_key
from mograder.grading.runs.sandbox_slots import SandboxSlots
from mograder.grading.runs.sandboxed_runner import open_sandboxed
from mograder.processes.isolated_call import IsolatedCall
from mograder.sandbox.execution.judging import Judges
from mograder.sandbox.execution.report import Executes
from mograder.store.course.contracts import ContractStore, contracts_of

assert sys.platform == "linux"  # grading needs supervisors

_MANY = 2
"""Runs from which a process is kept for each environment; recording and judging are that many."""


@dataclass(frozen=True, slots=True)
class GradingTools:
    """The tools of grading; the same for all assignments and submissions of a run.

    ``environment`` returns the environment that a notebook's text asks for, built if missing.
    ``key`` signs results (:mod:`mograder.grading.results.grading_result`); ``slots`` numbers the
    sandboxes.
    """

    judges: Judges
    executor: Executes
    environment: Callable[[str, Progress], Awaitable[Path]]
    settings: Settings
    contracts: ContractStore
    key: bytes
    slots: SandboxSlots = field(default_factory=SandboxSlots)
    apart: IsolatedCall = field(default_factory=IsolatedCall)
    now: Callable[[], datetime] = SystemClock().now


@asynccontextmanager
async def open_grading_tools(
    loaded: LoadedSettings, environ: Environ, *, jobs: int, sandbox: bool = True
) -> AsyncIterator[GradingTools]:
    """Yield the tools for grading ``jobs`` submissions at a time on this machine.

    Raises:
        SandboxUnavailable: A sandbox is wanted and cannot be made.
        InvalidInput: The course's secret cannot be read.
    """
    key = await asyncio.to_thread(grading_key, loaded)
    opening = open_sandboxed(loaded, environ, sandbox=sandbox, trusted=True, runs=_MANY, jobs=jobs)
    async with opening as bench:
        yield GradingTools(
            judges=bench.judges,
            executor=bench.executor,
            environment=bench.environment,
            settings=loaded.settings,
            contracts=contracts_of(loaded),
            key=key,
        )
