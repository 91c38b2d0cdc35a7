"""A notebook written for 0.3.16 runs with our runtime; its sidecar lines are the same.

See compatibility-0.3.16.md 8.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.legacy import SOURCE, line
from tests.support.programs import printed_by

pytestmark = pytest.mark.full

SOLVED: Mapping[str, str] = {}
STARTED: Mapping[str, str] = {
    "sum(values) / len(values)\n    ### END": "5.0\n    ### END",
    "return math.pi * radius**2": "return 3.14159265358979 * radius",
    'word = "marimo"': "word = ...",
}
"""A student's answers: one wrong, one half right, one empty."""
HIDING: Mapping[str, str] = {"# ]\n# ///": "# ]\n# mograder-hidden-tests = true\n# ///"}
"""All solved, in a notebook whose release had hidden tests: no marks are promised."""


def _run(notebook: Path, command: list[str]) -> list[dict[str, object]]:
    """Run it; return the lines of its sidecar file."""
    sidecar = notebook.with_name("checks.jsonl")
    variables = {**os.environ, "MOGRADER_SIDECAR_PATH": str(sidecar)}
    printed_by(sys.executable, *command, cwd=notebook.parent, env=variables)
    return [json.loads(each) for each in sidecar.read_text().splitlines()]


def _copy(directory: Path, answers: Mapping[str, str]) -> Path:
    text = SOURCE.read_text()
    for solution, answer in answers.items():
        assert text.count(solution) == 1
        text = text.replace(solution, answer)
    notebook = directory / SOURCE.name
    notebook.write_text(text)
    return notebook


def test_a_started_notebook_says_what_is_missing(tmp_path: Path) -> None:
    lines = _run(_copy(tmp_path, STARTED), [SOURCE.name])
    assert lines == [
        line("Q1: The mean", "partial", ["the mean of 2, 4 and 6 is **4**"], 1, 2),
        line("Q2: The area", "partial", ["the area grows with the square"], 3, 5),
        line("Q3: A word", "warn", [], 0, 0),
        line("Without marks", "success", [], 1, 1),
    ]
    assert [list(each) for each in lines] == [list(line("", "", [], 0, 0))] * 4


@pytest.mark.parametrize(
    ("answers", "shown"),
    [
        (SOLVED, ("[10/10 marks]", "[15/15 marks]", "30/50", "within the target")),
        (STARTED, ("[5/10 marks]", "[9/15 marks]", "PARTIAL", "14/50", "waiting for your code")),
        (HIDING, ("all checks passed", "Scores will be available in your feedback")),
    ],
)
def test_the_editors_kernel_shows_boxes_marks_and_scores(
    tmp_path: Path, answers: Mapping[str, str], shown: tuple[str, ...]
) -> None:
    notebook, page = _copy(tmp_path, answers), tmp_path / "page.html"
    export = ["-m", "marimo", "-q", "export", "html", "--no-sandbox", SOURCE.name]
    lines = _run(notebook, [*export, "-o", str(page)])
    html = page.read_text()
    assert {str(each["label"]) for each in lines} >= {"Q1: The mean", "Q2: The area"}
    assert [text for text in shown if text not in html] == []
    assert ("marks]" in html) is (answers is not HIDING)
    assert "MarimoExceptionRaisedError" not in html
    assert "Hint 2" in html
