"""The tools and limits of grading: sandboxes, environments, kept contracts, the key of signatures.

A command opens the tools for its own run; a hub makes them of what it has already. Notebooks have
the limits of a session, lowered by ``[rlimits]``.
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
from mograder.core.sections.settings_model import RlimitsSettings, Settings
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import Progress
from mograder.grading.submissions.grading_result import grading_key
from mograder.grading.workbench import SandboxSlots, open_workbench
from mograder.processes.isolated_call import IsolatedCall
from mograder.sandbox.execution.judging import Runner
from mograder.sandbox.protocol import Limits
from mograder.store.course.sources import ContractStore, contracts_of

assert sys.platform == "linux"  # grading needs supervisors

_MEGABYTE = 1 << 20
_MANY = 2
"""Runs from which a process is kept for each environment; recording and judging are that many."""


@dataclass(frozen=True, slots=True)
class GradingTools:
    """The tools of grading; the same for all assignments and submissions of a run.

    ``environment`` returns the environment that a notebook's text asks for, built if missing.
    ``key`` signs results (:mod:`mograder.grading.submissions.grading_result`); ``slots`` numbers
    the sandboxes.
    """

    runner: Runner
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
    opening = open_workbench(loaded, environ, sandbox=sandbox, runs=_MANY, jobs=jobs)
    async with opening as bench:
        yield GradingTools(
            runner=bench.runner,
            environment=bench.environment,
            settings=loaded.settings,
            contracts=contracts_of(loaded),
            key=key,
        )


def lowered(limits: Limits, rlimits: RlimitsSettings, memory_mb: int | None = None) -> Limits:
    """Return limits that are at most those of ``[rlimits]``; ``memory_mb`` replaces its ``as``."""
    own = -(-(rlimits.as_ or 0) // _MEGABYTE) if memory_mb is None else memory_mb
    memory = _least(limits.memory_mb, own)
    soft = limits.memory_soft_mb
    return limits.model_copy(
        update={
            "memory_mb": memory,
            "memory_soft_mb": 0 if memory and soft >= memory else soft,
            "processes": _least(limits.processes, rlimits.nproc),
            "open_files": _least(limits.open_files, rlimits.nofile),
        }
    )


def _least(limit: int, other: int | None) -> int:
    """Return the lower of two limits, of which 0 and None mean none."""
    return min((each for each in (limit, other) if each and each > 0), default=0)
