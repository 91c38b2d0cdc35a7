"""A submission is judged by two real sandboxes, and only a whole report of the judge counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.sandbox.execution.report import CellStatus, Outcome
from tests.support.judging_rig import JudgingRig, earned, notebook, of, open_rig
from tests.support.supervisors import real_config

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

SOURCE = notebook(
    "import marimo as mo, random\nfrom mograder.runtime import check\nfactor = 2\n"
    '_marks = {"Q1": 2, "Q2": 3}',
    "### BEGIN SOLUTION\nx = 3\n### END SOLUTION",
    "### BEGIN SOLUTION\ndef double(v):\n    return factor * v\n### END SOLUTION",
    "check('Q1: x', [(x == 3, 'x is not 3'), (x > 0, 'x is negative', 2)])",
    "check('Q2: double', [(double(2) == 4, 'two')])\n### BEGIN HIDDEN TESTS\n"
    "_v = random.random()\ncheck('Q2: hidden', [(double(_v) == 2 * _v, 'random')])\n"
    "### END HIDDEN TESTS",
)


def submission(x: str = "x = 3", double: str = "def double(v):\n    return 2 * v") -> str:
    """Return what a student hands in."""
    return notebook(
        "import os, time\nfrom mograder.runtime import check",
        x,
        double,
        "check('Q1: x', [(x == 3, 'x is not 3')])",
    )


RIGHT = {"Q1: x": (3.0, 3.0), "Q2: double": (1.0, 1.0), "Q2: hidden": (1.0, 1.0)}
NOTHING = {label: (0.0, total) for label, (_, total) in RIGHT.items()}


@pytest.fixture(params=[0, 1], ids=["cold", "warm"])
async def rig(
    request: pytest.FixtureRequest,
    runtime: Path,
    tmp_path: Path,
    uv_cache: Path,
    run_directory: Path,
) -> AsyncIterator[JudgingRig]:
    config = real_config(runtime, tmp_path, uv_cache)
    config = config.model_copy(update={"warm_environments": request.param})
    async with open_rig(config, tmp_path, run_directory / "environments") as rig:
        yield rig
        assert await rig.is_clean()
        assert not await rig.local.launcher.sessions()


only_warm = pytest.mark.parametrize("rig", [1], indirect=True)


async def test_each_check_gets_what_it_earned(rig: JudgingRig) -> None:
    contract = await rig.contract(SOURCE)
    result = await rig.judge(SOURCE, submission(), contract)
    assert earned(result) == RIGHT
    assert result.protected
    assert result.worker.outcome is Outcome.FINISHED
    assert [cell.status for cell in result.worker.cells] == [CellStatus.OK] * 4
    wrong = await rig.judge(SOURCE, submission(x="x = 4", double="def double(v): 1 / 0"), contract)
    assert earned(wrong) == NOTHING | {"Q1: x": (2.0, 3.0)}
    assert [c.reason for c in of(wrong, "Q2: hidden").labels[0].conditions] != [""]
    assert of(wrong, "Q2: hidden").hidden
    if rig.local.kept:
        starts = await rig.local.starts()
        assert starts == {"warm": 6}
