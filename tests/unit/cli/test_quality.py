"""``mograder quality`` as a command: what is examined, exit statuses, what a script reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mograder.cli.main import run
from mograder.notebook.source.templates import assignment_text

NOTHING = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    return\n"


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course with an assignment, and with notebooks that have nothing to examine."""
    texts = {
        "A1-Sums": assignment_text("A1", marimo="0.25.2"),
        "A2-Empty": NOTHING,
        "A3-Broken": f"{NOTHING}### BEGIN SOLUTION\n",
    }
    for name, text in texts.items():
        (tmp_path / "source" / name).mkdir(parents=True)
        (tmp_path / "source" / name / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOGRADER_COURSE_DIR", raising=False)
    return tmp_path


def test_a_notebook_without_solutions_is_clean_and_told(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["quality", "A2", "--own-python"]) == 0
    assert capfd.readouterr().out == (
        "source/A2-Empty/A2-Empty.py: It has no solution block, so nothing was looked at.\n"
        "source/A2-Empty/A2-Empty.py: clean; 0 checks\n"
    )
    assert run(["quality", "A2", "--own-python", "--json"]) == 0
    (report,) = json.loads(capfd.readouterr().out)["notebooks"]
    assert report["complete"]
    assert report["findings"] == []
    assert sorted(path.name for path in course.iterdir()) == [".mograder", "source"]


def test_what_cannot_be_read_is_told_after_the_reports_before_it(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["quality", "A2", "A3", "--own-python"]) == 2
    told = capfd.readouterr()
    assert "A2-Empty.py: clean" in told.out
    assert "A3-Broken.py: not finished" in told.out
    assert "A3-Broken.py:9: " in told.err


def test_sources_and_submissions_have_to_fit(
    course: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["quality", "A9"]) == 2
    assert run(["quality", "A1", "A2", "--submissions", str(course)]) == 2
    assert "--submissions belong to one notebook" in capfd.readouterr().err
    assert run(["quality", "A1", "--own-python", "--submissions", str(course)]) == 78
    assert "in sandboxes only" in capfd.readouterr().err
