"""The example course, run for real: what an author writes passes, what a student gets waits.

One environment is made by uv from what the notebooks ask for, with our runtime forced into it by
its path, as the hub does (decision 5; compatibility-0.3.16.md 7 and 8).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from marimo._convert.converters import MarimoConvert
from uv import find_uv_bin

from mograder.core.settings import load_settings
from mograder.notebook.pep723 import read_script
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel

COURSE = Path(__file__).parents[2] / "examples" / "course"
ASSIGNMENTS = ("A1-Measuring-Pi", "A2-Cooling-Coffee", "A3-Counting-Bicycles")
LECTURE = "L01-Random-Numbers"
ITEMS = (*ASSIGNMENTS, LECTURE)
LABELS = {
    "A1-Measuring-Pi": ["Q1: Points inside", "Q2: Estimating pi", "Q3: Error and number of points"],
    "A2-Cooling-Coffee": [
        "Q1: Newton's law of cooling",
        "Q2: Misfit",
        "Q3: The best rate",
        "Q4: Waiting time",
    ],
    "A3-Counting-Bicycles": ["Q1: Days and weekdays", "Q2: Pattern of the week", "Q3: Smoother"],
    LECTURE: [],
}
SHOWN = {
    "source/A1-Measuring-Pi": (
        "[15/15 marks]",
        "Your Score",
        "35/50",
        "within the target",
        "data:image/png;base64",
        "public/quarter-circle.svg",
    ),
    "source/A2-Cooling-Coffee": ("50/50", "data:image/png;base64"),
    "source/A3-Counting-Bicycles": ("35/50", "within the target", "data:image/png;base64"),
    "source/L01-Random-Numbers": ("marimo-slider", "data:image/png;base64"),
    "release/A1-Measuring-Pi": ("[0/15 marks]", "Your Score", "0/50", "appears here once"),
    "release/A2-Cooling-Coffee": ("after grading", "data:image/png;base64"),
    "release/A3-Counting-Bicycles": ("after grading", "appears here once"),
    "release/L01-Random-Numbers": ("marimo-slider", "/edit/A1-Measuring-Pi/"),
}
"""Expected text on the page of each notebook."""
HIDDEN = {
    "A2-Cooling-Coffee": ["Q4: Waiting time (hidden)"],
    "A3-Counting-Bicycles": ["Q2: Pattern of another week", "Q3: Two smoothers"],
}
PACKAGES = {"A3-Counting-Bicycles": ("pandas",)}
"""Packages of an item beyond those of all."""

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the sidecar."""

    label: str
    status: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """The result of running a notebook once."""

    checks: tuple[Check, ...]
    page: str

    @property
    def labels(self) -> list[str]:
        return [check.label for check in self.checks]

    @property
    def statuses(self) -> set[str]:
        return {check.status for check in self.checks}


def notebook(folder: str, item: str) -> Path:
    return COURSE / folder / item / f"{item}.py"


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs notebooks in the environment that the example course asks for."""

    python: Path
    scratch: Path

    def run(self, directory: Path) -> Run:
        """Run an item's notebook as students have it, with its files beside it."""
        sidecar, page = directory / "checks.jsonl", directory / "page.html"
        command = [str(self.python), "-m", "marimo", "-q", "export", "html", "--no-sandbox"]
        done = subprocess.run(
            [*command, f"{directory.name}.py", "-o", str(page)],
            check=False,
            cwd=directory,
            env=self._environment(sidecar),
            capture_output=True,
            text=True,
            timeout=200,
        )
        html = page.read_text()
        assert done.returncode == 0, done.stderr
        assert "MarimoExceptionRaisedError" not in html
        lines = sidecar.read_text().splitlines() if sidecar.exists() else []
        records = [json.loads(line) for line in lines]
        return Run(
            tuple(Check(r["label"], r["status"], tuple(r["details"])) for r in records), html
        )

    def _environment(self, sidecar: Path) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("MOGRADER")
        }
        kept.pop("PYTHONPATH", None)
        fonts = str(self.scratch / "matplotlib")
        return {**kept, "MOGRADER_SIDECAR_PATH": str(sidecar), "MPLCONFIGDIR": fonts}


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    scratch = tmp_path_factory.mktemp("example-course")
    wheel = build_runtime_wheel(scratch / "wheels")
    overrides = scratch / "overrides.txt"
    overrides.write_text(f"mograder @ {wheel.as_uri()}\n")
    scripts = [read_script(notebook("source", item).read_text()) for item in ITEMS]
    wanted = sorted({requirement for script in scripts for requirement in script.dependencies})
    python = scratch / "environment" / "bin" / "python"
    for arguments in (
        ["venv", "--python", sys.executable, str(scratch / "environment")],
        ["pip", "install", "--python", str(python), "--overrides", str(overrides), *wanted],
    ):
        done = subprocess.run(
            [find_uv_bin(), *arguments], check=False, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr
    return Runner(python, scratch)


@pytest.fixture
def item_copy(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A private copy of an item, given as ``folder/item`` by the test's parameter."""
    folder, item = str(request.param).split("/")
    return Path(shutil.copytree(COURSE / folder / item, tmp_path / item))


@pytest.mark.full
@pytest.mark.parametrize("item_copy", [f"source/{item}" for item in ITEMS], indirect=True)
def test_every_check_of_a_source_passes(runner: Runner, item_copy: Path) -> None:
    run = runner.run(item_copy)
    item = item_copy.name
    assert sorted(run.labels) == sorted(LABELS[item] + HIDDEN.get(item, []))
    assert run.statuses <= {"success"}
    assert [text for text in SHOWN[f"source/{item_copy.name}"] if text not in run.page] == []


@pytest.mark.full
@pytest.mark.parametrize("item_copy", [f"release/{item}" for item in ITEMS], indirect=True)
def test_every_check_of_a_release_waits(runner: Runner, item_copy: Path) -> None:
    run = runner.run(item_copy)
    assert run.labels == LABELS[item_copy.name]
    assert run.statuses <= {"warn"}
    assert [text for text in SHOWN[f"release/{item_copy.name}"] if text not in run.page] == []


@pytest.mark.full
@pytest.mark.parametrize("item_copy", ["release/A1-Measuring-Pi"], indirect=True)
@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (('"left"', "raise ValueError('oops')", "[np.nan, 'x']"), "ValueError: oops"),
        (("points[:, 0]", "return points", "np.full(7, np.nan)"), "should give 0"),
    ],
)
def test_whatever_a_student_writes_fails_checks_and_breaks_no_cell(
    runner: Runner, item_copy: Path, answers: tuple[str, str, str], reason: str
) -> None:
    inside, body, errors = answers
    path = item_copy / f"{item_copy.name}.py"
    blank = "# YOUR CODE HERE\n    pass\n"
    text = path.read_text()
    for answer in (f"inside = {inside}", body, f"errors = {errors}"):
        text = text.replace(blank, f"{answer}\n", 1)
    path.write_text(text)
    run = runner.run(item_copy)
    assert run.labels == LABELS[item_copy.name]
    assert run.statuses <= {"danger", "partial"}
    assert any(reason in detail for check in run.checks for detail in check.details)


