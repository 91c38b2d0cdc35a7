"""Judges submissions in real sandboxes, cold or from zygotes."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import indent

import pytest

from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.notebook.grading.grading_split import plan_source
from mograder.sandbox.execution.judging import (
    JudgedCheck,
    JudgeFiles,
    JudgingRequest,
    JudgingResult,
)
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.inside.grading_contract import Contract
from mograder.sandbox.protocol import Deadlines, Limits
from mograder.sandbox.supervisor.config import SupervisorConfig
from mograder.store.filesystem.files import remove_tree
from tests.support.launchers import Local, open_local

LIMITS = Limits(processes=64, open_files=256, file_size_mb=64, tmp_mb=64, memory_mb=400)
DEADLINES = Deadlines(call=20.0, check=60.0, submission=200.0, notebook=100.0)


def notebook(*cells: str, setup: str = "") -> str:
    """Return the text of a notebook of these cells, which may begin with a setup cell."""
    parts = ["import marimo\n\napp = marimo.App()\n"]
    if setup:
        parts.append(f"\nwith app.setup:\n{indent(setup, '    ')}\n")
    for cell in cells:
        body = "".join(f"    {line}\n" if line else "\n" for line in cell.strip().split("\n"))
        parts.append(f"\n@app.cell\ndef _():\n{body}    return\n")
    return "\n".join(parts)


@dataclass
class JudgingRig:
    """A runner with an environment; ``copies`` is its directory."""

    local: Local
    runner: SandboxedRunner
    environment: Path
    copies: Path

    def request(
        self,
        source: str,
        text: str,
        *,
        contract: Contract | None,
        folder: Path | None = None,
        beside: Path | None = None,
    ) -> JudgingRequest:
        """Return a request; ``folder`` is beside the source, ``beside`` beside the submission."""
        plan: GradingPlan = plan_source(source, "source.py").plan
        checks = (hashlib.sha256(part.code.strip().encode()).hexdigest() for part in plan.checks)
        return JudgingRequest(
            text,
            "A1.py",
            JudgeFiles(plan, contract, folder),
            self.environment,
            LIMITS,
            DEADLINES,
            tuple(each.name for each in plan.answers),
            tuple(checks),
            "seed",
            beside,
        )

    async def contract(self, source: str, folder: Path | None = None) -> Contract:
        """Return the contract that a source's own solution gives."""
        request = self.request(source, source, contract=None, folder=folder, beside=folder)
        result = await self.runner.judge(request)
        assert not result.problem, result.problem
        assert {check.state for check in result.checks} == {"judged"}, result
        assert result.contract is not None
        return result.contract

    async def judge(
        self, source: str, text: str, contract: Contract, deadlines: Deadlines = DEADLINES
    ) -> JudgingResult:
        request = self.request(source, text, contract=contract)
        return await self.runner.judge(replace(request, deadlines=deadlines))

    async def is_clean(self) -> bool:
        """Whether no copy and no process of a run is left."""
        return all(each.name == "judges" for each in self.copies.glob("*"))


@asynccontextmanager
async def open_rig(
    config: SupervisorConfig, place: Path, run_directory: Path
) -> AsyncIterator[JudgingRig]:
    """A rig with a supervisor of its own, gone afterwards."""
    async with open_local(config, place) as local:
        directory = await local.environment(run_directory)
        copies = place / "judging"
        yield JudgingRig(
            local, SandboxedRunner(local.launcher, copies, remove_tree), directory, copies
        )


@pytest.fixture
async def rig(
    cold_or_warm: SupervisorConfig, tmp_path: Path, run_directory: Path
) -> AsyncIterator[JudgingRig]:
    """A rig whose sandboxes start cold or from zygotes; nothing of a run is left at its end."""
    async with open_rig(cold_or_warm, tmp_path, run_directory) as rig:
        yield rig
        assert await rig.is_clean()
        assert not await rig.local.launcher.sessions()


only_warm = pytest.mark.parametrize("cold_or_warm", [1], indirect=True)


def earned(result: JudgingResult) -> dict[str, tuple[float, float]]:
    """Return what each label has earned, and of how much."""
    assert not result.problem, result.problem
    return {
        each.label: (each.earned, each.total) for check in result.checks for each in check.labels
    }


def of(result: JudgingResult, label: str) -> JudgedCheck:
    return next(c for c in result.checks if label in [each.label for each in c.labels])
