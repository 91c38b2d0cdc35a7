"""``mograder quality`` as a command: what is examined, exit statuses, what a script reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.grading.author.scaffold import assignment_text
from tests.support.command_line import cli

NOTHING = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    return\n"


@pytest.fixture
def course(here: Path) -> Path:
    """A course with an assignment, and with notebooks that have nothing to examine."""
    texts = {
        "A1-Sums": assignment_text("A1", marimo="0.25.2"),
        "A2-Empty": NOTHING,
        "A3-Broken": f"{NOTHING}### BEGIN SOLUTION\n",
    }
    for name, text in texts.items():
        (here / "source" / name).mkdir(parents=True)
        (here / "source" / name / f"{name}.py").write_text(text)
    return here


def test_a_notebook_without_solutions_is_clean_and_told(course: Path) -> None:
    printed = cli("quality A2 --own-python")
    assert printed.out == (
        "source/A2-Empty/A2-Empty.py: It has no solution block, so nothing was looked at.\n"
        "source/A2-Empty/A2-Empty.py: clean; 0 checks\n"
    )
    (report,) = cli("quality A2 --own-python --json").json["notebooks"]
    assert report["complete"]
    assert report["findings"] == []
    assert sorted(path.name for path in course.iterdir()) == [".mograder", "source"]


def test_what_cannot_be_read_is_told_after_the_reports_before_it(course: Path) -> None:
    told = cli("quality A2 A3 --own-python", status=2)
    assert "A2-Empty.py: clean" in told.out
    assert "A3-Broken.py: not finished" in told.out
    assert "A3-Broken.py:9: " in told.err


def test_sources_and_submissions_have_to_fit(course: Path) -> None:
    cli("quality A9", status=2)
    printed = cli("quality A1 A2 --submissions", str(course), status=2)
    assert "--submissions belong to one notebook" in printed.err
    shown = cli("quality A1 --own-python --submissions", str(course), status=78)
    assert "in sandboxes only" in shown.err
