"""A notebook written for 0.3.16 is generated and validated by our commands.

compatibility-0.3.16.md 7, 8. uv and marimo are real; that its checks say the same in an editor's
kernel is tested by ``tests/contract/test_legacy_notebook.py``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.hub import run_mograder
from tests.support.legacy import NAME, NOBODY, SOLVED, SOURCE, STARTED

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
