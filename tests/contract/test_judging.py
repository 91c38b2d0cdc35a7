"""A submission is judged by two real sandboxes, and only a whole report of the judge counts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.grading.grading_plan import source_sha256
from mograder.sandbox.client.supervisor_client import ConnectionLost
from mograder.sandbox.execution.judging import JudgingResult
from mograder.sandbox.execution.report import CellStatus, ExecutionRequest, Outcome
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.inside.grading_contract import Contract
from mograder.sandbox.protocol import Deadlines
from mograder.store.filesystem.files import remove_tree
from tests.support.judging_rig import (
    LIMITS,
    JudgingRig,
    earned,
    notebook,
    of,
    only_warm,
    open_rig,
    rig,
)
from tests.support.launchers import address_of, make_spec, shown, soon_healthy
from tests.support.marimo import open_editor
from tests.support.supervisors import break_off, inside_of, real_config, short_directory, until

__all__ = ["rig"]

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

HIDDEN = "check('Q2: hidden', [(double(_v) == 2 * _v, 'random')])"


def source_of(given: str = "", hidden: str = HIDDEN) -> str:
    """Return a source with more given code, or another hidden test."""
    return notebook(
        f"import marimo as mo, random\nfrom mograder.runtime import check\nfactor = 2\n{given}",
        '_marks = {"Q1": 2, "Q2": 3}',
        "### BEGIN SOLUTION\nx = 3\n### END SOLUTION",
        "### BEGIN SOLUTION\ndef double(v):\n    return factor * v\n### END SOLUTION",
        "check('Q1: x', [(x == 3, 'x is not 3'), (x > 0, 'x is negative', 2)])",
        "check('Q2: double', [(double(2) == 4, 'two')])\n### BEGIN HIDDEN TESTS\n"
        f"_v = random.random()\n{hidden}\n### END HIDDEN TESTS",
    )


SOURCE = source_of()


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
        assert starts["warm"] == 6


FILES = notebook(
    "import pathlib, tempfile\nfrom mograder.runtime import check",
    "### BEGIN SOLUTION\ndef doubled(path, to):\n"
    "    to.write_text(2 * pathlib.Path(path).read_text())\n### END SOLUTION",
    "_d = pathlib.Path(tempfile.mkdtemp())\n_p, _q = _d / 'p', _d / 'q'\n_p.write_text('ab')\n"
    "check('Q1', [(doubled(str(_p), _q) is None, 'none'), (_q.read_text() == 'abab', 'twice'),\n"
    "    (_p.read_text() == 'ab', 'kept')])",
)


async def test_a_file_that_a_check_names_is_there_for_the_answer_and_comes_back(
    rig: JudgingRig,
) -> None:
    contract = await rig.contract(FILES)
    right = "def doubled(path, to):\n    to.write_text(2 * pathlib.Path(path).read_text())"
    spoilt = f"{right}\n    pathlib.Path(path).write_text('')"
    for answer, expected in ((right, 3.0), (spoilt, 3.0), (right.replace("2 *", "3 *"), 2.0)):
        result = await rig.judge(FILES, notebook("import pathlib", answer), contract)
        assert earned(result) == {"Q1": (expected, 3.0)}


def _without_times(result: JudgingResult) -> object:
    untimed = [
        replace(c, calls=tuple(replace(call, milliseconds=0.0) for call in c.calls))
        for c in result.checks
    ]
    cells = [replace(cell, seconds=0.0) for cell in result.worker.cells]
    return result.problem, result.given, untimed, cells


TEMPLATE = source_of(
    "start = random.random()",
    HIDDEN.replace("'random'", "f'random {_v} {start} {random.random()}'"),
)


@only_warm
async def test_judges_are_the_same_cold_and_forked_after_the_template(
    rig: JudgingRig, runtime: Path, tmp_path: Path, uv_cache: Path, run_directory: Path
) -> None:
    contract = await rig.contract(TEMPLATE)
    wrong = submission(double="def double(v):\n    return v")
    first = await rig.judge(TEMPLATE, wrong, contract)
    while not (await rig.local.starts()).get("template"):
        again = await rig.judge(TEMPLATE, wrong, contract)
    assert _without_times(again) == _without_times(first)
    (tmp_path / "cold").mkdir()
    with short_directory() as directory:
        config = real_config(directory, tmp_path / "cold", uv_cache)
        config = config.model_copy(update={"warm_environments": 0})
        async with open_rig(config, tmp_path / "cold", run_directory) as other:
            cold = await other.judge(TEMPLATE, wrong, contract)
    assert _without_times(again) == _without_times(cold)
    (hidden,) = (each for each in of(cold, "Q2: hidden").labels if each.label == "Q2: hidden")
    assert hidden.conditions[0].message.startswith("random 0.")


LEFT_BEHIND = {
    "a thread": "import threading\n_t = threading.Thread(target=threading.Event().wait)\n"
    "_t.daemon = True\n_t.start()",
    "a process": "import subprocess\n_kept = subprocess.Popen(['sleep', '600'])",
    "an open file": "opened = open('/usr/bin/cat', 'rb')",
    "a file": "open('/tmp/written', 'w').close()",
    "a variable": "import os\nos.environ['SET'] = '1'",
    "an error": "1 / 0",
}


@only_warm
async def test_a_template_that_a_fork_cannot_go_on_from_is_run_by_each_judge(
    rig: JudgingRig,
) -> None:
    for name, given in LEFT_BEHIND.items():
        source = source_of(given)
        contract = await rig.contract(SOURCE)
        contract = replace(contract, source_sha256=source_sha256(source))
        before = await rig.local.starts()
        why = f"no template: template {'failed' if name == 'an error' else 'left behind'}"
        while (await rig.local.starts()).get(why, 0) == before.get(why, 0):
            result = await rig.judge(source, submission(), contract)
            if name == "an error":
                assert {check.state for check in result.checks} == {"needs attention"}
            else:
                assert earned(result) == RIGHT, name
    assert "template" not in await rig.local.starts()


def judges_of(rig: JudgingRig, what: str = "plan.json") -> list[psutil.Process]:
    """Return the processes of judges; of workers for a part of their arguments."""
    found = []
    for process in inside_of(rig.local.launcher):
        with contextlib.suppress(psutil.Error):
            arguments = " ".join(process.cmdline())
            if what in arguments and "zygote.py" not in arguments:
                found.append(process)
    return found


async def kill_once(rig: JudgingRig, contract: Contract, what: str, after: float) -> str:
    """Judge, kill all processes whose arguments contain a text, and return what came of it."""
    judging = asyncio.create_task(rig.judge(SOURCE, submission(), contract))
    await asyncio.wait({judging}, timeout=after)
    for process in judges_of(rig, what):
        with contextlib.suppress(psutil.Error):
            process.kill()
    result = await judging
    if result.problem:
        assert result.checks == ()
        return "problem"
    for label, (got, total) in earned(result).items():
        assert (got, total) in (RIGHT[label], (0.0, total))
    return "complete" if earned(result) == RIGHT else "not run"


KILLS = [
    pytest.param(10, id="ten"),
    pytest.param(100, id="hundred", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
]


@only_warm
@pytest.mark.parametrize("kills", KILLS)
async def test_a_judge_that_is_killed_never_gives_a_mark(rig: JudgingRig, kills: int) -> None:
    contract = await rig.contract(SOURCE)
    started = time.monotonic()
    assert earned(await rig.judge(SOURCE, submission(), contract)) == RIGHT
    longest = 1.2 * (time.monotonic() - started)
    moments = random.Random(18)
    seen = [
        await kill_once(rig, contract, "plan.json", moments.random() * longest)
        for _ in range(kills)
    ]
    assert set(seen) <= {"problem", "complete"}, seen
    assert "problem" in seen


@only_warm
async def test_a_worker_that_is_killed_gives_no_more_than_what_was_judged(rig: JudgingRig) -> None:
    contract = await rig.contract(SOURCE)
    moments = random.Random(18)
    for _ in range(5):
        assert await kill_once(rig, contract, '"interface"', moments.random() * 0.3)


async def test_a_connection_that_breaks_twice_gives_no_result(rig: JudgingRig) -> None:
    contract = await rig.contract(SOURCE)
    slow = submission("time.sleep(60)\nx = 3")
    judging = asyncio.create_task(rig.judge(SOURCE, slow, contract))
    seen: set[psutil.Process] = set()
    for _ in range(2):
        await until(lambda: bool(set(judges_of(rig)) - seen))
        seen.update(judges_of(rig))
        await break_off(rig.local.launcher)
    with pytest.raises(ConnectionLost):
        await judging
    assert earned(await rig.judge(SOURCE, submission(), contract)) == RIGHT
    await until(lambda: not judges_of(rig))


async def test_a_cancelled_judging_ends_both_sandboxes_before_it_returns(rig: JudgingRig) -> None:
    contract = await rig.contract(SOURCE)
    slow = submission("time.sleep(600)\nx = 3")
    judging = asyncio.create_task(rig.judge(SOURCE, slow, contract))
    await until(lambda: bool(judges_of(rig) and judges_of(rig, '"interface"')))
    judging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await judging
    assert not judges_of(rig)
    assert not judges_of(rig, '"interface"')
    assert await rig.is_clean()
    assert earned(await rig.judge(SOURCE, submission(), contract)) == RIGHT


async def test_the_times_of_notebook_and_checks_are_limited_apart(rig: JudgingRig) -> None:
    contract = await rig.contract(SOURCE)
    deadlines = Deadlines(call=5.0, check=8.0, submission=30.0, notebook=15.0)
    hung = submission(x="while True: pass")
    result = await rig.judge(SOURCE, hung, contract, deadlines)
    assert earned(result) == NOTHING
    assert {check.reason for check in result.checks} == {"the notebook took more than 15 seconds"}
    assert result.worker.outcome is Outcome.TIMED_OUT
    assert result.worker.cells[-1].status is CellStatus.INTERRUPTED
    deadlines = Deadlines(call=3.0, check=3.0, submission=9.0, notebook=60.0)
    late = submission("time.sleep(10)\nx = 3", "def double(v): time.sleep(60)")
    result = await rig.judge(SOURCE, late, contract, deadlines)
    assert earned(result) == NOTHING | {"Q1: x": (3.0, 3.0)}
    assert result.worker.outcome is Outcome.FINISHED


async def test_a_worker_that_is_stopped_is_waited_for_once(rig: JudgingRig) -> None:
    checks = [f"check('Q{number}: double', [(double(2) == 4, 'two')])" for number in (1, 2, 3)]
    source = notebook(
        "from mograder.runtime import check\n_marks = {'Q1': 1, 'Q2': 1, 'Q3': 1}",
        "### BEGIN SOLUTION\ndef double(v):\n    return 2 * v\n### END SOLUTION",
        *checks,
    )
    stops = "def double(v):\n    os.kill(os.getppid(), 19)\n    return 2 * v"
    result = await rig.judge(source, submission(double=stops), await rig.contract(source))
    assert [check.state for check in result.checks] == ["judged", "not run", "not run"], result
    lost = "the notebook's process does not answer: "
    assert of(result, "Q2: double").reason.startswith(lost)
    assert of(result, "Q3: double").reason == f"{lost}it did not end a check"


OWN_NAMES = ("codec_rules", "serve", "enter_sandbox", "cell_runner", "own_modules", "numpy_values")


async def test_files_of_the_same_names_as_our_programs_are_the_students(
    rig: JudgingRig, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in OWN_NAMES:
        (folder / f"{name}.py").write_text("mine = 1\n")
    used = f"import {', '.join(OWN_NAMES)}\nx = " + " + ".join(f"{n}.mine" for n in OWN_NAMES)
    text = notebook(used, "def double(v):\n    import shared_objects\n    return shared_objects.v")
    (folder / "shared_objects.py").write_text("v = 1\n")
    contract = await rig.contract(SOURCE)
    request = rig.request(SOURCE, text, contract=contract, beside=folder)
    result = await rig.runner.judge(request)
    assert earned(result) == NOTHING | {"Q1: x": (2.0, 3.0)}, result  # x is 6
    executor = SandboxedRunner(rig.local.launcher, tmp_path / "copies", remove_tree)
    ran = await executor.execute(
        ExecutionRequest(notebook(used, "print(x)"), "A1.py", rig.environment, LIMITS, 60, folder)
    )
    assert [cell.output_tail for cell in ran.cells] == ["", "6\n"], ran
    shutil.copytree(folder, rig.local.place / "mine")
    spec = make_spec("own", rig.local.place, rig.environment, notebook=notebook(f"{used}\nx"))
    for each in folder.iterdir():
        shutil.copy(each, spec.directory)
    endpoint = (await rig.local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    async with open_editor(address_of(endpoint, spec), run=True) as editor:
        assert ">6<" in await shown(editor)
    assert await rig.local.launcher.stop(spec.session_id)


async def test_without_a_sandbox_nothing_is_protected(
    runtime: Path, tmp_path: Path, uv_cache: Path, run_directory: Path
) -> None:
    config = real_config(runtime, tmp_path, uv_cache)
    config = config.model_copy(update={"sandbox": "none", "warm_environments": 0})
    async with open_rig(config, tmp_path, run_directory) as rig:
        contract = await rig.contract(SOURCE)
        result = await rig.judge(SOURCE, submission(), contract)
        (kept,) = (rig.copies / "judges").glob("*/contract.json")
        files = {path.name for path in kept.parent.rglob("*")}
        assert files == {"plan.json", "contract.json", "files"}, "a run leaves nothing there"
    assert earned(result) == RIGHT
    assert not result.protected


async def test_worker_and_judge_are_two_users(rig: JudgingRig) -> None:
    request = rig.request(SOURCE, submission(), contract=await rig.contract(SOURCE))
    with pytest.raises(InvalidInput, match="different users"):
        await rig.runner.judge(replace(request, judge_slot=request.uid_slot))
