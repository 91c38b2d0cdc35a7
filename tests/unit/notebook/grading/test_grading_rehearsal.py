"""Run in two namespaces, the parts of a plan give the results of the whole notebook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_plan import GradingPlan, Role
from mograder.notebook.grading.grading_split import plan_source

LEGACY = Path(__file__).parents[3] / "data" / "legacy"
RESULTS = {
    "A1-Everything": {"Q1: The mean": 2, "Q2: The area": 5, "Q3: A word": 1, "Without marks": 1},
    "demo-holistic": {"Q1: Palindrome checker": 4, "Q2: Word counter": 3},
}


def above(plan: GradingPlan, cells: set[int]) -> set[int]:
    """These cells and all that they depend on."""
    definers = {name: cell.index for cell in plan.cells for name in cell.defines}
    found = cells | {definers[name] for index in cells for name in plan.cells[index].uses}
    return found if found == cells else above(plan, found)


def run(codes: list[str], names: dict[str, object]) -> None:
    """Run code as one process of the two would."""
    for code in codes:
        exec(compile(code, "<part>", "exec"), names)


@pytest.mark.parametrize("name", RESULTS)
def test_the_parts_of_a_plan_give_the_results_of_the_notebook(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = tmp_path / "checks.jsonl"
    monkeypatch.setenv("MOGRADER_SIDECAR_PATH", str(sidecar))
    text = (LEGACY / name / f"{name}.py").read_text()
    plan, cells = plan_source(text, f"{name}.py").plan, parse_cells(text, f"{name}.py").cells
    worker: dict[str, object] = {}
    judge: dict[str, object] = {}

    needed = above(plan, {index for answer in plan.answers for index in answer.cells})
    assert not any(plan.cells[index].role is Role.CHECK for index in needed)
    run([cells[index].code for index in sorted(needed)], worker)
    run([part.code for part in plan.template], judge)
    assert not sidecar.exists()
    judge.update({answer.name: worker[answer.name] for answer in plan.answers})
    run([part.code for part in plan.judged], judge)

    results = [json.loads(line) for line in sidecar.read_text().splitlines()]
    assert {each["label"]: each["earned_weight"] for each in results} == RESULTS[name]
    assert {each["status"] for each in results} == {"success"}
