"""Judging an author's notebooks apart from their checks, as grading judges submissions."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from mograder.core.tasks.single_flight import Progress
from mograder.grading.author.author_runs import AuthorJudging, AuthorTrial
from mograder.grading.runs.sandbox_slots import SandboxSlots
from mograder.grading.runs.workbench import GradingBench, Workbench
from mograder.grading.submissions.contract_recording import Recording, keep_contract
from mograder.notebook.grading.grading_plan import parse_plan
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from mograder.sandbox.execution.runner import folder_digest
from mograder.sandbox.inside.grading_contract import parse_contract
from mograder.sandbox.protocol import Deadlines
from mograder.store.course.contracts import ContractStore

assert sys.platform == "linux"  # the worker needs it

_SEED = "rehearsal"


def author_judging(
    use: Callable[[], Awaitable[Workbench]], deadlines: Deadlines, contracts: ContractStore
) -> AuthorJudging:
    """Return how to judge a notebook as `mograder autograde` does, on the workbench of ``use``.

    No contract is kept of the Python that runs mograder: grading uses another environment.
    """
    slots = SandboxSlots()

    async def judge(trial: AuthorTrial, progress: Progress) -> JudgingResult:
        bench = _grading(await use())
        environment = await bench.environment(trial.header or trial.text, progress)
        with slots.pair() as (worker, judge):
            request = JudgingRequest(
                text=trial.text,
                name=trial.name,
                files=trial.files,
                environment=environment,
                limits=bench.limits,
                deadlines=deadlines,
                interface=trial.interface,
                skip=trial.skip,
                seed=_SEED,
                folder=trial.folder,
                uid_slot=worker,
                judge_slot=judge,
                rehearse=trial.files.contract is None,
            )
            return await bench.judges.judge(request)

    async def keep(trial: AuthorTrial, contract: str) -> None:
        bench = _grading(await use())
        if bench.environments is None:
            return
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


def _grading(bench: Workbench) -> GradingBench:
    """Return a workbench as one that also judges, which all on Linux do."""
    assert isinstance(bench, GradingBench)
    return bench
