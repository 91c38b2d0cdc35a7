"""Students who validate on a hub: the same text runs once, another one waits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mograder.core.errors import Busy
from mograder.grading.validate import Submission, Validations
from mograder.sandbox.execution.report import ExecutionRequest, ExecutionResult
from mograder.sandbox.protocol import Limits
from tests.support.hub_app import NOTEBOOK, FakeRuns

LIMITS = Limits(processes=8, open_files=64, file_size_mb=8, tmp_mb=8)


@dataclass
class LateRuns(FakeRuns):
    """Runs that begin only when it is their turn."""

    turn: asyncio.Event = field(default_factory=asyncio.Event)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        self.reached.set()
        await self.turn.wait()
        return await super().execute(request)


def submission(text: str = NOTEBOOK) -> Submission:
    return Submission(text, "A1.py", Path("environment"), LIMITS, 10)


async def test_the_same_text_runs_once_and_both_learn_what_came_of_it() -> None:
    runs = FakeRuns(hold=asyncio.Event())
    assert runs.hold is not None
    validations, told = Validations(runs.execute), asyncio.Queue[str]()
    async with asyncio.TaskGroup() as tasks:
        both = [
            tasks.create_task(validations.validate("alice", submission(), told.put_nowait))
            for _ in range(2)
        ]
        assert [await told.get(), await told.get()] == ["Running the notebook"] * 2
        await runs.reached.wait()
        with pytest.raises(Busy):
            await validations.validate("alice", submission(NOTEBOOK + "#"), told.put_nowait)
        other = tasks.create_task(validations.validate("bob", submission(), told.put_nowait))
        assert await told.get() == "Waiting: 1 notebook came before yours"
        assert await told.get() == "Running the notebook"
        runs.hold.set()
    assert both[0].result() is both[1].result()
    assert other.result() is not both[0].result()
    assert len(runs.asked) == 2


async def test_a_notebook_that_waits_for_others_is_not_said_to_run() -> None:
    runs, told = LateRuns(), asyncio.Queue[str]()
    validations = Validations(runs.execute)
    first = asyncio.create_task(validations.validate("alice", submission(), lambda _: None))
    await runs.reached.wait()
    second = asyncio.create_task(validations.validate("bob", submission(), told.put_nowait))
    assert await told.get() == "Waiting: 1 notebook came before yours"
    runs.turn.set()
    assert await told.get() == "Running the notebook"
    await asyncio.gather(first, second)


async def test_few_requests_of_a_student_wait_for_one_run() -> None:
    runs = FakeRuns(hold=asyncio.Event())
    assert runs.hold is not None
    validations = Validations(runs.execute)

    async def ask() -> bool:
        try:
            await validations.validate("alice", submission(), lambda _: None)
        except Busy:
            return False
        return True

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(ask()) for _ in range(50)]
        await runs.reached.wait()
        runs.hold.set()
    assert sum(each.result() for each in asked) == 4
    assert await ask()


async def test_who_has_an_answer_may_ask_again() -> None:
    runs = FakeRuns()
    validations = Validations(runs.execute)
    for text in (NOTEBOOK, NOTEBOOK + "#", NOTEBOOK):
        await validations.validate("alice", submission(text), lambda _: None)
    assert len(runs.asked) == 3


async def test_nothing_is_remembered_of_students_whose_validation_is_over() -> None:
    validations = Validations(FakeRuns().execute)
    for number in range(20):
        await validations.validate(f"student{number}", submission(), lambda _: None)
    assert len(validations._last) == 1


async def test_what_goes_on_ends_with_the_hub() -> None:
    runs = FakeRuns(hold=asyncio.Event())
    validations = Validations(runs.execute)
    waiting = asyncio.ensure_future(validations.validate("alice", submission(), lambda _: None))
    await runs.reached.wait()
    await validations.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
