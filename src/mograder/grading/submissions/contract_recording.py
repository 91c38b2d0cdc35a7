"""The recording of a contract: the author's own solution is judged apart from the checks.

A recorded contract is kept by all that it depends on: the plan, the environment, the files beside
the source and the version of contracts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.grading.workbench import SandboxSlots
from mograder.notebook.cells import parse_cells
from mograder.notebook.findings import Finding, refuse
from mograder.notebook.grading.grading_plan import (
    GradingPlan,
    PlannedLabel,
    code_digest,
    render_plan,
    texts_of,
)
from mograder.sandbox.execution.judging import (
    JudgedCheck,
    JudgeFiles,
    JudgingRequest,
    JudgingResult,
    Runner,
    parse_contract,
)
from mograder.sandbox.inside.grading_contract import VERSION, Contract, render_contract
from mograder.sandbox.protocol import Deadlines, Limits
from mograder.store.course.sources import ContractStore

_REMEDY = "Correct it, or mark the check with `# mograder: unprotected`."
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Recording:
    """The author's source to record a contract of.

    ``folder`` has the files beside it, and ``files_sha256`` is their digest
    (:func:`~mograder.sandbox.execution.notebook_copies.folder_digest`).
    """

    text: str
    filename: str
    plan: GradingPlan
    environment: Path
    limits: Limits
    deadlines: Deadlines
    folder: Path
    files_sha256: str


async def record_contract(recording: Recording, runner: Runner, slots: SandboxSlots) -> Contract:
    """Judge the author's own solution without a contract, and return the one that it shows.

    Then it is judged once more, by that contract as every submission will be. Else what is possible
    only while a contract is recorded would cost all students their marks.

    Raises:
        InvalidInput: The solution is not judged as passing, so the contract would not do.
        MograderError: It could not be run at all.
    """
    plan = recording.plan
    with slots.pair() as (worker, judge):  # those of no student, whose user ids would be theirs
        request = JudgingRequest(
            text=recording.text,
            name=PurePath(recording.filename).name,
            files=JudgeFiles(plan, None, recording.folder),
            environment=recording.environment,
            limits=recording.limits,
            deadlines=recording.deadlines,
            interface=interface_of(plan),
            skip=tuple(sorted(check_digests(recording.text, plan))),
            seed=plan.source_sha256,
            texts=texts_of(recording.text, "<source>", plan),
            folder=recording.folder,
            uid_slot=worker,
            judge_slot=judge,
        )
        recorded = await runner.judge(request)
        refuse(contract_problems(recording.filename, plan, recorded))
        if recorded.contract is None:
            raise MograderError(f"{recording.filename}: no contract was recorded.")
        files = replace(request.files, contract=recorded.contract)
        result = await runner.judge(replace(request, files=files))
        refuse(contract_problems(recording.filename, plan, result))
    return recorded.contract


def interface_of(plan: GradingPlan) -> tuple[str, ...]:
    """Return the names that the judge may ask a worker for."""
    return tuple(answer.name for answer in plan.answers)


def check_digests(text: str, plan: GradingPlan) -> frozenset[str]:
    """Return the SHA-256 of the cells of a source or its release with nothing but checks."""
    parts = (part for part in (*plan.checks, *plan.beside) if part.code)
    whole = {part.cell for part in parts if part.check and not part.check.split}
    cells = parse_cells(text, "<source>").cells
    return frozenset(code_digest(cell.code) for cell in cells if cell.index in whole)


def kept_contract(store: ContractStore, recording: Recording) -> Contract | None:
    text = store.read(_key(recording))
    if text is None:
        return None
    try:
        contract = parse_contract(text)
    except ValueError as error:
        _log.warning("a kept contract of %s is not used: %s", recording.filename, error)
        return None
    return contract if contract.source_sha256 == recording.plan.source_sha256 else None


def keep_contract(store: ContractStore, recording: Recording, contract: Contract) -> None:
    store.write(_key(recording), render_contract(contract))


def _key(recording: Recording) -> str:
    found = hashlib.sha256(f"{VERSION}\n{recording.environment.name}\n".encode())
    found.update(render_plan(recording.plan).encode())
    found.update(recording.text.encode("utf-8", "surrogatepass"))
    found.update(recording.files_sha256.encode())
    return found.hexdigest()


def contract_problems(
    filename: str, plan: GradingPlan, result: JudgingResult
) -> tuple[Finding, ...]:
    """Return why a contract must not be kept: the author's solution is not judged as passing.

    With a contract that lacks a check no submission could be judged. Lines are those of the source.
    """
    return tuple(sorted(set(_problems(filename, plan, result))))


def _problems(filename: str, plan: GradingPlan, result: JudgingResult) -> Iterator[Finding]:
    if result.problem:
        yield Finding(filename, 1, f"its solution could not be judged: {result.problem}", "")
        return
    lines = {cell.index: cell.line for cell in plan.cells}
    for cell, why in result.given.items():
        yield Finding(
            filename, lines.get(cell, 1), f"this cell fails in the judge: {why}.", _REMEDY
        )
    checks = {check.cell: check for check in result.checks}
    for part in plan.checks:
        check, planned = checks.get(part.cell), () if part.check is None else part.check.labels
        if check is None:
            yield Finding(filename, part.line, "this check did not run in the judge.", _REMEDY)
        else:
            yield from _problems_of(filename, check, planned)


def _problems_of(
    filename: str, check: JudgedCheck, planned: tuple[PlannedLabel, ...]
) -> Iterator[Finding]:
    lines = {each.label: each.line for each in planned}
    if check.state != "judged":
        message = f"this check cannot be judged with its author's own solution: {check.reason}."
        yield Finding(filename, check.line, message, _REMEDY)
        return
    found = {each.label for each in check.labels}
    for name, line in lines.items():
        if name is not None and name not in found:
            why = f": {check.reason}" if check.reason else ""
            message = f"the check {name!r} did not run, with its author's own solution{why}."
            yield Finding(filename, line, message, _REMEDY)
    for label in check.labels:
        if not label.passed:
            failed = [each for each in label.conditions if not each.passed][:3]
            reasons = (f"{each.message} ({each.reason})".removesuffix(" ()") for each in failed)
            why = "; ".join(reasons) or "it waits for an answer"
            message = f"the check {label.label!r} fails when it is judged apart: {why}."
            yield Finding(filename, lines.get(label.label, check.line), message, _REMEDY)
