"""A submission is graded in real sandboxes; the examples' own solutions earn all their marks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mograder.grading.submissions.graded_assignment import AssignmentFiles, GradedAssignment
from mograder.grading.submissions.grading_result import (
    GradingResult,
    GradingState,
    is_signed,
    render_result,
    sign_result,
)
from mograder.notebook.source.release import make_release
from mograder.sandbox.execution.report import CellStatus, ExecutionRequest
from mograder.store.course.course import read_notebook
from tests.support.course import REPOSITORY
from tests.support.fake_judges import SOLVED, SOURCE, SQUARE, UNPROTECTED, answered, release_of
from tests.support.grading_rig import GradingRig, marks, open_grading_rig, rig

__all__ = ["rig"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

S = GradingState


async def test_answers_earn_what_the_checks_give_them(rig: GradingRig) -> None:
    assignment = await rig.prepare(SOURCE)
    honest = await rig.grade(assignment, SOLVED)
    assert marks(honest) == {
        "Q1": (10.0, S.JUDGED),
        "Q2": (5.0, S.JUDGED),
        "Essay": (None, S.MANUAL),
    }
    assert honest.result.protected
    assert honest.result.tampered == ()
    [first, _] = honest.result.checks
    assert [(each.call, each.result) for each in first.calls][:1] == [("area(2)", "4")]
    skipped = {each.index for each in honest.cells if each.status is CellStatus.SKIPPED}
    assert skipped == {3, 5}
    partial = answered(SOURCE, ("area = ...", "def area(side):\n        return 2 * side"))
    found = await rig.grade(assignment, partial)
    assert marks(found)["Q1"] == (2.5, S.JUDGED)
    assert marks(found)["Q2"] == (0.0, S.JUDGED)
    empty = await rig.grade(assignment, release_of(SOURCE))
    assert empty.result.auto_mark == 0.0


async def test_a_cell_that_fails_leaves_only_its_own_question_without_marks(
    rig: GradingRig,
) -> None:
    assignment = await rig.prepare(SOURCE)
    text = answered(SOURCE, ("area = ...", "area = 1 / 0"), ("total = ...", "total = 6"))
    found = await rig.grade(assignment, text)
    assert marks(found)["Q1"] == (0.0, S.NOT_RUN)
    assert marks(found)["Q2"] == (5.0, S.JUDGED)
    assert "`area` is not defined" in found.result.questions[0].reason
    [error] = found.result.cell_errors
    assert error.error_type == "ZeroDivisionError"
    assert text.splitlines()[(error.line or 0) - 1].strip() == "area = 1 / 0"


async def test_notebooks_that_end_badly_earn_nothing_and_say_why(rig: GradingRig) -> None:
    assignment = await rig.prepare(SOURCE, quick=True)
    ends = {
        "while True: pass": "endless loop",
        "import os; os._exit(0)": "",
        "x = bytearray(1 << 40)": "",
        "import ctypes; ctypes.string_at(0)": "",
    }
    for line, why in ends.items():
        found = await rig.grade(assignment, answered(SOURCE, ("area = ...", f"{line}; area = 1")))
        assert marks(found)["Q1"] == (0.0, S.NOT_RUN), line
        assert why in found.result.problem, line
        assert found.result.state in (S.NOT_RUN, S.JUDGED), line
    again = await rig.grade(assignment, SOLVED)
    assert again.result.auto_mark == 15.0


def without_times(result: GradingResult) -> GradingResult:
    """The result without the fields that differ from run to run."""
    checks = []
    for check in result.checks:
        calls = (replace(call, milliseconds=0.0) for call in check.calls)
        checks.append(check.model_copy(update={"calls": tuple(calls)}))
    return result.model_copy(update={"at": "", "seconds": 0.0, "checks": tuple(checks)})


@pytest.mark.parametrize("marimo", ["marimo", "marimo==0.23.9"])
async def test_the_same_submission_twice_cold_and_warm_differs_in_times_only(
    rig: GradingRig, tmp_path: Path, uv_cache: Path, run_directory: Path, marimo: str
) -> None:
    random = SOURCE.replace('["marimo"]', f'["{marimo}"]').replace(
        '    check("Q1: area", [',
        "    import random\n    _n = random.random()\n"
        '    check("Q1: area", [(area(_n) == _n**2, f"{_n} {set(\'abcdefgh\')}"), ',
    )
    assignment = await rig.prepare(random)
    # Processes are kept from the second run on, and judges are forked later still.
    found = [await rig.grade(assignment, SOLVED) for _ in range(4)]
    place = run_directory / "environments"
    bodies = [without_times(each.result) for each in found]
    (tmp_path / "again").mkdir()
    shutil.copytree(rig.course / ".mograder", tmp_path / "again" / "course" / ".mograder")
    opened = open_grading_rig(tmp_path / "again" / "course", tmp_path / "again", uv_cache, place)
    async with opened as cold:
        again = await cold.grade(await cold.prepare(random), SOLVED)
    bodies.append(without_times(again.result))
    assert len({render_result(each) for each in bodies}) == 1
    assert len({sign_result(rig.tools.key, each) for each in bodies}) == 1
    assert is_signed(cold.tools.key, bodies[0], sign_result(rig.tools.key, bodies[0]))


async def test_an_older_marimo_gives_the_same_marks_and_reasons(rig: GradingRig) -> None:
    newest = await rig.grade(await rig.prepare(SOURCE), SOLVED)
    older = await rig.prepare(SOURCE.replace('["marimo"]', '["marimo==0.23.9"]'))
    found = await rig.grade(older, SOLVED)
    assert found.result.environment != newest.result.environment
    assert found.result.questions == newest.result.questions
    assert without_times(found.result).checks == without_times(newest.result).checks


async def test_unprotected_questions_run_beside_their_answers_with_hidden_tests(
    rig: GradingRig,
) -> None:
    assignment = await rig.prepare(UNPROTECTED)
    text = answered(UNPROTECTED, SQUARE, ("total = ...", "total = 5"))
    found = await rig.grade(assignment, text)
    assert marks(found)["Q1"] == (10.0, S.JUDGED)
    assert marks(found)["Q2"] == (1.7, S.UNPROTECTED)
    labels = {each.label: each for check in found.result.checks for each in check.labels}
    assert labels["Q2: secret"].hidden
    assert [each.message for each in labels["Q2: secret"].conditions] == ["even"]


async def test_without_a_sandbox_every_mark_is_a_proposal(
    runtime: Path, tmp_path: Path, uv_cache: Path, run_directory: Path
) -> None:
    place = run_directory / "environments"
    opened = open_grading_rig(tmp_path / "course", runtime, uv_cache, place, sandbox=False)
    async with opened as rig:
        found = await rig.grade(await rig.prepare(SOURCE), SOLVED)
    assert marks(found)["Q1"] == (10.0, S.UNPROTECTED)
    assert not found.result.protected


EXAMPLES = [
    *sorted((REPOSITORY / "examples" / "course" / "source").glob("A*")),
    *sorted(
        path.parent
        for path in (REPOSITORY / "tests" / "data" / "legacy").glob("*/*.py")
        if path.stem == path.parent.name
    ),
]


@pytest.mark.parametrize("directory", EXAMPLES, ids=lambda path: path.name)
async def test_courses_of_ours_and_for_0_3_16_are_judged_unchanged(
    rig: GradingRig, directory: Path
) -> None:
    source = directory / f"{directory.name}.py"
    release = rig.course / "release" / directory.name / source.name
    shutil.copytree(directory, release.parent)
    release.write_text(released(source))
    assignment = await rig.prepare(AssignmentFiles(directory.name, source, release))
    found = await rig.grade(assignment, read_notebook(source))
    result = found.result
    assert result.problem == ""
    assert result.auto_mark == result.auto_available
    assert {each.state for each in result.questions} <= {S.JUDGED, S.CLAIMED, S.MANUAL}
    beside = await own_run(rig, assignment, source)
    judged = {each.label: each.passed for check in result.checks for each in check.labels}
    assert judged == {label: status == "success" for label, status in beside.items()}
    empty = await rig.grade(assignment, assignment.release or "")
    assert empty.result.auto_mark in (0.0, None)
    assert empty.result.tampered == ()
    assert not any(each.earned for each in empty.result.questions)


def released(source: Path) -> str:
    made = make_release(source.read_text(), filename=source.name, assignment=source.stem)
    assert made is not None
    return made.text


async def own_run(rig: GradingRig, assignment: GradedAssignment, source: Path) -> dict[str, str]:
    """The last status of each label when the notebook runs by itself."""
    request = ExecutionRequest(
        read_notebook(source),
        "own.py",
        assignment.environment,
        assignment.limits,
        100.0,
        source.parent,
    )
    result = await rig.tools.runner.execute(request)
    return {each.label: each.status for each in result.checks}
