"""Generating with a real marimo: a new course passes, and an author's mistakes are found."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, SandboxUnavailable
from mograder.core.settings import load_settings, read_environ
from mograder.grading.author.author_runs import AuthorRuns, open_runs
from mograder.notebook.source.leaks import CellOutput
from tests.support import notebooks
from tests.support.command_line import cli

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
NOTEBOOK = notebooks.notebook(
    """
    import marimo as mo
    from mograder.runtime import check

    print((mo.notebook_dir() / "data.csv").read_text())
    """,
    """
    check("Q1: one", [(True, "yes")])
    check("Q2: two", [(True, "yes"), (False, "no & never")])
    """,
    """
    mo.stop(True, mo.md("Stopped **here**"))
    never = 1
    """,
    "never + 1",
    """
    zero = 0
    1 / zero
    return
    """,
)
LINE = NOTEBOOK.splitlines().index("    1 / zero") + 1


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    return write(tmp_path / "A1", NOTEBOOK)


def write(directory: Path, text: str) -> Path:
    directory.mkdir()
    (directory / "data.csv").write_text("1234.5")
    (directory / "A1.py").write_text(text)
    return directory / "A1.py"


@asynccontextmanager
async def runs_in(course: Path, settings: str, *, sandbox: bool) -> AsyncIterator[AuthorRuns]:
    """How a course's notebooks are run; without a sandbox by our own Python."""
    course.mkdir()  # noqa: ASYNC240 - a test
    (course / "mograder.toml").write_text(settings)
    warnings: list[str] = []
    loaded = load_settings(course, environ=os.environ)
    opening = open_runs(
        *(loaded, read_environ(), warnings.append),
        runs=2,
        jobs=1,
        sandbox=sandbox,
        own_python=not sandbox,
    )
    async with opening as found:
        yield found
    assert warnings == []


@pytest.fixture(params=["sandboxed", "trusted"])
async def runs(
    request: pytest.FixtureRequest, tmp_path: Path, uv_cache: Path
) -> AsyncIterator[AuthorRuns]:
    """Both ways to run an author's notebook; their reports must be equal."""
    settings = f'[hub]\nuv_cache_dir = "{uv_cache}"\n'
    sandbox = request.param == "sandboxed"
    async with runs_in(tmp_path / "course", settings, sandbox=sandbox) as runs:
        yield runs


async def test_a_run_tells_checks_errors_and_outputs_and_leaves_nothing_behind(
    runs: AuthorRuns, notebook: Path
) -> None:
    report = await runs.run(notebook, notebook.parent, lambda _: None)
    assert report.problem == ""
    assert [(each.label, each.status, each.details) for each in report.checks] == [
        ("Q1: one", "success", ()),
        ("Q2: two", "partial", ("no & never",)),
    ]
    (error,) = report.cell_errors
    assert (error.line, error.message) == (LINE, "ZeroDivisionError: division by zero")
    texts = {output.index: output.text for output in report.outputs}
    assert "1234.5" in texts[0]
    assert "no & never" in texts[1]
    assert "Stopped here" in " ".join(texts[2].split())
    assert isinstance(report.outputs[0], CellOutput)
    assert sorted(path.name for path in notebook.parent.iterdir()) == ["A1.py", "data.csv"]


async def test_a_module_beside_the_notebook_can_be_imported_and_hides_no_installed_one(
    runs: AuthorRuns, tmp_path: Path
) -> None:
    text = NOTEBOOK.replace("1 / zero", "import helper\n    print(helper.WORD, zero)")
    notebook = write(tmp_path / "A3", text)
    (notebook.parent / "helper.py").write_text('WORD = "from beside"')
    (notebook.parent / "mograder.py").write_text("raise SystemExit")
    report = await runs.run(notebook, notebook.parent, lambda _: None)
    assert (report.problem, report.cell_errors) == ("", ())
    assert "from beside 0" in {output.index: output.text for output in report.outputs}[4]
    assert len(report.checks) == 2


