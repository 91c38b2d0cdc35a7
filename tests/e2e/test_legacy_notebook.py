"""A notebook written for 0.3.16 generates, validates, and runs in the editor with our runtime.

compatibility-0.3.16.md 7, 8. uv, marimo and Chromium are real; the environment is the one that any
author has: the slim wheel and marimo.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect
from uv import find_uv_bin

from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from tests.support.browser import People
from tests.support.hub import outside, run_mograder
from tests.support.legacy import NAME, NOBODY, SOLVED, SOURCE, STARTED, Student
from tests.support.process import ServerProcess, accepts, free_port

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, uv_cache: Path) -> Path:
    """A course in which ``mograder generate`` has made its release, packages and runs included."""
    course = tmp_path_factory.mktemp("course")
    source = course / "source" / NAME
    source.mkdir(parents=True)
    shutil.copy(SOURCE, source)
    cache = {"UV_CACHE_DIR": str(uv_cache)}
    done = run_mograder("generate", "A1", env=cache, cwd=course)
    assert done.status == 0, done.errors
    assert "4 checks passed" in done.output
    assert "runs without errors, 3 of 4 checks wait" in done.output
    return course


@pytest.fixture
def release(made: Path) -> str:
    return (made / "release" / NAME / f"{NAME}.py").read_text()


def test_students_files_are_validated_by_the_command_line_and_say_the_same(
    release: str, made: Path, uv_cache: Path
) -> None:
    assert release.count("# HIDDEN TESTS") == 1
    assert "# mograder-hidden-tests = true" in release
    assert "the circle of radius 0" not in release
    submitted = made / "submitted" / NAME
    submitted.mkdir(parents=True)
    students = {"solved": SOLVED, "nobody": NOBODY, "started": STARTED}
    for name, student in students.items():
        (submitted / f"{name}.py").write_text(student.work(release))
    cache = {"UV_CACHE_DIR": str(uv_cache)}
    files = [f"submitted/{NAME}/{name}.py" for name in students]
    done = run_mograder("validate", "--json", *files, env=cache, cwd=made)
    assert done.status == 1, done.errors
    reports = dict(zip(students, json.loads(done.output), strict=True))
    for name, student in students.items():
        report = reports[name]
        told = [(each["label"], each["status"], each["details"]) for each in report["checks"]]
        lines = [(each["label"], each["status"], each["details"]) for each in student.lines]
        assert told == lines
        assert (report["integrity_level"], report["integrity_warnings"]) == ("source", [])
        assert (report["export_ok"], report["cell_errors"]) == (True, 0)
        assert (submitted / f"{name}.py").read_text() == student.work(release)
    assert [reports[name]["ok"] for name in students] == [True, False, False]
    marks = {each["label"]: each["earned"] for each in reports["started"]["checks"]}
    assert marks == {"Q1: The mean": 5, "Q2: The area": 4.3, "Q3: A word": 0, "Without marks": None}
    alone = run_mograder("validate", files[0], env=cache, cwd=made)
    assert alone.status == 0, alone.output + alone.errors
    assert "4 of 4 checks pass" in alone.output
    assert "more tests come when it is graded" in alone.output


class Editor:
    """``marimo edit`` on one notebook, in an environment with our slim wheel."""

    def __init__(self, directory: Path, authors_uv_cache: Path, log: Path) -> None:
        self.notebook = directory / "work" / f"{NAME}.py"
        self.notebook.parent.mkdir()
        self._sidecar = directory / "checks.jsonl"
        self._port = free_port()
        self._process = ServerProcess("marimo", log)
        self._wheel = build_runtime_wheel(directory / "wheels")
        self._environ = {
            **outside(),
            "HOME": str(directory),
            "UV_CACHE_DIR": str(authors_uv_cache),
            "MOGRADER_SIDECAR_PATH": str(self._sidecar),
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    def start(self, text: str) -> None:
        self.notebook.write_text(text)
        settings = Path(self._environ["HOME"], ".config", "marimo", "marimo.toml")
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text("[runtime]\nauto_instantiate = true\n")  # as in a hub's session
        command = [find_uv_bin(), "run", "--no-project", "--with", "marimo"]
        command += ["--with", str(self._wheel), "marimo", "edit", "--headless", "--no-token"]
        command += ["--no-sandbox", "--host", "127.0.0.1", "--port", str(self._port)]
        place = self.notebook.parent
        self._process.launch([*command, self.notebook.name], self._environ, place)
        self._process.wait_until(lambda: accepts(self._port), 120)

    def stop(self) -> None:
        self._process.stop()

    def lines(self) -> list[dict[str, object]]:
        """Return the checks' output, in the order of their labels."""
        told = [json.loads(each) for each in self._sidecar.read_text().splitlines()]
        return sorted(told, key=lambda each: str(each["label"]))


@pytest.fixture
def editor(work_directory: Path, authors_uv_cache: Path, artifacts: Path) -> Iterator[Editor]:
    editor = Editor(work_directory, authors_uv_cache, artifacts / "marimo.log")
    yield editor
    editor.stop()


@pytest.mark.long  # in every run the command line has their checks say what they said
@pytest.mark.parametrize(
    ("student", "shown"),
    [
        pytest.param(NOBODY, ["Q3: A word — waiting for your code"], id="nobody"),
        pytest.param(
            SOLVED,
            ["Q2: The area — all checks passed", "Q3: A word — all checks passed"],
            id="solved",
        ),
        pytest.param(
            STARTED,
            ["Q2: The area — some checks failed:", "the word is not the one"],
            id="started",
        ),
    ],
)
async def test_it_runs_in_the_editor_and_its_checks_say_what_they_said(
    release: str, editor: Editor, people: People, student: Student, shown: list[str]
) -> None:
    editor.start(student.work(release))
    person = await people.person("ada")
    page = await person.open(editor.url)
    # Hidden tests are to come: no marks are promised, neither in a box nor in the table.
    await expect(page.get_by_text("Scores will be available in your feedback")).to_be_visible()
    await expect(page.get_by_role("status").filter(has_text="Without marks")).to_be_visible()
    for text in shown:
        await expect(page.get_by_role("status").filter(has_text=text)).to_be_visible()
    await expect(page.get_by_text("marks]")).to_have_count(0)
    await expect(page.get_by_role("button", name="Hint 2")).to_be_visible()
    await expect(page.get_by_text("Word count:").first).to_be_visible()
    assert editor.lines() == list(student.lines)
    assert [list(each) for each in editor.lines()] == [list(each) for each in student.lines]
