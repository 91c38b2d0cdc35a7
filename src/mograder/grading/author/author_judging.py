"""Judging an author's notebooks apart from their checks, with or without a sandbox."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from mograder.core.tasks.single_flight import Progress
from mograder.grading.author.author_runs import AuthorJudging, AuthorTrial
from mograder.grading.runs.sandbox_slots import SandboxSlots
from mograder.grading.runs.workbench import GradingBench
from mograder.grading.submissions.contract_recording import Recording, keep_contract
from mograder.notebook.grading.grading_plan import parse_plan
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from mograder.sandbox.execution.runner import folder_digest
from mograder.sandbox.execution.unsandboxed import AuthorEnvironment
from mograder.sandbox.execution.unsandboxed_judge import judge_as_author
from mograder.sandbox.inside.grading_contract import parse_contract
from mograder.sandbox.protocol import Deadlines, Limits
from mograder.store.course.contracts import ContractStore

assert sys.platform == "linux"  # the worker needs it

_SEED = "rehearsal"


def trusted_judging(environment: AuthorEnvironment, deadlines: Deadlines) -> AuthorJudging:
    """Return how to judge an author's own notebook without a sandbox; no contract is kept."""

    async def judge(trial: AuthorTrial, progress: Progress) -> JudgingResult:
        request = _request(trial, Path(), Limits.model_construct(), deadlines)
        return await judge_as_author(environment, request, progress)

    async def keep(trial: AuthorTrial, contract: str) -> None:
        """Keep nothing: grading uses another environment."""

    return AuthorJudging(judge, keep)


def sandboxed_judging(
    bench: GradingBench, deadlines: Deadlines, contracts: ContractStore
) -> AuthorJudging:
    """Return how to judge a notebook as `mograder autograde` does."""

    slots = SandboxSlots()

    async def judge(trial: AuthorTrial, progress: Progress) -> JudgingResult:
        environment = await bench.environment(trial.header or trial.text, progress)
        request = _request(trial, environment, bench.limits, deadlines)
        with slots.pair() as (worker, judge):
            numbered = replace(request, uid_slot=worker, judge_slot=judge)
            return await bench.judges.judge(numbered)

    async def keep(trial: AuthorTrial, contract: str) -> None:
        recording = Recording(
            text=trial.text,
            filename=trial.name,
            plan=parse_plan(trial.files.plan),
            environment=await bench.environment(trial.text, lambda _: None),
            limits=bench.limits,
            deadlines=deadlines,
            folder=trial.folder.absolute(),
            files_sha256=await asyncio.to_thread(folder_digest, trial.folder),
        )
        await asyncio.to_thread(keep_contract, contracts, recording, parse_contract(contract))

    return AuthorJudging(judge, keep)


def _request(
    trial: AuthorTrial, environment: Path, limits: Limits, deadlines: Deadlines
) -> JudgingRequest:
    return JudgingRequest(
        text=trial.text,
        name=trial.name,
        files=trial.files,
        environment=environment,
        limits=limits,
        deadlines=deadlines,
        interface=trial.interface,
        skip=trial.skip,
        seed=_SEED,
        folder=trial.folder,
        rehearse=trial.files.contract is None,
    )
