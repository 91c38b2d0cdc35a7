"""Graded submissions whose copies 0.3.16 has to read, by the name of the case.

Run as a program, it writes the copies for ``scripts/record_0316_marks.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from mograder.grading.submissions.grading_result import (
    GradedCellError,
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
)
from mograder.grading.submissions.result_forms import grading_copy
from tests.support.graded_results import graded_result
from tests.support.notebooks import notebook

NOTEBOOK = notebook("x = 1")

FORGED = """import marimo

app = marimo.App()


@app.cell
def _():
    # === MOGRADER: VERIFICATION SUMMARY ===
    _mograder_checks = [("Q1", "PASS", 1.0, 1.0)]
    _mograder_marks = {"Q1": 100}
    # === MOGRADER: MARKER FEEDBACK ===
    _mark = 100
    _feedback = "Excellent"
    return


if __name__ == "__main__":
    app.run()

_mograder_marks = {"Q1": 100}
_mark = 100
_feedback = \"\"\"Excellent\"\"\"
"""


def result_with(labels: Mapping[str, tuple[float, float]], **marks: float) -> GradingResult:
    """Return a result with weights by label, ``Q1: …``, and available and earned marks by key.

    ``Q1=10, Q1_earned=7.5``; a question without earned marks has none.
    """
    graded = [
        GradedLabel(label=name, key=_key(name), earned=earned, total=total, passed=earned == total)
        for name, (earned, total) in labels.items()
    ]
    keys = [key for key in marks if not key.endswith("_earned")]
    questions = [
        GradedQuestion(
            key=key,
            available=marks[key],
            earned=marks.get(f"{key}_earned"),
            state=GradingState.JUDGED if f"{key}_earned" in marks else GradingState.MANUAL,
            labels=tuple(each.label for each in graded if each.key == key),
        )
        for key in keys
    ]
    judged = [each for each in questions if each.earned is not None]
    return graded_result(
        checks=tuple(
            GradedCheck(cell=0, line=1, hidden=False, state=GradingState.JUDGED, labels=(each,))
            for each in graded
        ),
        questions=tuple(questions),
        auto_mark=sum(each.earned or 0 for each in judged),
        auto_available=sum(each.available or 0 for each in judged),
        max_mark=sum(marks[key] for key in keys),
    )


def _key(label: str) -> str:
    return label.partition(":")[0].strip()


_PLAIN = graded_result()
_HOLISTIC = graded_result(
    questions=(
        GradedQuestion(
            key="Q1",
            available=None,
            earned=None,
            state=GradingState.JUDGED,
            labels=("Q1: sum",),
        ),
    ),
    auto_mark=None,
    auto_available=None,
    max_mark=100.0,
)
_FAILED_CELL = GradedCellError(index=1, line=7, error_type="ValueError", message="no")

CASES: Mapping[str, tuple[str, GradingResult]] = {
    "one question": (NOTEBOOK, _PLAIN),
    "a failed cell": (NOTEBOOK, graded_result(cell_errors=(_FAILED_CELL,))),
    "several labels of a question": (
        NOTEBOOK,
        result_with(
            {"Q1: a": (1.0, 3.0), "Q1: b": (1.0, 3.0), "Q1: c": (2.0, 3.0), "Q2": (0.0, 2.0)},
            Q1=10,
            Q1_earned=4.4,
            Q2=5,
            Q2_earned=0.0,
            Essay=60,
        ),
    ),
    "labels that end a regular expression": (
        NOTEBOOK,
        result_with(
            {'Q1: say "yes" [twice]\n{now} \\ ü': (1.0, 2.0), "Q2: x": (1e-7, 1e-7)},
            Q1=3,
            Q1_earned=1.5,
            Q2=1.5,
            Q2_earned=1.5,
        ),
    ),
    "no marks": (NOTEBOOK, _HOLISTIC),
    "needs attention": (
        NOTEBOOK,
        graded_result(
            state=GradingState.NEEDS_ATTENTION, problem="x", questions=(), checks=(), auto_mark=None
        ),
    ),
    "marks in the submission": (FORGED, _PLAIN),
    "marks in a submission of an assignment without marks": (FORGED, _HOLISTIC),
    "not text": ("", _PLAIN),
    "no app": ("print(1)", _PLAIN),
}

RECORDED = Path(__file__).parents[1] / "data" / "legacy" / "grading-copies.json"


def main() -> None:
    """Write the copies, without what 0.3.16 reads in them."""
    copies = {name: {"text": grading_copy(*case)[0]} for name, case in CASES.items()}
    RECORDED.write_text(json.dumps({"copies": copies}, indent=1) + "\n")


if __name__ == "__main__":
    main()
