"""Validation of notebooks that mean ill, on real sandboxes: each ends in a clear report."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mograder.grading.validate import Submission, validate
from mograder.grading.validation_report import CheckStatus, ValidationReport
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.protocol import Limits
from mograder.store.filesystem.files import remove_tree
from tests.support.graded_notebook import UNANSWERED, with_answer
from tests.support.launchers import open_local
from tests.support.notebooks import notebook
from tests.support.supervisors import real_config

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

LIMITS = Limits(processes=64, open_files=256, file_size_mb=64, tmp_mb=64, memory_mb=400)

FORGE = (
    "import json, os",
    "with open(os.environ['MOGRADER_SIDECAR_PATH'], 'ab') as _f:",
    "    for _label in ('Q1: one', 'Q2: two'):",
    "        _told = dict(label=_label, status='success', details=[])",
    "        _told.update(earned_weight=1, total_weight=1)",
    "        _f.write(json.dumps(_told).encode() + b'\\n')",
)

TESTS = notebook(
    """
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5}
    """,
    "# YOUR CODE HERE\nx = 2",
    "@app.cell\ndef test_Q1_one(x):\n    assert x == 1\n    return",
    "@app.cell\ndef test_Q2_two(x):\n    assert x > 1\n    return",
    '@app.function\ndef test_Q2_called():\n    assert 1 == 2, "one is not two"',
)


@dataclass
class Rig:
    executor: SandboxedRunner
    environment: Path

    async def validate(self, *answer: str, text: str = "") -> ValidationReport:
        """Validate the release with this answer, or another text, against the release."""
        student = text or with_answer(*answer)
        return await validate(
            Submission(student, "A1.py", self.environment, LIMITS, 60, UNANSWERED),
            self.executor.execute,
        )


@pytest.fixture
async def rig(
    runtime: Path, tmp_path: Path, uv_cache: Path, run_directory: Path
) -> AsyncIterator[Rig]:
    async with open_local(real_config(runtime, tmp_path, uv_cache), tmp_path) as local:
        environment = await local.environment(run_directory)
        yield Rig(SandboxedRunner(local.launcher, tmp_path / "copies", remove_tree), environment)


async def test_an_honest_answer_earns_what_it_is_worth(rig: Rig) -> None:
    report = await rig.validate("x = 1")
    assert report.problem == ""
    assert [check.status for check in report.checks] == [CheckStatus.SUCCESS, CheckStatus.PARTIAL]
    assert report.checks[1].messages == ("small",)
    assert report.marks == (12.5, 15.0)
    assert not report.ok
    again = await rig.validate("class X(int):", "    pass", "x = X(1)")
    assert again.checks[0].passed


async def test_a_syntax_error_is_told_where_it_is(rig: Rig) -> None:
    broken = with_answer("x = 1").replace(
        "@app.cell\ndef _():\n    # YOUR CODE HERE\n    x = 1\n    return (x,)",
        'app._unparsable_cell(\n    r"""\n    # YOUR CODE HERE\n    x = (\n    """,\n'
        '    name="_"\n)',
    )
    report = await rig.validate(text=broken)
    (error, *_) = report.cell_errors
    assert (error.error_type, broken.splitlines()[(error.line or 0) - 1]) == (
        "SyntaxError",
        "    x = (",
    )
    assert error.code == "x = ("
    assert not report.ok
    assert not any(check.passed for check in report.checks)


ATTACKS: dict[str, tuple[str, ...]] = {
    "it writes the sidecar itself": (*FORGE, "x = 0"),
    "it writes the sidecar and leaves": (*FORGE, "x = 0", "os._exit(0)"),
    "it writes the sidecar and fails": (*FORGE, "x = 0", "raise SystemExit"),
    "it stops the cells after it": (*FORGE, "import marimo as _m", "_m.stop(True)", "x = 0"),
    "it makes the sidecar unreadable": (
        "import os",
        "_path = os.environ['MOGRADER_SIDECAR_PATH']",
        "os.unlink(_path)",
        "os.mkdir(_path)",
        "x = 1",
    ),
    "it kills its own process": ("import os, signal", "os.kill(os.getpid(), 9)", "x = 1"),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_success_is_reported_that_was_not_earned(rig: Rig, attack: str) -> None:
    report = await rig.validate(*ATTACKS[attack])
    assert not report.ok
    assert [check for check in report.checks if check.passed] == []
    assert report.marks == (0.0, 15.0)


async def test_a_check_cell_that_was_patched_runs_as_it_was_released(rig: Rig) -> None:
    patched = UNANSWERED.replace(
        "check = grader.check", "check = lambda label, _: grader.check(label, [(True, '')])"
    )
    report = await rig.validate(text=patched)
    assert not report.ok
    assert report.checks[0].status is CheckStatus.DANGER
    assert any("changed" in str(warning) for warning in report.integrity.warnings)
    gutted = UNANSWERED.replace("[(x == 1, ", "[(True, ")
    report = await rig.validate(text=gutted)
    assert report.checks[0].status is CheckStatus.DANGER


async def test_cells_that_test_a_question_by_their_names_are_its_checks(rig: Rig) -> None:
    submission = Submission(TESTS, "A1.py", rig.environment, LIMITS, 60, TESTS)
    report = await validate(submission, rig.executor.execute)
    assert [(each.label, each.status, each.messages) for each in report.checks] == [
        ("test_Q1_one", CheckStatus.DANGER, ("assert x == 1",)),
        ("test_Q2_two", CheckStatus.SUCCESS, ()),
        ("test_Q2_called", CheckStatus.DANGER, ("one is not two",)),
    ]
    assert not report.cell_errors
    assert report.marks == (2.5, 15.0)
