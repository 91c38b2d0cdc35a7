"""What cells show is reported as a page needs it: figures, markup, text, and what is too large."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mograder.grading.pages.marimo_elements import image_url
from mograder.sandbox.execution.report import (
    CellOutput,
    ExecutionRequest,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.protocol import Limits
from mograder.sandbox.supervisor.config import SupervisorConfig
from mograder.store.filesystem.files import remove_tree
from tests.support.judging_rig import notebook
from tests.support.launchers import open_local

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

LIMITS = Limits(processes=64, open_files=256, file_size_mb=64, tmp_mb=64, memory_mb=600)
Run = Callable[..., Awaitable[ExecutionResult]]


@pytest.fixture
async def run(
    cold_or_warm: SupervisorConfig, tmp_path: Path, run_directory: Path
) -> AsyncIterator[Run]:
    """Runs a notebook of these cells in a sandbox, and reports their outputs."""
    async with open_local(cold_or_warm, tmp_path) as local:
        directory = await local.environment(run_directory, "matplotlib")
        executor = SandboxedRunner(local.launcher, tmp_path / "copies", remove_tree)

        async def run(*cells: str) -> ExecutionResult:
            text = notebook(*cells, setup="import marimo as mo\nimport matplotlib.pyplot as plt")
            return await executor.execute(
                ExecutionRequest(text, "A1.py", directory, LIMITS, 120, outputs=True)
            )

        yield run


def kinds(outputs: tuple[CellOutput, ...]) -> list[str]:
    return [each.mimetype + (" printed" if each.printed else "") for each in outputs]


async def test_figures_markup_and_printed_text_are_reported_in_order(run: Run) -> None:
    result = await run(
        "print('first')\nplt.plot([1, 2])\nplt.show()\nplt.plot([2, 1])\nplt.show()\nmo.md('# A')",
        "plt.figure().gca()",
        "mo.output.append(mo.md('b'))\n[1, 2]",
        "1 / 0",
    )
    assert result.outcome is Outcome.FINISHED
    _, first, second, third, failed = result.cells
    assert kinds(first.outputs) == [
        *("text/markdown", "image/png", "image/png", "text/plain printed")
    ]
    assert "<h1" in first.outputs[0].data
    assert first.outputs[1].data != first.outputs[2].data, "each figure is closed once shown"
    assert all(image_url(each.data) for each in first.outputs[1:3])
    assert first.outputs[3].data == "first\n"
    assert kinds(second.outputs) == ["image/png"]
    assert "b</span>" in third.outputs[0].data
    assert third.outputs[-1] == CellOutput("application/json", "[1, 2]")
    assert failed.outputs == ()


async def test_what_is_too_large_is_cut_or_left_out_and_the_rest_is_there(run: Run) -> None:
    result = await run(
        "mo.Html('<p>' + 'ä' * 3_000_000 + '</p>')",
        "mo.image(bytes(range(256)) * 12_000)",
        "for n in range(80):\n    plt.figure(figsize=(1, 1))\n    plt.show()",
        *["mo.plain_text('x' * 1_900_000)"] * 5,
        "mo.md('last')",
    )
    assert result.outcome is Outcome.FINISHED
    _, text, image, figures, *many, last = result.cells
    assert [each.cut for each in text.outputs] == [True]
    assert 100_000 < len(text.outputs[0].data) < 2_100_000
    assert [each.cut for each in image.outputs] == [True]
    assert len(figures.outputs) == 50
    assert not any(each.cut for each in many[0].outputs)
    assert [each.cut for each in many[-1].outputs] == [True], "the notebook's limit"
    assert "last" in last.outputs[0].data, "what is small still fits"
    assert sum(len(each.data) for cell in result.cells for each in cell.outputs) < 8 << 20


async def test_a_cell_that_shows_nothing_usable_shows_nothing(run: Run) -> None:
    result = await run(
        "class A:\n    def _repr_html_(self):\n        raise SystemExit\nA()",
        "class B:\n    def _mime_(self):\n        return (7, b'')\nB()",
        "import sys\nsys.stdout.close()\n'after'",
    )
    assert result.outcome is Outcome.FINISHED
    assert [len(cell.outputs) for cell in result.cells[1:]][-1] <= 1
