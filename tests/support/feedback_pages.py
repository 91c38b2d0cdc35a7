"""Pages of feedback with everything that a page can show, and with what a student could try."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import escape

from mograder.grading.late_work import Basis, Deduction, SubmissionTime, TimeSource
from mograder.grading.pages.notebook_page import cells_of_page, render_notebook_page
from mograder.grading.release.feedback import ShownNotebook, render_feedback_page
from mograder.grading.release.feedback_view import Disclosure, GradedWork, Level
from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
    LastResult,
)
from mograder.sandbox.execution.judging import JudgedCall, JudgedCondition
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus
from mograder.store.gradebook.grading_records import QuestionGrade, StudentGrade
from tests.support.page_reader import element

DUE = datetime(2026, 11, 20, 18, tzinfo=UTC)
EVIL = "</style></p><script>alert(1)</script><img src=//x.example onerror=1>\u202e"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwAD"
    "hgGAWjR9awAAAABJRU5ErkJggg=="
)

SEEN = GradedCheck(
    cell=3,
    line=57,
    hidden=False,
    state=GradingState.CLAIMED,
    claims=("isinstance(shape, Shape)",),
    labels=(
        GradedLabel(
            label="Q1: area",
            key="Q1",
            earned=3,
            total=4,
            passed=False,
            conditions=(
                JudgedCondition(message="area(2) is right", weight=3, passed=True),
                JudgedCondition(message="`area` of -1", weight=1, passed=False, reason=EVIL),
            ),
        ),
    ),
    calls=(JudgedCall(call="area(2)", status="returned", result="12.566"),),
)
HIDDEN = GradedCheck(
    cell=4,
    line=70,
    hidden=True,
    state=GradingState.CLAIMED,
    reason="canary-reason-of-check",
    claims=("canary-claim",),
    labels=(
        GradedLabel(
            label="Q1: canary-label",
            key="Q1",
            earned=1,
            total=2,
            passed=False,
            hidden=True,
            conditions=(
                JudgedCondition(
                    message="canary-message", weight=1, passed=False, reason="canary-why"
                ),
                JudgedCondition(message="canary-passed", weight=1, passed=True),
            ),
        ),
    ),
    calls=(JudgedCall(call="area('canary-call')", status="returned", result="1"),),
)
NOT_RUN = GradedCheck(
    cell=5,
    line=90,
    hidden=False,
    state=GradingState.NOT_RUN,
    reason="`mean` is not defined, because the cell at line 103 failed (ZeroDivisionError)",
    labels=(GradedLabel(label="Q2: mean", key="Q2", earned=0, total=2, passed=False),),
)
RESULT = GradingResult(
    assignment="hw1",
    student="alice",
    filename="alice.py",
    submission_sha256="a" * 64,
    submission_bytes=1,
    received="2026-11-21T09:00:00+00:00",
    receipt=17,
    source_sha256="b" * 64,
    mograder="1.0",
    protected=True,
    state=GradingState.CLAIMED,
    questions=(
        GradedQuestion(key="Q1", available=20, earned=13.3, state=GradingState.CLAIMED),
        GradedQuestion(key="Q2", available=15, earned=0, state=GradingState.NOT_RUN),
        GradedQuestion(key="Essay", available=65, earned=None, state=GradingState.MANUAL),
    ),
    checks=(SEEN, HIDDEN, NOT_RUN),
    at="2026-11-21T12:00:00+00:00",
)
GRADE = StudentGrade(
    "hw1",
    "alice",
    (
        QuestionGrade("Q1", 13.3, 20, "claimed", 13.3),
        QuestionGrade("Q2", 0, 15, "not run", 0, "canary: joined reasons are not for students"),
        QuestionGrade("Essay", 59.2, 65, "manual", marker="mia", comment="Fine.\n\nMore <b>."),
    ),
    auto=13.3,
    manual=59.2,
    total=72.5,
    max_mark=100,
    penalty_pct=5,
    penalised=68.9,
    final=68.9,
    comment=f"Good.\n\n{EVIL}",
)
LATE = Deduction(
    5,
    Basis.TIMES,
    DUE,
    time=SubmissionTime(DUE + timedelta(hours=15), TimeSource.RECEIPT, 17),
    grace=timedelta(minutes=5),
    days=1,
)
WORK = GradedWork(GRADE, LastResult(RESULT, "f" * 64), LATE)


def rich_notebook() -> str:
    """The page of a notebook with every kind of output."""
    labels = escape(json.dumps(["<b>One</b>", "Two"]))
    rows = json.dumps([{f"a long column {n}": f"value {n}" for n in range(9)}] * 3)
    shown = [
        CellOutput(
            "text/markdown",
            "<h1>Waves</h1><h3>Below</h3><p>See <a href='https://x.example/'>this</a>.</p>"
            "<table><tr><th></th><th>x</th></tr><tr><td>1</td><td>2</td></tr></table>"
            "<marimo-tex>||[\\int_0^1 x\\,dx||]</marimo-tex>",
        ),
        CellOutput("text/html", element("callout-output", html="<b>Careful</b>", kind="warn")),
        CellOutput("text/html", element("table", data=rows, total_rows=3)),
        CellOutput(
            "text/html",
            f"<marimo-accordion data-labels='{labels}'><div>1</div><div>2</div></marimo-accordion>",
        ),
        CellOutput("text/html", element("slider", label="speed", initial_value=3)),
        CellOutput("text/html", EVIL + "<iframe src='//x.example'></iframe>"),
        CellOutput("image/png", PIXEL),
        CellOutput("image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg' width='9'/>"),
        CellOutput("application/json", '{"a": [1, 2]}'),
        CellOutput("text/plain", "printed\n" + "x" * 300, printed=True),
    ]
    cells = [
        f"@app.cell\ndef _():\n    # a comment\n    text_{n} = f'{{{n}}}' + str(1.5)\n    return\n"
        for n in range(len(shown) + 1)
    ]
    text = "import marimo\n\napp = marimo.App()\n\n\n" + "\n\n".join(cells)
    results = [CellResult(n, "_", CellStatus.OK, outputs=(each,)) for n, each in enumerate(shown)]
    failed = CellResult(len(shown), "_", CellStatus.ERROR, "ValueError", "no <b>\nsecond line", 2)
    return render_notebook_page(text, "alice.py", [*results, failed])


def rich_page(level: Level = Level.MESSAGE) -> str:
    """A page of feedback with every part."""
    result = RESULT.model_copy(update={"tampered": ("check(Q1)",), "protected": False})
    notebook = ShownNotebook(cells_of_page(rich_notebook()))
    work = replace(WORK, last=replace(WORK.last, result=result))
    return render_feedback_page(work, Disclosure(level), notebook)