async def test_a_notebook_that_does_not_end_is_ended(tmp_path: Path) -> None:
    notebook = write(tmp_path / "A2", NOTEBOOK.replace("1 / zero", "while True: pass"))
    settings = "[defaults]\ntimeout = 4\n"
    async with runs_in(tmp_path / "course", settings, sandbox=False) as runs:
        report = await runs.run(notebook, notebook.parent, lambda _: None)
    assert report.problem.startswith("it was still running after 4 s")


async def test_packages_that_cannot_be_had_are_told_in_uvs_words(tmp_path: Path) -> None:
    header = '# /// script\n# dependencies = ["no-such-package-0==1"]\n# ///\n'
    notebook = write(tmp_path / "A2", header + NOTEBOOK)
    environ = replace(read_environ(), build={"UV_OFFLINE": "1"})
    told: list[str] = []
    loaded = load_settings(tmp_path, environ={})
    async with open_runs(loaded, environ, told.append, runs=2, jobs=1, sandbox=False) as runs:
        with pytest.raises(InvalidInput, match="no-such-package-0"):
            await runs.run(notebook, notebook.parent, told.append)


@pytest.mark.parametrize(
    "python",
    [
        pytest.param(["--own-python"], id="own"),
        pytest.param(["--no-sandbox"], id="uv", marks=pytest.mark.long),
        pytest.param([], id="sandbox"),
    ],
)
def test_a_new_course_passes(tmp_path: Path, uv_cache: Path, python: list[str]) -> None:
    cli("new", str(tmp_path / "course"))
    with (tmp_path / "course" / "mograder.toml").open("a") as settings:
        settings.write(f'\n[hub]\nuv_cache_dir = "{uv_cache}"\n')
    course = ["-C", str(tmp_path / "course"), *python]
    out = cli("generate A1 --submit-url https://example.org", *course).out
    assert "VALID: " in out
    assert "runs without errors, 2 of 2 checks wait\n" in out
    told = [line for line in out.splitlines() if line.startswith("ANSWERS: ")]
    assert len(told) == 1
    assert told[0].endswith("A1-First-Steps.py: total: int; mean(numbers) → number")


async def test_where_no_sandbox_works_an_author_is_told_and_a_demand_is_kept(
    tmp_path: Path, notebook: Path
) -> None:
    (tmp_path / "mograder.toml").write_text("[hub]\nsupervisor_socket = 'none.sock'\n")
    told: list[str] = []
    loaded = load_settings(tmp_path, environ={})
    environ = replace(read_environ(), path=str(tmp_path / "without-bwrap"))
    async with open_runs(loaded, environ, told.append, runs=2, jobs=1, own_python=True) as runs:
        assert (await runs.run(notebook, notebook.parent, lambda _: None)).checks
    assert [line.partition(",")[0] for line in told] == ["Without a sandbox"]
    (tmp_path / "mograder.toml").write_text("[security]\nuse_bubblewrap = true\n")
    loaded = load_settings(tmp_path, environ={})
    with pytest.raises(SandboxUnavailable):
        async with open_runs(loaded, environ, told.append, runs=2, jobs=1, own_python=True):
            pass


def test_an_authors_mistakes_are_found_and_nothing_is_written(tmp_path: Path) -> None:
    course = tmp_path / "course"
    cli("new", str(course))
    notebook = course / "source/A1-First-Steps/A1-First-Steps.py"
    text = notebook.read_text()
    text = text.replace("sum(range(1, 101))", "4", 1).replace("if unanswered(mean, [1])", "if 0")
    text = text.replace("    grader.scores()\n", "    total + 1\n    grader.scores()\n")
    notebook.write_text(text.replace("def _(grader):", "def _(grader, total):"))
    told = cli("generate A1 -C", str(course), "--own-python", status=1).err
    line = notebook.read_text().splitlines().index("    total + 1") + 1
    assert "the check 'Q1: The sum' does not pass: the sum is not right yet." in told
    assert f"A1-First-Steps.py:{line}: without the solutions, TypeError" in told
    assert not (course / "release/A1-First-Steps").exists()
