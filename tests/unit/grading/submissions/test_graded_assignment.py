"""grading.graded_assignment: what is prepared of the author's files, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import Settings
from mograder.grading.submissions.graded_assignment import AssignmentFiles, prepare_assignment
from mograder.grading.workbench import SandboxSlots
from mograder.notebook.cells import parse_cells
from mograder.notebook.grading.grading_plan import GradingPlan, code_digest
from mograder.sandbox.execution.judging import JudgedState, JudgingRequest, JudgingResult
from tests.support.fake_judges import (
    FINISHED,
    SOURCE,
    UNPROTECTED,
    FakeJudges,
    everything_passed,
    fake_tools,
    judged_check,
    judged_label,
    passing,
    prepared,
    release_of,
    written,
)


def silent(_: str) -> None:
    """Ignore progress."""


async def test_an_assignment_has_its_plan_contract_and_labels(tmp_path: Path) -> None:
    tools = fake_tools(tmp_path)
    assignment = await prepared(tmp_path, tools)
    assert assignment.marks == {"Q1": 10, "Q2": 5, "Essay": 5}
    found = [(each.label, each.key, each.total, each.unprotected) for each in assignment.labels]
    assert found == [
        ("Q1: area", "Q1", 4.0, False),
        ("Q1: more", "Q1", 4.0, False),
        ("Q2: total", "Q2", 1.0, False),
    ]
    assert assignment.warnings == ()
    assert assignment.release == release_of(SOURCE)
    assert assignment.release_folder == tmp_path / "release" / "hw1"
    assert assignment.source is not None
    assert assignment.source.files.folder == tmp_path / "source" / "hw1"


async def test_the_contract_is_recorded_once_and_kept(tmp_path: Path) -> None:
    judges = FakeJudges()
    tools = fake_tools(tmp_path, judges=judges)
    first = await prepared(tmp_path, tools)
    recording, rehearsal = judges.asked
    assert recording.files.contract is None
    assert rehearsal.files.contract is not None
    assert recording.text == rehearsal.text == SOURCE
    again = await prepared(tmp_path, fake_tools(tmp_path, judges=judges))
    assert len(judges.asked) == 2
    assert first.source is not None
    assert again.source == first.source


async def test_a_contract_is_recorded_with_the_user_ids_of_no_student(tmp_path: Path) -> None:
    """On a hub the first numbers are those of its first students."""
    judges = FakeJudges()
    tools = replace(fake_tools(tmp_path, judges=judges), slots=SandboxSlots([41, 42]))
    await prepared(tmp_path, tools)
    assert {(each.uid_slot, each.judge_slot) for each in judges.asked} == {(41, 42)}


@pytest.mark.parametrize("state", ["not run", "needs attention"])
async def test_no_contract_is_kept_unless_every_check_was_judged(
    tmp_path: Path, state: JudgedState
) -> None:
    def answer(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
        first, second = everything_passed(plan)
        undecided = replace(second, state=state, reason="the worker has ended")
        return JudgingResult("", (first, undecided), FINISHED, protected=True)

    tools = fake_tools(tmp_path, judges=FakeJudges(answer))
    with pytest.raises(InvalidInput, match=r"cannot be judged.*the worker has ended"):
        await prepared(tmp_path, tools)
    assert not (tmp_path / "contracts").exists()


@pytest.mark.parametrize("change", ["environment", "source", "file", "damaged"])
async def test_what_a_contract_depends_on_has_it_recorded_again(
    tmp_path: Path, change: str
) -> None:
    judges = FakeJudges()
    tools = fake_tools(tmp_path, judges=judges)
    await prepared(tmp_path, tools)
    source = SOURCE
    if change == "environment":
        source = SOURCE.replace('["marimo"]', '["marimo", "numpy"]')
    elif change == "source":
        source = SOURCE.replace("side * side", "side ** 2")
    elif change == "file":
        (tmp_path / "source" / "hw1" / "data.csv").write_text("1,2")
    else:
        [kept] = (tmp_path / "contracts").iterdir()
        kept.write_text("{")
    await prepared(tmp_path, fake_tools(tmp_path, judges=judges), source)
    assert len(judges.asked) == 4


@pytest.mark.parametrize("when", ["recorded", "judged by its contract"])
async def test_a_solution_that_fails_apart_is_told_with_its_label_and_line(
    tmp_path: Path, when: str
) -> None:
    def answer(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
        if request.files.contract is None and when != "recorded":
            return passing(request, plan)
        label = judged_label("Q2: total", "six")
        checks = (everything_passed(plan)[0], judged_check(plan, label))
        return JudgingResult("", checks, FINISHED, protected=True)

    tools = fake_tools(tmp_path, judges=FakeJudges(answer))
    with pytest.raises(InvalidInput, match=r"hw1.py:\d+: the check 'Q2: total' fails.*: six"):
        await prepared(tmp_path, tools)
    assert not (tmp_path / "contracts").exists()


async def test_a_solution_that_is_not_judged_at_all_is_told(tmp_path: Path) -> None:
    def answer(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
        return JudgingResult("The judge exceeded its limit of memory.", (), FINISHED, False)

    tools = fake_tools(tmp_path, judges=FakeJudges(answer))
    with pytest.raises(InvalidInput, match="limit of memory"):
        await prepared(tmp_path, tools)


async def test_a_label_that_the_solution_does_not_reach_is_told(tmp_path: Path) -> None:
    def answer(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
        first, second = everything_passed(plan)
        cut = judged_check(plan, judged_label("Q1: area"), reason="NameError: name 'x'")
        assert cut.cell == first.cell
        return JudgingResult("", (cut, second), FINISHED, protected=True)

    tools = fake_tools(tmp_path, judges=FakeJudges(answer))
    with pytest.raises(InvalidInput, match=r"'Q1: more' did not run.*NameError"):
        await prepared(tmp_path, tools)


async def test_mistakes_of_the_source_are_told_in_a_line_each(tmp_path: Path) -> None:
    joined = '    total = 6\n    ### END SOLUTION\n    check("Q2: total", [(total == 6, "six")])\n'
    early = SOURCE.replace(
        "    ### BEGIN SOLUTION\n    total = 6",
        '    check("Q2: a", [])\n    ### BEGIN SOLUTION\n    total = 6',
    ).replace(
        "    ### BEGIN SOLUTION\n    def area",
        '    check("Q1: b", [])\n    ### BEGIN SOLUTION\n    def area',
    )
    assert joined not in early
    with pytest.raises(InvalidInput) as caught:
        await prepared(tmp_path, fake_tools(tmp_path), early)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all("one cell with the answer" in line for line in lines)


async def test_a_lecture_is_refused(tmp_path: Path) -> None:
    source = SOURCE.replace("# ///\n\nimport", '# ///\n# mograder-type = "lecture"\n\nimport', 1)
    with pytest.raises(InvalidInput, match="a lecture, which has no marks"):
        await prepare_assignment(written(tmp_path, source, None), fake_tools(tmp_path), silent)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"print(1)\n", b""])
async def test_a_source_that_is_no_notebook_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hw1.py"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"hw1\.py:1"):
        await prepare_assignment(
            AssignmentFiles("hw1", path, None), fake_tools(tmp_path / "t"), silent
        )


async def test_a_release_of_other_cells_is_not_compared_with(tmp_path: Path) -> None:
    other = release_of(SOURCE).replace("_marks", "_points").replace("check", "verify")
    other = other.replace("import marimo as mo", "import marimo as mo, math")
    files = written(tmp_path, SOURCE, other)
    assignment = await prepare_assignment(files, fake_tools(tmp_path), silent)
    assert assignment.release is None
    assert "does not belong to" in assignment.warnings[0]


@pytest.mark.parametrize("message", ["not six", "not six: replace `# YOUR CODE HERE`"])
async def test_a_release_of_an_earlier_version_is_compared_with_and_told(
    tmp_path: Path, message: str
) -> None:
    earlier = release_of(SOURCE).replace('"six"', f'"{message}"')
    files = written(tmp_path, SOURCE, earlier)
    assignment = await prepare_assignment(files, fake_tools(tmp_path), silent)
    assert assignment.release == earlier
    assert "another version" in assignment.warnings[0]
    [check] = [c for c in parse_cells(earlier, "r").cells if "not six" in c.code]
    assert code_digest(check.code) in assignment.checks


async def test_no_release_and_one_that_is_no_notebook_are_told(tmp_path: Path) -> None:
    files = written(tmp_path, SOURCE, None)
    assignment = await prepare_assignment(files, fake_tools(tmp_path), silent)
    assert "there is no release" in assignment.warnings[0]
    assert assignment.release is None
    files = written(tmp_path, SOURCE, "print(1)\n")
    assignment = await prepare_assignment(files, fake_tools(tmp_path), silent)
    assert "cannot be used" in assignment.warnings[0]


async def test_unprotected_questions_are_those_of_the_source_and_of_the_settings(
    tmp_path: Path,
) -> None:
    assignment = await prepared(tmp_path / "a", fake_tools(tmp_path / "a"), UNPROTECTED)
    assert assignment.source is not None
    beside = assignment.source.beside
    assert beside is not None
    assert '"even"' in beside
    assert "secret ten" not in beside
    assert "side * side" not in beside
    labels = [(each.label, each.total) for each in assignment.labels if each.unprotected]
    assert labels == [("Q2: total", 1.0), ("Q2: secret", 2.0)]
    settings = Settings.model_validate({"items": {"hw1": {"unprotected": ["Q2", "Q9"]}}})
    tools = fake_tools(tmp_path / "b", settings=settings)
    assignment = await prepared(tmp_path / "b", tools)
    assert [each.label for each in assignment.labels if each.unprotected] == ["Q2: total"]
    assert assignment.source is not None
    assert [part.check.labels[0].key for part in assignment.source.plan.checks if part.check] == [
        "Q1"
    ]
    assert "'Q9'" in assignment.warnings[0]


async def test_a_source_without_checks_needs_no_contract(tmp_path: Path) -> None:
    begin, end = (
        SOURCE.index("@app.cell\ndef _(area, check)"),
        SOURCE.index("@app.cell\ndef written"),
    )
    source = SOURCE[:begin] + SOURCE[end:]
    judges = FakeJudges()
    assignment = await prepared(tmp_path, fake_tools(tmp_path, judges=judges), source)
    assert judges.asked == []
    assert assignment.source is not None
    assert assignment.labels == ()


async def test_limits_are_the_sources_and_the_settings(tmp_path: Path) -> None:
    header = "# [tool.mograder.limits]\n# memory_mb = 512\n# processes = 5\n# ///\n\nimport"
    source = SOURCE.replace("# ///\n\nimport", header, 1)
    settings = Settings.model_validate(
        {"items": {"hw1": {"limits": {"processes": 7}}}, "defaults": {"timeout": 20}}
    )
    tools = fake_tools(tmp_path, settings=settings)
    assignment = await prepared(tmp_path, tools, source)
    assert (assignment.limits.memory_mb, assignment.limits.processes) == (512, 7)
    assert assignment.deadlines.notebook == 20
    assert assignment.deadlines.check == 20


async def test_without_a_source_the_release_gives_the_labels(tmp_path: Path) -> None:
    assignment = await prepared(tmp_path, fake_tools(tmp_path), None)
    assert assignment.source is None
    assert [each.label for each in assignment.labels] == ["Q1: area", "Q2: total"]
    assert assignment.marks == {"Q1": 10, "Q2": 5, "Essay": 5}
    assert "no source" in assignment.warnings[0]


async def test_without_source_and_release_nothing_is_known(tmp_path: Path) -> None:
    files = AssignmentFiles("hw1", None, None)
    assignment = await prepare_assignment(files, fake_tools(tmp_path), silent)
    assert assignment.marks is None
    assert assignment.labels == ()
