"""Answers that want a mark without earning it: each ends in a report that gives them none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mograder.grading.validate import Submission, validate
from mograder.grading.validation_report import CheckStatus, ValidationReport
from mograder.sandbox.execution.report import Outcome
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.protocol import Limits
from mograder.store.filesystem.files import remove_tree
from tests.support.graded_notebook import UNANSWERED, with_answer
from tests.support.launchers import open_local
from tests.support.supervisors import real_config, short_directory

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

LIMITS = Limits(processes=64, open_files=256, file_size_mb=64, tmp_mb=64, memory_mb=400)
TRUE = "lambda self, label, checks: _old(self, label, [(True, '')])"
PIPES = (
    "import json, os, stat",
    "_line = dict(kind='check', index=4, label='Q1: one', status='success', details=[])",
    "_line.update(earned_weight=1.0, total_weight=1.0)",
    "_data = json.dumps(_line).encode() + b'\\n'",
    "for _fd in range(3, 200):",
    "    try:",
    "        if stat.S_ISFIFO(os.fstat(_fd).st_mode):",
    "            os.write(_fd, _data)",
    "    except OSError:",
    "        pass",
)


@dataclass
class Rig:
    executor: SandboxedRunner
    environment: Path

    async def validate(self, *answer: str, seconds: float = 100) -> ValidationReport:
        """Validate the release with this answer."""
        text = with_answer(*answer)
        return await validate(
            Submission(text, "A1.py", self.environment, LIMITS, seconds, UNANSWERED),
            self.executor.execute,
        )


@pytest.fixture
async def rig(tmp_path: Path, uv_cache: Path, run_directory: Path) -> AsyncIterator[Rig]:
    with short_directory() as runtime:
        async with open_local(real_config(runtime, tmp_path, uv_cache), tmp_path) as local:
            environment, copies = await local.environment(run_directory), tmp_path / "copies"
            yield Rig(SandboxedRunner(local.launcher, copies, remove_tree), environment)
            assert not list(copies.iterdir())


PATCHES: dict[str, tuple[str, ...]] = {
    "the method of the class": (
        "from mograder.runtime import Grader as _Grader",
        "_old = _Grader.check",
        f"_Grader.check = {TRUE}",
        "x = 0",
    ),
    "the method's own code": (
        "from mograder.runtime import Grader as _Grader",
        "_pass = lambda self, label, checks: self._tell(label, 1)",
        "_Grader.check.__code__ = _pass.__code__",
        "x = 0",
    ),
    "what judges": (
        "import mograder.judging as _j, mograder.runtime as _r",
        "_old = _j.judge",
        "_j.judge = _r.judge = lambda label, checks: _old(label, [(True, '')])",
        "x = 0",
    ),
    "what is true": (
        "import mograder.judging as _j",
        "_j._holds = lambda condition: True",
        "x = 0",
    ),
    "builtins": (
        "import builtins as _b",
        "_b.bool = _b.all = lambda *_: True",
        "x = 0",
    ),
    "the words of the sidecar": (
        "import json as _json",
        "_old = _json.dumps",
        "_json.dumps = lambda told, **_: _old({**told, 'status': 'success'})",
        "x = 0",
    ),
    "the modules themselves": (
        "import sys, types",
        "_fake = types.ModuleType('mograder.runtime')",
        "_fake.Grader = _fake.check = lambda *_: None",
        "sys.modules['mograder.runtime'] = sys.modules['mograder.judging'] = _fake",
        "x = 0",
    ),
}


async def test_what_an_answer_replaces_is_put_back_before_a_check_runs(rig: Rig) -> None:
    for name, answer in PATCHES.items():
        report = await rig.validate(*answer)
        assert not report.ok, name
        assert [check.status for check in report.checks] == [
            CheckStatus.DANGER,
            CheckStatus.DANGER,
        ], (name, report)
        assert report.marks == (0.0, 15.0), name


async def test_what_is_written_into_the_report_spoils_it_and_earns_nothing(rig: Rig) -> None:
    report = await rig.validate(*PIPES, "x = 0")
    assert report.outcome is Outcome.UNREADABLE
    assert report.marks == (0.0, 15.0)
    assert "none of it counts" in report.problem


async def test_a_class_that_equals_everything_passes_as_the_teacher_wrote_the_check(
    rig: Rig,
) -> None:
    """The limit that the page names: a check can only ask what it asks."""
    report = await rig.validate(
        "class X:",
        "    def __eq__(self, other):",
        "        return True",
        "    def __hash__(self):",
        "        return 0",
        "x = X()",
    )
    assert [check.passed for check in report.checks] == [True, False]


GREEDY: dict[str, tuple[tuple[str, ...], Outcome, str]] = {
    "memory": (
        ("import os", "for _ in range(4): os.fork()", "_k = b'x' * (220 << 20)", "while 1: pass"),
        Outcome.OUT_OF_MEMORY,
        "more memory",
    ),
    "time": (("while True: pass",), Outcome.TIMED_OUT, "endless loop"),
    "leaving": (("import sys, os", "os._exit(0)"), Outcome.EXITED, "before its last cell"),
}


@pytest.mark.parametrize("greed", GREEDY)
async def test_who_takes_too_much_is_told_so_and_earns_nothing(rig: Rig, greed: str) -> None:
    answer, outcome, words = GREEDY[greed]
    report = await rig.validate(*answer, "x = 1", seconds=20)
    assert report.outcome is outcome, report
    assert words in report.problem
    assert report.marks == (0.0, 15.0)


async def test_a_gigabyte_of_prints_and_a_broken_stdout_cost_nothing(rig: Rig) -> None:
    report = await rig.validate(
        "for _ in range(1000): print('x' * (1 << 20))",
        "import sys",
        "sys.stdout.close()",
        "sys.stdout = sys.stderr = None",
        "x = 1",
    )
    assert report.outcome is Outcome.FINISHED, report
    assert report.checks[0].passed


async def test_leaving_by_an_exception_skips_what_needs_the_cell(rig: Rig) -> None:
    report = await rig.validate("import sys", "sys.exit(0)", "x = 1")
    assert report.cell_errors[0].error_type == "SystemExit"
    assert [check.status for check in report.checks] == [CheckStatus.NOT_RUN] * 2
