"""grading.author.quality: what is told of a source, by what its variants' runs give."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.grading.author.author_runs import AuthorRuns, AuthorTrial, NotebookVariant
from mograder.grading.author.quality import QualityOptions, QualityWatch, examine
from mograder.grading.author.quality_trials import QualityReport, Submissions
from mograder.notebook.grading.checks_advice import Fault
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionResult,
    Outcome,
)
from tests.support.author_runs import NoRuns
from tests.support.notebooks import notebook

SOURCE = notebook(
    """
    import datetime
    from mograder.runtime import Grader

    # === MOGRADER: MARKS ===
    _marks = {"Q1": 1, "Q2": 1}
    check = Grader(_marks).check
    return check, datetime
    """,
    "### BEGIN SOLUTION\narea = 2 * 3\n### END SOLUTION",
    'check("Q1: Area", [(lambda: area == 6, "six")])',
    """
    @app.function
    def young(age):
        ### BEGIN SOLUTION
        found = age < 18
        ### END SOLUTION
        return found
    """,
    'check("Q2: Young", [(lambda: young(17), "seventeen"), (lambda: not young(18), "eighteen")])',
)
TESTED = SOURCE.replace(
    "\n\nif __name__",
    "\n\n@app.cell\ndef test_Q2():\n    assert not young(18)\n    return\n\n\nif __name__",
)
DATED = SOURCE.replace(
    '    check("Q2: Young"', '    _now = datetime.datetime.now()\n    check("Q2: Young"'
).replace("def _(check):", "def _(check, datetime):")
LABELS = {"Q1: Area": 'check("Q1', "Q2: Young": 'check("Q2'}
Rule = Callable[[str, str], str]
"""The status that a check has in a run, by the notebook's text and the label."""


def waits(text: str) -> bool:
    """Whether a text is the release."""
    return "YOUR CODE HERE" in text


class Runs(NoRuns):
    """Runs nothing: a rule tells what each check says; ``texts`` are those that were run."""

    def __init__(self, rule: Rule, *, ends: Callable[[str], Outcome] | None = None) -> None:
        self.texts: list[str] = []
        self._rule = rule
        self._ends = ends or (lambda text: Outcome.FINISHED)

    async def run_variant(self, variant: NotebookVariant, _: object, /) -> ExecutionResult:
        text = variant.text
        self.texts.append(text)
        checks = []
        for label, call in LABELS.items():
            if call in text:
                status = "warn" if waits(text) else self._rule(text, label)
                checks.append(CheckResult(label, status, ("why",), 0.0, 1.0, 1))  # type: ignore[arg-type]
        printed = f'mograder digests: {{"area": "{"other" if "2 / 3" in text else "6"}"}}\n'
        cell = CellResult(0, "", CellStatus.OK, output_tail=printed)
        return ExecutionResult(self._ends(text), (cell,), tuple(checks), seconds=0.1)

    async def judge(self, trial: AuthorTrial, _: object, /) -> JudgingResult:
        raise SandboxUnavailable("There is no judge.")


def passes(text: str, label: str) -> str:
    """Notice each mistake but these: another boundary, and ``2 + 3`` is never tried."""
    if "found = age" in text and "found = age < 18" not in text and "<= 18" not in text:
        return "danger" if label.startswith("Q2") else "success"
    return "success"


async def examined(place: Path, runs: Runs, text: str = SOURCE, **options: object) -> QualityReport:
    """Return the report on a source."""
    path = place / "A1.py"
    path.write_text(text)
    report = QualityReport("A1.py")
    chosen = QualityOptions(**options)  # type: ignore[arg-type]
    await examine(path, runs, chosen, QualityWatch(), report)
    return report


def told(report: QualityReport) -> set[tuple[Fault, str]]:
    """Return the findings by fault, with the text of their lines."""
    lines = SOURCE.splitlines()
    return {(each.fault, lines[each.line - 1].strip()) for each in report.findings}


async def test_a_wrong_solution_is_told_unless_it_is_noticed_or_gives_the_same_answers(
    tmp_path: Path,
) -> None:
    report = await examined(tmp_path, Runs(passes))
    assert told(report) == {
        (Fault.MUTANT, "found = age < 18"),
        (Fault.MUTANT, "area = 2 * 3"),
    }
    area, young = sorted(report.findings)
    assert area.example == "- area = 2 * 3\n+ area = 2 / 3"
    assert young.example == "- found = age < 18\n+ found = age <= 18"
    assert young.remedy == "Add a condition with a value exactly at the boundary."
    assert "'Q2: Young' still passes" in young.message
    assert (report.tried, report.mutants, report.complete) == (6, 6, True)
    assert (report.noticed, report.same) == (2, 2)
    assert report.notes == ["Junk was not tried: There is no judge."]
    assert report.summary().endswith(
        "2 findings; 2 checks; 2 of 6 wrong solutions noticed, 2 gave the same answers"
    )


@pytest.mark.parametrize("strong", [True, False])
async def test_a_cell_with_asserts_is_a_check(tmp_path: Path, strong: bool) -> None:
    class Asserting(Runs):
        async def run_variant(self, variant: NotebookVariant, _: object, /) -> ExecutionResult:
            result = await super().run_variant(variant, _)
            if "def test_Q2" not in variant.text:
                return result
            fails = waits(variant.text) or (strong and "<= 18" in variant.text)
            status = CellStatus.ERROR if fails else CellStatus.OK
            return replace(result, cells=(*result.cells, CellResult(5, "test_Q2", status)))

    report = await examined(tmp_path, Asserting(passes), TESTED)
    assert report.labels == 3
    area, *young = sorted(report.findings)
    assert area.example == "- area = 2 * 3\n+ area = 2 / 3"
    assert ["'Q2: Young', 'test_Q2' still pass" in each.message for each in young] == (
        [] if strong else [True]
    )