@pytest.mark.full
def test_the_environment_holds_our_runtime_whatever_the_notebooks_asked_for(
    runner: Runner,
) -> None:
    program = "from importlib.metadata import version; print(version('mograder'))"
    version = subprocess.run(
        [str(runner.python), "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()
    assert (runner.scratch / "wheels" / f"mograder-{version}-py3-none-any.whl").is_file()


def test_the_settings_are_known_keys() -> None:
    loaded = load_settings(COURSE, environ={})
    assert loaded.settings.title
    assert loaded.warnings == ()


@pytest.mark.parametrize("item", ITEMS)
def test_sources_are_written_as_marimo_writes_them(item: str) -> None:
    text = notebook("source", item).read_text()
    assert MarimoConvert.from_py(text).to_py() == text


@pytest.mark.parametrize("item", ITEMS)
def test_the_header_names_what_the_notebook_needs_and_is(item: str) -> None:
    script = read_script(notebook("source", item).read_text())
    assert script.dependencies == (
        *("marimo", "matplotlib", "mograder", "numpy"),
        *PACKAGES.get(item, ()),
    )
    assert script.kind == ("lecture" if item == LECTURE else "")


def _between(text: str, begin: str, end: str) -> list[str]:
    blocks = re.findall(rf"^ *### {begin}\n(.*?)^ *### {end}\n", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("item", ASSIGNMENTS)
def test_a_release_holds_no_solution_and_no_hidden_test(item: str) -> None:
    source, release = notebook("source", item).read_text(), notebook("release", item).read_text()
    secret = _between(source, "BEGIN SOLUTION", "END SOLUTION")
    secret += _between(source, "BEGIN HIDDEN TESTS", "END HIDDEN TESTS")
    assert secret
    # A hidden test may repeat a visible line; what stands once must be gone.
    once = [line for line in secret if source.count(line) == 1]
    assert [line for line in once if line in release] == []
    assert release.count("# YOUR CODE HERE\n") == source.count("### BEGIN SOLUTION") - (
        "written_analysis" in source
    )
    assert release.count("# HIDDEN TESTS\n") == source.count("### BEGIN HIDDEN TESTS")


@pytest.mark.parametrize("item", ASSIGNMENTS)
def test_a_release_names_itself_and_hashes_the_cells_that_are_not_the_students(item: str) -> None:
    text = notebook("release", item).read_text()
    cells = MarimoConvert.from_py(text).to_ir().cells
    hashes = [
        hashlib.sha256(cell.code.strip().encode()).hexdigest()[:8]
        for cell in cells
        if "# YOUR CODE HERE" not in cell.code and not cell.name.startswith("written_analysis")
    ]
    assert f'# mograder-assignment = "{item}"\n' in text
    assert f'# mograder-cell-hashes = "{",".join(hashes)}"\n' in text
    assert ("# mograder-hidden-tests = true\n" in text) == (item in HIDDEN)
