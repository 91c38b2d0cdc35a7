"""A course whose submissions are graded and wait for people, without running any of them.

The results are those that grading would write: signed, in the gradebook, with the pages of the
notebooks as they ran.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from mograder.core.settings import load_settings
from mograder.grading.batch.autograded_files import SignedResult
from mograder.grading.batch.gradebook_run import run_of
from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.grading.results.grading_result import (
    GradedCheck,
    GradedCondition,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
)
from mograder.grading.results.result_signature import grading_key, sign_result
from mograder.notebook.cells import parse_cells
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus
from mograder.store.gradebook import Gradebook

ITEM = "A1-Estimates"
QUESTIONS: Mapping[str, float] = {"Q1": 5, "Rate": 10, "Outlook": 10}
"""The marks of the assignment; people mark ``Rate`` and ``Outlook``."""

HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
"""What a student's answer holds, beside its text."""

_ANSWERS = (
    "The error falls like $1/\\\\sqrt{n}$, since the variances of independent numbers add.",
    "It is slow: a hundred times as many points for one more digit.",
    f"I do not know. {HOSTILE}",
)
_NOTEBOOK = '''import marimo

app = marimo.App()


@app.cell(hide_code=True)
def _():
    import marimo as mo

    from mograder.runtime import Grader

    # === MOGRADER: MARKS ===
    _marks = {{"Q1": 5, "Rate": 10, "Outlook": 10}}
    grader = Grader(_marks)
    check = grader.check
    return check, grader, mo


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Question 1: the estimate (5 marks)
    """)
    return


@app.cell
def _():
{code}
    return (estimate,)


@app.cell(hide_code=True)
def _(check, estimate):
    check("Q1: The estimate", [(lambda: abs(estimate(10**4) - 3.14) < 0.1, "it is far off")])
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Rate (10 marks)

    How fast does the error fall, and why?
    """)
    return


@app.cell
def rate(mo):
{rate}
    return


@app.cell(hide_code=True)
def _(mo):
    mo.md(r"""
    ## Outlook (10 marks)

    Where would you use the method?

    /// details | Marking Scale
    **5** for the dimension, **5** for an example.
    ///
    """)
    return


@app.cell
def outlook(mo):
{outlook}
    return


@app.cell(hide_code=True)
def _(grader):
    grader.scores()
    return


if __name__ == "__main__":
    app.run()
'''
_SOLUTION = """    ### BEGIN SOLUTION
    def estimate(n):
        rng = np.random.default_rng(1)
        x, y = rng.random(n), rng.random(n)
        return 4 * np.mean(x**2 + y**2 < 1)
    ### END SOLUTION"""
_CODE = """    def estimate(n):
        \"\"\"Return an estimate of pi from n points.\"\"\"
        inside = 0
        for k in range(n):
            x, y = random(), random()  # student {number}
            if x * x + y * y < 1:
                inside += 1
        return 4 * inside / n"""


def put_course(course: Path, students: int) -> None:
    """Put the assignment, its graded submissions and the gradebook into a course's directory."""
    written = {
        "code": _SOLUTION,
        "rate": _solved("It falls with the square root of the number of points."),
        "outlook": _solved("Where the dimension is high."),
    }
    source = course / "source" / ITEM / f"{ITEM}.py"
    source.parent.mkdir(parents=True)
    source.write_text(_NOTEBOOK.format(**written))
    loaded = load_settings(course)
    key = grading_key(loaded)
    for name in ("submitted", "autograded"):
        (course / name / ITEM).mkdir(parents=True)
    with Gradebook(loaded.gradebook_path) as book:
        for number in range(students):
            _put_submission(course, book, key, number)


def student_name(number: int) -> str:
    """Return the user name of a student of the course."""
    return f"student{number:03}"


def _solved(text: str) -> str:
    return f"    ### BEGIN SOLUTION\n{_written(text)}\n    ### END SOLUTION"


def _written(text: str) -> str:
    return f'    mo.md(r"""\n    {text}\n    """)'


def _put_submission(course: Path, book: Gradebook, key: bytes, number: int) -> None:
    student = student_name(number)
    texts = (f"{_ANSWERS[(number + shift) % len(_ANSWERS)]} ({number})" for shift in range(2))
    rate, outlook = map(_written, texts)
    text = _NOTEBOOK.format(code=_CODE.format(number=number), rate=rate, outlook=outlook)
    (course / "submitted" / ITEM / f"{student}.py").write_text(text)
    result = _result(student, text, number)
    page = render_notebook_page(text, f"{student}.py", _outputs(text, number))
    (course / "autograded" / ITEM / f"{student}.html").write_text(page)
    signed = SignedResult(result=result, signature=sign_result(key, result))
    book.record_run(run_of(signed))


def _outputs(text: str, number: int) -> list[CellResult]:
    """Return what the cells showed when they ran."""
    outputs = {
        "rate": CellOutput("text/markdown", f"<p>{_ANSWERS[number % len(_ANSWERS)]}</p>"),
        "outlook": CellOutput("text/html", f"<p>An example.</p>{HOSTILE}"),
    }
    return [
        CellResult(
            cell.index,
            cell.name,
            CellStatus.OK,
            outputs=(outputs[cell.name],) if cell.name in outputs else (),
        )
        for cell in parse_cells(text, "submission.py").cells
    ]


def _result(student: str, text: str, number: int) -> GradingResult:
    passed = number % 3 > 0
    condition = GradedCondition(
        message="it is far off", weight=1, passed=passed, reason="" if passed else "NameError: np"
    )
    label = GradedLabel(
        label="Q1: The estimate",
        key="Q1",
        earned=float(passed),
        total=1,
        passed=passed,
        conditions=(condition,),
    )
    check = GradedCheck(cell=3, line=33, hidden=False, state=GradingState.JUDGED, labels=(label,))
    earned = 5.0 if passed else 0.0
    questions = (
        GradedQuestion(
            key="Q1", available=5, earned=earned, state=GradingState.JUDGED, labels=(label.label,)
        ),
        *(
            GradedQuestion(key=each, available=10, earned=None, state=GradingState.MANUAL)
            for each in ("Rate", "Outlook")
        ),
    )
    return GradingResult(
        assignment=ITEM,
        student=student,
        filename=f"{student}.py",
        submission_sha256=hashlib.sha256(text.encode()).hexdigest(),
        submission_bytes=len(text.encode()),
        source_sha256="b" * 64,
        mograder="1.0",
        protected=True,
        state=GradingState.JUDGED,
        questions=questions,
        checks=(check,),
        auto_mark=earned,
        auto_available=5,
        max_mark=25,
        at="2026-11-20T09:30:00.000+00:00",
    )