async def test_a_wrong_solution_that_does_not_end_is_noticed(tmp_path: Path) -> None:
    def ends(text: str) -> Outcome:
        return Outcome.TIMED_OUT if "<= 18" in text or "2 / 3" in text else Outcome.FINISHED

    report = await examined(tmp_path, Runs(passes, ends=ends))
    assert report.findings == []
    assert report.noticed == 4


async def test_a_wrong_solution_that_cannot_be_run_is_not_noticed(tmp_path: Path) -> None:
    class Broken(Runs):
        async def run_variant(self, variant: NotebookVariant, _: object, /) -> ExecutionResult:
            if "found = age" in variant.text and "found = age < 18" not in variant.text:
                raise SandboxUnavailable("The disk is full.")
            return await super().run_variant(variant, _)

    report = await examined(tmp_path, Broken(passes))
    assert report.noticed == 0
    assert report.tried < report.mutants
    assert report.notes.count("Wrong solutions could not be run: The disk is full.") == 1


async def test_what_was_found_before_a_cancellation_is_kept(tmp_path: Path) -> None:
    class Endless(Runs):
        async def run_variant(self, variant: NotebookVariant, _: object, /) -> ExecutionResult:
            if "age <= 18" in variant.text:
                await asyncio.Event().wait()
            return await super().run_variant(variant, _)

    path = tmp_path / "A1.py"
    path.write_text(SOURCE)
    report = QualityReport("A1.py")
    runs = Endless(passes)
    task = asyncio.create_task(examine(path, runs, QualityOptions(), QualityWatch(), report))
    while report.tried < 5:  # noqa: ASYNC110 - all but the endless one; a report has no event
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not report.complete
    assert told(report) == {(Fault.MUTANT, "area = 2 * 3")}
    assert "not finished, 1 finding so far" in report.summary()


async def test_each_wrong_solution_runs_with_the_cells_that_its_checks_need(
    tmp_path: Path,
) -> None:
    runs = Runs(passes)
    await examined(tmp_path, runs)
    (text,) = [each for each in runs.texts if "age <= 18" in each]
    assert "Q2: Young" in text
    assert "Q1: Area" not in text
    assert "area" not in text


async def test_when_time_is_over_nothing_more_is_tried_and_that_is_told(tmp_path: Path) -> None:
    report = await examined(tmp_path, Runs(passes), budget=0.0)
    assert report.tried == 0
    assert "6 of 6 wrong solutions were not tried; `--mutants` and `--time` allow more." in (
        report.notes
    )
    few = await examined(tmp_path, Runs(passes), mutants=2)
    assert (few.tried, few.mutants) == (2, 6)


async def test_when_time_is_over_wrong_solutions_that_wait_for_their_turn_are_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(passes)
    right = 4  # the solution, its release, and the solution with the checks of either answer
    clock = SimpleNamespace(monotonic=lambda: math.inf if len(runs.texts) > right + 1 else 0.0)
    monkeypatch.setattr("mograder.grading.author.quality_trials.time", clock)
    report = await examined(tmp_path, runs, jobs=1)
    assert (report.tried, len(runs.texts)) == (2, right + 2)
    assert report.notes == [
        "Junk was not tried: There is no judge.",
        "4 of 6 wrong solutions were not tried; `--mutants` and `--time` allow more.",
    ]


async def test_a_byte_order_mark_is_taken_away_as_when_it_is_generated(tmp_path: Path) -> None:
    runs = Runs(passes)
    await examined(tmp_path, runs, f"\ufeff{SOURCE}", mutants=0)
    assert runs.texts
    assert not any("\ufeff" in text for text in runs.texts)


async def test_what_the_text_shows_of_the_date_is_told(tmp_path: Path) -> None:
    (found,) = (await examined(tmp_path, Runs(passes), DATED, mutants=0)).findings
    assert (found.fault, found.cell) == (Fault.DATE, 5)
    assert found.example == "datetime.datetime.now()"


async def test_a_solution_that_does_not_pass_is_all_that_is_told(tmp_path: Path) -> None:
    runs = Runs(lambda text, label: "danger" if label == "Q1: Area" else "success")
    report = await examined(tmp_path, runs, DATED)
    assert len(runs.texts) == 1
    assert {each.fault for each in report.findings} == {Fault.SOLUTION, Fault.DATE}
    assert report.notes == ["Nothing else was run, since the solution does not pass."]


async def test_submissions_are_never_run_without_a_sandbox(tmp_path: Path) -> None:
    runs = Runs(passes)
    with pytest.raises(SandboxUnavailable, match="strangers' programs"):
        await examined(tmp_path, runs, submissions=Submissions((), tmp_path))
    assert runs.texts == []


async def test_the_runs_have_the_limits_of_the_item(tmp_path: Path) -> None:
    asked: list[str] = []

    class Named(Runs):
        def of_item(self, name: str) -> AuthorRuns:
            asked.append(name)
            return self

    await examined(tmp_path, Named(passes), mutants=0, item="A1")
    assert asked == ["A1"]
