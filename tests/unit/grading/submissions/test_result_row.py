"""One submission in a line: the words, columns and marks of 0.3.16's table and CSV."""

from __future__ import annotations

import csv
import io

import pytest

from mograder.grading.submissions.grading_result import GradedCheck, GradedLabel, GradingState
from mograder.grading.submissions.result_forms import (
    Column,
    ResultRow,
    columns_of,
    render_csv,
    row_of,
    status_of,
    unread_row,
)
from mograder.grading.validation_report import CheckStatus
from tests.support.graded_results import graded_result
from tests.support.grading_copies import result_with

Q1, Q2 = Column("Q1: sum", "Q1"), Column("Q2", "Q2")


@pytest.mark.parametrize(
    ("label", "state", "status"),
    [
        ({"earned": 2.0, "total": 2.0, "passed": True}, "judged", CheckStatus.SUCCESS),
        ({"earned": 1.0, "total": 2.0, "passed": False}, "judged", CheckStatus.PARTIAL),
        ({"earned": 0.0, "total": 2.0, "passed": False}, "judged", CheckStatus.DANGER),
        ({"earned": 0.0, "total": 0.0, "passed": False}, "judged", CheckStatus.WARN),
        ({"earned": 0.0, "total": 0.0, "passed": True}, "claimed", CheckStatus.SUCCESS),
        ({"earned": 0.0, "total": 2.0, "passed": False}, "not run", CheckStatus.NOT_RUN),
        ({"earned": 2.0, "total": 2.0, "passed": True}, "needs attention", CheckStatus.NOT_RUN),
    ],
)
def test_the_status_of_a_label(label: dict[str, float], state: str, status: CheckStatus) -> None:
    graded = GradedLabel.model_validate({"label": "Q1", "key": "Q1", **label})
    check = GradedCheck(cell=0, line=1, hidden=False, state=GradingState(state), labels=(graded,))
    assert status_of(check, graded) is status


def test_a_question_is_passed_only_if_all_its_labels_are() -> None:
    row = row_of(result_with({"Q1: a": (1.0, 1.0), "Q1: b": (0.0, 1.0)}, Q1=2, Q1_earned=1.0))
    columns = columns_of([row])
    assert [row.word(column) for column in columns] == ["PASS", "FAIL"]
    assert row.words_by_key([*columns, Q2]) == {"Q1": "PARTIAL", "Q2": "---"}


def test_one_question_without_a_result_needs_attention() -> None:
    result = graded_result()
    lost = result.questions[0].model_copy(update={"state": GradingState.NEEDS_ATTENTION})
    assert not row_of(result).needs_attention
    assert row_of(result.model_copy(update={"questions": (lost,)})).needs_attention


def test_the_csv_has_the_columns_of_0_3_16() -> None:
    rows = [
        row_of(graded_result(tampered=("check(Q1)", "marks"))),
        row_of(graded_result(student="eve", auto_mark=10.0)),
        unread_row("bob", "bob.py is no regular file."),
    ]
    assert _table(render_csv(rows, [Q1, Q2])) == [
        ["notebook", "Q1", "Q2", "cell_errors", "export_error", "auto_mark", "tampered"],
        ["alice", "PARTIAL", "---", "0", "", "7.5", "check(Q1); marks"],
        ["eve", "PARTIAL", "---", "0", "", "10", ""],
        ["bob", "EXPORT_FAILED", "EXPORT_FAILED", "0", "bob.py is no regular file.", "", ""],
    ]


def test_columns_that_nobody_fills_are_left_out() -> None:
    plain = ResultRow("alice", GradingState.JUDGED, labels=((Q1, "PASS"),))
    assert _table(render_csv([plain], [Q1])) == [
        ["notebook", "Q1", "cell_errors", "export_error"],
        ["alice", "PASS", "0", ""],
    ]


def test_no_cell_is_taken_for_a_formula() -> None:
    row = unread_row("alice", "=HYPERLINK(1)")
    assert _table(render_csv([row], [Column("@Q", "@Q")]))[0][1] == "'@Q"
    assert _table(render_csv([row], []))[1][2] == "'=HYPERLINK(1)"


def _table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))
