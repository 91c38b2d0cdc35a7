"""What holds for the plan of every text: one role for each cell, and nothing lost between them.

A hundred examples by default; ``HYPOTHESIS_PROFILE=long`` runs each property for thousands.
"""

from __future__ import annotations

import ast
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import parse_cells, split_lines
from mograder.notebook.grading.grading_advice import review_conditions
from mograder.notebook.grading.grading_plan import GradingPlan, Role, render_plan
from mograder.notebook.grading.grading_split import PlannedSource, plan_source
from tests.unit.notebook import corpus
from tests.unit.notebook.grading_sources import hidden, named, solved, source
from tests.unit.notebook.strategies import NAMES, TEXTS, damaged, notebooks, tampered

pytestmark = pytest.mark.timeout(1800)
FEW = settings(max_examples=max(30, settings().max_examples // 5))
SHORT = st.sampled_from("abcdefg")


@st.composite
def graded(draw: st.DrawFn) -> str:
    """A source whose cells use each other's names: answers, helpers, checks in any order."""
    cells = []
    for number in range(draw(st.integers(1, 8))):
        name, used = draw(SHORT), draw(st.lists(SHORT, max_size=3))
        value = " + ".join(used) or "1"
        label = draw(st.sampled_from(['"Q1"', '"Q2: x"', 'f"Q{1}"', name]))
        check = f"check({label}, [({value}, 'm')])"
        body = draw(
            st.sampled_from(
                [
                    f"{name}{number} = {value}",
                    f"{name} = {value}",
                    solved(f"{name} = {value}"),
                    f"{name} = ...\n" + solved(f"{name} = {value}") + f"\n{check}",
                    solved(f"_x = {value}") + f"\n{name} = _x\n{check}",
                    f"# mograder: unprotected\n{check}",
                    check,
                    hidden(check),
                    f"def {name}(v):\n    return {value}",
                    f'# === MOGRADER: MARKS ===\n_marks = {{"Q1": 1}}\n{name} = 1',
                ]
            )
        )
        title = draw(st.sampled_from(["_", "_", "test_Q1", "written_analysis"]))
        cells.append(named(title, body, draw(st.sampled_from(["", "", "(disabled=True)"]))))
    return source(*cells)


def attempt(text: str) -> PlannedSource | None:
    """The plan of a text; None if it is refused. Nothing else may come out of it."""
    try:
        return plan_source(text, "hw.py")
    except InvalidInput:
        return None


def holds(text: str) -> None:
    """What is true of every plan."""
    made = attempt(text)
    if made is None:
        return
    plan = made.plan
    assert plan_source(text, "hw.py") == made
    assert GradingPlan.model_validate_json(render_plan(plan)) == plan
    assert [cell.index for cell in plan.cells] == list(range(len(parse_cells(text, "x").cells)))
    errors, advice = review_conditions(plan, "hw.py")
    lines = text.count("\n") + text.count("\r") + 1
    for finding in (*made.errors, *made.advice, *errors, *advice):
        assert 1 <= finding.line <= lines
        assert finding.message.endswith((".", "…"))
        assert finding.hint.endswith(".")
    for part in (*plan.template, *plan.judged, *plan.beside):
        in_file = split_lines(text)[part.line - 1].strip().lstrip("\ufeff")
        assert not part.code or part.code.split("\n")[0].strip() in in_file
    sound(plan)


def sound(plan: GradingPlan) -> None:
    """Every part has its names, from parts before it or from answers; no code runs twice."""
    crossing = {answer.name for answer in plan.answers}
    for answer in plan.answers:
        assert answer.cells
        assert all(plan.cells[index].role is Role.STUDENT for index in answer.cells)
    parts = [*plan.template, *plan.judged, *plan.beside]
    assert len({part.cell for part in parts}) == len(parts)
    for part in parts:
        ast.parse(part.code)
        student = plan.cells[part.cell].role is Role.STUDENT
        assert not student or (part.check is not None and part in (*plan.judged, *plan.beside))
        assert not plan.cells[part.cell].disabled or part.check is None
    for part in plan.template:
        assert part.answers == ()
        assert part.check is None
        assert not crossing.intersection(part.uses)
    for part in plan.judged:
        assert set(part.answers) <= crossing
        assert crossing.intersection(part.uses) <= set(part.answers)


@pytest.mark.parametrize("name", corpus.names())
def test_each_small_notebook_has_a_sound_plan(name: str) -> None:
    holds(corpus.source(name))


def test_most_small_notebooks_have_a_plan() -> None:
    made = [name for name in corpus.names() if attempt(corpus.source(name))]
    assert len(made) > 60


@FEW
@given(graded())
def test_each_source_has_a_sound_plan(text: str) -> None:
    holds(text)


@FEW
@given(notebooks(marked=True))
def test_each_notebook_has_a_sound_plan(text: str) -> None:
    holds(text)


@FEW
@given(st.one_of(TEXTS, damaged(), tampered()))
def test_a_text_is_planned_or_refused(text: str) -> None:
    holds(text)


def names_before(plan: GradingPlan) -> bool:
    """Whether each part comes after the parts that define its names."""
    crossing = {answer.name for answer in plan.answers}
    definer = {
        name: part.cell
        for part in (*plan.template, *plan.judged)
        for name in plan.cells[part.cell].defines
    }
    seen: set[int] = set()
    for part in (*plan.template, *plan.judged):
        needed = {definer.get(name) for name in part.uses if name not in crossing}
        if not needed <= seen | {part.cell}:
            return False
        seen.add(part.cell)
    return True


@FEW
@given(graded())
def test_a_plan_without_errors_runs_each_part_after_those_it_needs(text: str) -> None:
    made = attempt(text)
    if made is not None and not made.errors:
        assert names_before(made.plan)


@FEW
@given(st.lists(NAMES, unique=True, min_size=2, max_size=6), st.data())
def test_a_chain_of_given_cells_is_needed_as_a_whole(names: list[str], data: st.DataObject) -> None:
    """The answer stands somewhere in a chain of cells: before it template, behind it judged."""
    at = data.draw(st.integers(0, len(names) - 1))
    cells = [f"{names[0]} = 1"]
    cells += [f"{name} = {before} + 1" for before, name in pairwise(names)]
    cells[at] = solved(cells[at])
    order = data.draw(st.permutations([*cells, f"check('Q1', [({names[-1]}, '')])"]))
    plan = plan_source(source(*order), "hw.py").plan
    assert [answer.name for answer in plan.answers] == [names[at]]
    assert len(plan.template) == 0
    assert len(plan.judged) == len(names) - at
