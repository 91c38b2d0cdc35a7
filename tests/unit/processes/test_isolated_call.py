"""A notebook that crashes the parser affects only its own validation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.grading.validation.validate import Submission, validate
from mograder.processes.isolated_call import IsolatedCall
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.protocol import Limits
from tests.support.hub_app import FakeRuns

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

LIMITS = Limits(processes=8, open_files=64, file_size_mb=8, tmp_mb=8)
NOTEBOOK = """import marimo

app = marimo.App()


@app.cell
def _():
    from mograder.runtime import check
    return (check,)


@app.cell
def _(check):
    check("Q1: one", [(True, "no")])
    return
"""
RAN = ExecutionResult(
    Outcome.FINISHED,
    (CellResult(0, "_", CellStatus.OK), CellResult(1, "_", CellStatus.OK)),
    (CheckResult("Q1: one", "success", (), 1.0, 1.0, 1),),
)


def submission(text: str, release: str | None = None) -> Submission:
    return Submission(text, "A1.py", Path("environment"), LIMITS, 10, release)


async def test_a_large_notebook_is_judged_as_a_small_one() -> None:
    large = NOTEBOOK + "# " + "x" * 100_000 + "\n"
    runs = FakeRuns(RAN)
    small = await validate(submission(NOTEBOOK), runs, IsolatedCall())
    assert await validate(submission(large), runs, IsolatedCall()) == small
    assert small.ok
    assert runs.asked[1].text == large


async def test_one_that_the_parser_dies_of_is_refused_in_words() -> None:
    with pytest.raises(InvalidInput, match="too large or too complex"):
        await IsolatedCall().call(os._exit, 3, size=1_000_000)


async def test_one_that_takes_all_memory_is_a_report_of_its_own() -> None:
    bomb = NOTEBOOK.replace("True", "[" + "[]," * 4_000_000 + "]")
    runs = FakeRuns(RAN)
    report = await validate(submission(bomb), runs, IsolatedCall())
    assert (report.outcome, runs.asked) == (Outcome.UNREADABLE, [])


async def test_a_release_that_is_no_notebook_is_told_with_its_hint() -> None:
    with pytest.raises(InvalidInput) as caught:
        await validate(submission(NOTEBOOK, "x = (" + " " * 40_000), FakeRuns(RAN), IsolatedCall())
    assert "A1.py:1" in caught.value.message
