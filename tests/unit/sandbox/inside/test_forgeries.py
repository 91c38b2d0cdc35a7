"""No hostile notebook earns what an empty one would not, and none runs code in the judge."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox.inside import forgeries
from tests.unit.sandbox.inside.judging import Judge, Judged, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]
_AUDITED = Path(__file__).parent / "audited_judge.py"
_SHORT = {"notebook": 30.0, "call": 1.5, "check": 3.0, "submission": 12.0}


def earned(run: Judged) -> dict[str, float]:
    """Return the weight that each label has earned."""
    return {
        label["label"]: label["earned"]
        for check in run.checks
        if check["state"] == "judged"
        for label in check["labels"]
    }


def totals(run: Judged) -> dict[str, float]:
    """Return the weight of each label."""
    return {each["label"]: each["total"] for check in run.checks for each in check["labels"]}


@pytest.fixture(scope="module")
def reference(judge: Judge) -> Judged:
    return judge(forgeries.SOURCE, forgeries.SOURCE)


@pytest.fixture(scope="module")
def events(judge: Judge, reference: Judged) -> set[str]:
    """The judge with an honest answer."""
    source, contract = forgeries.SOURCE, reference.contract
    run = judge(source, source, contract=contract, program=str(_AUDITED))
    assert earned(run) == totals(run) == totals(reference)
    return events_of(run)


@pytest.fixture(scope="module")
def nothing(judge: Judge, reference: Judged) -> dict[str, float]:
    """The marks of a notebook that has every name and no answer."""
    text = forgeries.hostile("", "unused")
    return earned(judge(forgeries.SOURCE, text, contract=reference.contract))


def events_of(run: Judged) -> set[str]:
    return set((run.directory / "audited_judge" / "events").read_text().splitlines())


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.touch()
    return path


@pytest.fixture
def attempt(judge: Judge, reference: Judged, canary: Path) -> Judge:
    """Judges a hostile notebook with the audited judge."""
    audited = partial(judge, contract=reference.contract, program=str(_AUDITED))
    return lambda code, **more: audited(
        forgeries.SOURCE, forgeries.hostile(code, str(canary)), **more
    )


def test_an_empty_notebook_earns_nothing(nothing: dict[str, float]) -> None:
    assert set(nothing.values()) <= {0.0}


@pytest.mark.parametrize("name", [*forgeries.EXPLOITS, *forgeries.SLOW])
def test_a_forgery_earns_nothing(
    attempt: Judge,
    canary: Path,
    reference: Judged,
    events: set[str],
    nothing: dict[str, float],
    name: str,
) -> None:
    code = (forgeries.EXPLOITS | forgeries.SLOW)[name]
    more: dict[str, Any] = {"seconds": _SHORT} if name in forgeries.SLOW else {}
    run = attempt(code, **more)
    assert totals(run) == totals(reference)
    most = nothing | forgeries.ALLOWED.get(name, {})
    gained = {
        label: (weight, run.text)
        for label, weight in earned(run).items()
        if weight > most.get(label, 0.0)
    }
    assert gained == {}
    assert str(run.judge) not in canary.read_text().split()
    assert events_of(run) <= events
    assert "needs attention" not in {check["state"] for check in run.checks}


def test_28_what_an_answer_says_of_identity_is_claimed(attempt: Judge) -> None:
    run = attempt("def same(v): return v")
    (check,) = [each for each in run.checks if each["labels"][0]["label"] == "Q19"]
    assert check["labels"][0]["passed"]
    assert check["claims"] != []


def test_25_a_model_that_judges_itself_is_claimed(judge: Judge) -> None:
    source = notebook(
        "from mograder.runtime import check",
        "### BEGIN SOLUTION\nclass Model:\n    def score(self, x, y):\n        return 0.9\n"
        "### END SOLUTION",
        "check('Q1', [(Model().score([1], [2]) > 0.5, 'good enough')])",
    )
    reference = judge(source, source)
    text = notebook("class Model:\n    def score(self, x, y): return 1.0")
    run = judge(source, text, contract=reference.contract)
    assert earned(run) == {"Q1": 1.0}
    assert run.checks[0]["claims"] != []


def test_the_canary_and_the_audit_notice_code_of_a_submission(
    judge: Judge, canary: Path, events: set[str]
) -> None:
    """Here the teacher's own check runs such code."""
    run_it = forgeries.TRACE.replace("@CANARY@", str(canary)) + "noted()\ncheck('Q', [])"
    source = notebook(
        "from mograder.runtime import check",
        "### BEGIN SOLUTION\nx = 1\n### END SOLUTION",
        f"x\n{run_it}",
    )
    run = judge(source, source, program=str(_AUDITED))
    assert set(canary.read_text().split()) == {str(run.judge)}
    assert events_of(run) - events >= {"exec of the submission"}
