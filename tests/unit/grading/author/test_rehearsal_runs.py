"""grading.rehearsal_runs: a rehearsal keeps the contract that grading would keep, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mograder.grading.author.author_runs import AuthorTrial, RunReport
from mograder.grading.author.rehearsal import Subject, Version, rehearse
from mograder.notebook.grading.grading_plan import parse_plan
from mograder.notebook.grading.grading_split import plan_source
from mograder.sandbox.execution.judging import JudgedCheck, JudgedState, JudgingResult
from tests.support.author_runs import NoRuns
from tests.support.fake_judges import FINISHED, SOURCE, everything_passed, release_of


def unanswered(check: JudgedCheck) -> JudgedCheck:
    """Return the result of a check of the release."""
    labels = (replace(each, earned=0.0, passed=False, conditions=()) for each in check.labels)
    return replace(check, labels=tuple(labels))


class Judged(NoRuns):
    """Judges nothing: the last check of the solution has a state, and all others pass."""

    def __init__(self, state: JudgedState) -> None:
        self.kept: list[str] = []
        self._state = state

    async def judge(self, trial: AuthorTrial, _: object, /) -> JudgingResult:
        checks = everything_passed(parse_plan(trial.files.plan))
        if trial.files.contract is None:
            last = replace(checks[-1], state=self._state, reason="the worker has ended")
            checks = (*checks[:-1], last)
        else:
            checks = tuple(map(unanswered, checks))
        return JudgingResult("", checks, FINISHED, protected=True, contract="the contract")

    async def keep(self, trial: AuthorTrial, contract: str, /) -> None:
        self.kept.append(contract)


async def kept_after(state: JudgedState, place: Path) -> list[str]:
    """Return the contracts that are kept if the last check of the solution has a state."""
    judged = Judged(state)
    subject = Subject(
        "hw1.py",
        plan_source(SOURCE, "hw1.py").plan,
        Version(SOURCE, "hw1.py", place, RunReport()),
        Version(release_of(SOURCE), "hw1.py", place, RunReport()),
    )
    assert not (await rehearse(subject, judged, lambda _: None)).errors
    return judged.kept


@pytest.mark.parametrize(
    ("state", "kept"), [("judged", ["the contract"]), ("needs attention", []), ("not run", [])]
)
async def test_a_contract_is_kept_only_if_every_check_was_judged(
    tmp_path: Path, state: JudgedState, kept: list[str]
) -> None:
    assert await kept_after(state, tmp_path) == kept
