"""Grading results for tests that need one and do not run anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
    parse_result,
)
from mograder.sandbox.execution.judging import JudgedCondition
from mograder.store.gradebook.gradebook import Gradebook


def graded_result(**changes: Any) -> GradingResult:
    """Return the result of a submission with one question of 10 marks, of which 7.5 are earned."""
    conditions = (
        JudgedCondition(message="right", weight=3.0, passed=True),
        JudgedCondition(message="wrong", weight=1.0, passed=False, reason="ValueError: ü"),
    )
    label = GradedLabel(
        label="Q1: sum", key="Q1", earned=3.0, total=4.0, passed=False, conditions=conditions
    )
    check = GradedCheck(cell=2, line=20, hidden=False, state=GradingState.JUDGED, labels=(label,))
    question = GradedQuestion(
        key="Q1", available=10.0, earned=7.5, state=GradingState.JUDGED, labels=("Q1: sum",)
    )
    values: dict[str, Any] = {
        "assignment": "hw1",
        "student": "alice",
        "filename": "alice.py",
        "submission_sha256": "a" * 64,
        "submission_bytes": 100,
        "source_sha256": "b" * 64,
        "mograder": "1.0",
        "protected": True,
        "state": GradingState.JUDGED,
        "questions": (question,),
        "checks": (check,),
        "auto_mark": 7.5,
        "auto_available": 10.0,
        "max_mark": 10.0,
        "at": "2026-01-01T00:00:00.000Z",
    }
    return GradingResult(**{**values, **changes})


def newest_results(gradebook: Path, assignment: str) -> dict[str, GradingResult]:
    """Return the newest recorded result of each student."""
    with Gradebook(gradebook) as book:
        runs = {each.student: each for each in book.runs(assignment)}
    return {student: parse_result(run.result) for student, run in runs.items()}
