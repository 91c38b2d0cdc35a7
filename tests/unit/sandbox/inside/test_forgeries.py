"""No hostile notebook earns what an empty one would not, and none runs code in the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox.inside import forgeries
from tests.unit.sandbox.inside.judging import Judged, WarmPrograms, judged, notebook

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
def reference(tmp_path_factory: pytest.TempPathFactory, programs: WarmPrograms) -> Judged:
    directory = tmp_path_factory.mktemp("reference")
    return judged(directory, forgeries.SOURCE, forgeries.SOURCE, programs=programs)


@pytest.fixture(scope="module")
def events(
    tmp_path_factory: pytest.TempPathFactory, reference: Judged, programs: WarmPrograms
) -> set[str]:
    """The judge with an honest answer."""
    directory = tmp_path_factory.mktemp("honest")
    more: dict[str, Any] = {"program": str(_AUDITED), "programs": programs}
    source = forgeries.SOURCE
    run = judged(directory, source, source, contract=reference.contract, **more)
    assert earned(run) == totals(run) == totals(reference)
    return events_of(directory)


@pytest.fixture(scope="module")
def nothing(
    tmp_path_factory: pytest.TempPathFactory, reference: Judged, programs: WarmPrograms
) -> dict[str, float]:
    """The marks of a notebook that has every name and no answer."""
    directory = tmp_path_factory.mktemp("empty")
    text = forgeries.hostile("", "unused")
    contract = reference.contract
    run = judged(directory, forgeries.SOURCE, text, contract=contract, programs=programs)
    return earned(run)


def events_of(directory: Path) -> set[str]:
    return set((directory / "audited_judge" / "events").read_text().splitlines())


def attempt(directory: Path, code: str, contract: dict[str, Any], **more: Any) -> Judged:
    """Judge a hostile notebook with the audited judge."""
    canary = directory / "canary"
    canary.touch()
    text = forgeries.hostile(code, str(canary))
    return judged(
        directory, forgeries.SOURCE, text, contract=contract, program=str(_AUDITED), **more
    )


def test_an_empty_notebook_earns_nothing(nothing: dict[str, float]) -> None:
    assert set(nothing.values()) <= {0.0}


@pytest.mark.parametrize("name", [*forgeries.EXPLOITS, *forgeries.SLOW])
def test_a_forgery_earns_nothing(
    tmp_path: Path,
    programs: WarmPrograms,
    reference: Judged,
    events: set[str],
    nothing: dict[str, float],
    name: str,
) -> None:
    code = (forgeries.EXPLOITS | forgeries.SLOW)[name]
    more: dict[str, Any] = {"seconds": _SHORT} if name in forgeries.SLOW else {}
    run = attempt(tmp_path, code, reference.contract, programs=programs, **more)
    assert totals(run) == totals(reference)
    most = nothing | forgeries.ALLOWED.get(name, {})
    gained = {
        label: (weight, run.text)
        for label, weight in earned(run).items()
        if weight > most.get(label, 0.0)
    }
    assert gained == {}
    assert str(run.judge) not in (tmp_path / "canary").read_text().split()
    assert events_of(tmp_path) <= events
    assert "needs attention" not in {check["state"] for check in run.checks}


def test_28_what_an_answer_says_of_identity_is_claimed(
    tmp_path: Path, programs: WarmPrograms, reference: Judged
) -> None:
    run = attempt(tmp_path, "def same(v): return v", reference.contract, programs=programs)
    (check,) = [each for each in run.checks if each["labels"][0]["label"] == "Q19"]
    assert check["labels"][0]["passed"]
    assert check["claims"] != []


def test_25_a_model_that_judges_itself_is_claimed(tmp_path: Path, programs: WarmPrograms) -> None:
    source = notebook(
        "from mograder.runtime import check",
        "### BEGIN SOLUTION\nclass Model:\n    def score(self, x, y):\n        return 0.9\n"
        "### END SOLUTION",
        "check('Q1', [(Model().score([1], [2]) > 0.5, 'good enough')])",
    )
    reference = judged(tmp_path, source, source, programs=programs)
    text = notebook("class Model:\n    def score(self, x, y): return 1.0")
    run = judged(tmp_path, source, text, contract=reference.contract, programs=programs)
    assert earned(run) == {"Q1": 1.0}
    assert run.checks[0]["claims"] != []


def test_the_canary_and_the_audit_notice_code_of_a_submission(
    tmp_path: Path, programs: WarmPrograms, events: set[str]
) -> None:
    """Here the teacher's own check runs such code."""
    canary = tmp_path / "canary"
    run_it = forgeries.TRACE.replace("@CANARY@", str(canary)) + "noted()\ncheck('Q', [])"
    source = notebook(
        "from mograder.runtime import check",
        "### BEGIN SOLUTION\nx = 1\n### END SOLUTION",
        f"x\n{run_it}",
    )
    more: dict[str, Any] = {"program": str(_AUDITED), "programs": programs}
    run = judged(tmp_path, source, source, **more)
    assert set(canary.read_text().split()) == {str(run.judge)}
    assert events_of(tmp_path) - events >= {"exec of the submission"}
