"""grading.author.author_runs: the limits of an author's runs. None is really run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from mograder.core.settings import load_settings, read_environ
from mograder.grading.author import author_runs
from mograder.grading.author.author_runs import AuthorTrial, open_runs
from mograder.notebook.grading.grading_split import plan_source
from mograder.sandbox.execution.judging import JudgeFiles
from mograder.sandbox.protocol import Deadlines, timed
from tests.support.fake_judges import SOURCE, FakeJudges, FakeRuns, fake_workbench

HEADER = "# [tool.mograder.limits]\n# memory_mb = 512\n# processes = 5\n# ///\n\nimport"
TEXT = SOURCE.replace("# ///\n\nimport", HEADER, 1)
PLAN = plan_source(TEXT, "hw1.py").plan


def silent(_: str) -> None:
    """Tell nothing."""


@pytest.mark.parametrize(("sandbox", "expected"), [(True, (512, 7)), (False, (0, 0))])
async def test_limits_are_the_items_in_a_sandbox_and_none_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: bool, expected: tuple[int, int]
) -> None:
    (tmp_path / "mograder.toml").write_text("[items.hw1.limits]\nprocesses = 7\n")
    notebook = tmp_path / "hw1.py"
    notebook.write_text(TEXT)
    loaded = load_settings(tmp_path, environ={})
    executor, judges = FakeRuns(), FakeJudges()
    monkeypatch.setattr(author_runs, "open_workbench", partial(fake_workbench, executor, judges))
    opening = open_runs(loaded, read_environ(), silent, runs=1, jobs=1, sandbox=sandbox)
    async with opening as runs:
        of_item = runs.of_item("hw1")
        await of_item.run(notebook, tmp_path, silent)
        files = JudgeFiles(PLAN, None, tmp_path)
        await of_item.judge(AuthorTrial(TEXT, "hw1.py", tmp_path, files, (), ()), silent)
    asked = [each.limits for each in executor.asked]
    asked += [each.limits for each in judges.asked]
    assert [(each.memory_mb, each.processes) for each in asked] == [expected] * 2


async def test_an_authors_checks_have_the_time_that_those_of_a_submission_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mograder.toml").write_text("[defaults]\ntimeout = 900\n")
    loaded = load_settings(tmp_path, environ={})
    judges = FakeJudges()
    monkeypatch.setattr(author_runs, "open_workbench", partial(fake_workbench, FakeRuns(), judges))
    async with open_runs(loaded, read_environ(), silent, runs=1, jobs=1, sandbox=False) as runs:
        files = JudgeFiles(PLAN, None, tmp_path)
        await runs.judge(AuthorTrial(TEXT, "hw1.py", tmp_path, files, (), ()), silent)
    (asked,) = judges.asked
    assert asked.deadlines == timed(Deadlines(), 900)
