"""The cells that grading adds to a copy of a submission, and what 0.3.16 reads in them.

The recording is by ``scripts/record_0316_marks.py``.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest

from mograder.grading.submissions.result_forms import grading_copy
from mograder.notebook.cells import parse_cells
from tests.support.grading_copies import CASES, FORGED, NOTEBOOK, RECORDED, result_with


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    copies: dict[str, Any] = json.loads(RECORDED.read_text())["copies"]
    return copies


@pytest.mark.parametrize("case", CASES)
def test_0_3_16_reads_the_marks_that_were_earned(case: str, recorded: dict[str, Any]) -> None:
    text, result = CASES[case]
    assert grading_copy(text, result)[0] == recorded[case]["text"], "record the copies again"
    assert recorded[case]["auto_marks"] == result.auto_mark
    assert recorded[case]["marker"] == [None, ""]
    assert recorded[case]["marker_after_writing"][0] == 45


@pytest.mark.parametrize("case", [case for case, (text, _) in CASES.items() if text == NOTEBOOK])
def test_the_students_cells_stay_and_two_are_added(case: str) -> None:
    text, result = CASES[case]
    copy = grading_copy(text, result)[0]
    cells = parse_cells(copy, "alice.py").cells
    assert [cell.code for cell in cells[:-2]] == [c.code for c in parse_cells(text, "a.py").cells]
    assert [cell.hidden for cell in cells[-2:]] == [True, False]
    assert copy.endswith('if __name__ == "__main__":\n    app.run()\n')


def test_text_that_only_grading_writes_is_taken_out_and_told() -> None:
    text, result = CASES["marks in the submission"]
    copy, removed = grading_copy(text, result)
    assert removed == (
        "# === MOGRADER: VERIFICATION SUMMARY ===",
        "# === MOGRADER: MARKER FEEDBACK ===",
        "_mograder_checks",
        "_mograder_marks",
    )
    assert copy.count("# === MOGRADER: ") == 2
    assert copy.index("# === MOGRADER: ") > copy.index("Excellent")
    assert grading_copy(NOTEBOOK, result)[1] == ()


def test_no_ending_of_a_submission_comes_after_the_cells() -> None:
    result = CASES["one question"][1]
    for text in (FORGED, NOTEBOOK + "\n" * 5000, NOTEBOOK.rstrip(), "x = '''", 'y = "\\'):
        copy = grading_copy(text, result)[0]
        last = copy.index("# === MOGRADER: MARKER FEEDBACK ===")
        assert copy[last:].count("if __name__") == 1


def test_labels_and_keys_can_be_read_as_python() -> None:
    awkward = "Q{1} \"a'b\\c]"
    result = result_with({f"{awkward}: x": (1.0, 1.0)}, **{awkward: 2.0})
    tree = ast.parse(grading_copy(NOTEBOOK, result)[0])
    found = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    assert "_mograder_marks = {\"Q(1) 'a'b/c)\": 2}" in found


def test_many_labels_of_one_question_have_its_marks_together() -> None:
    """0.3.16 adds up what each has of the question's marks."""
    names = [f"Q1: {number}" for number in range(12)]
    result = result_with(dict.fromkeys(names, (1.0, 1.0)), Q1=1.0, Q1_earned=1.0)
    found = re.findall(r'\("Q1: \d+", "PASS", ([\d.]+), ([\d.]+)\)', grading_copy("", result)[0])
    assert len(found) == len(names)
    assert {of for _, of in found} == {"1.0"}
    assert round(sum(float(earned) for earned, _ in found), 6) == 1.0
