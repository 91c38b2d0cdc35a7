"""Grades as CSV files have them (B154)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.exchange.grade_files import read_grades


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "grades.csv"


def test_b154_the_columns_are_sent_as_they_are(file: Path) -> None:
    file.write_text('username,grade,feedback,team\nalice,8.5,"Good, mostly.",A\n\nbob,,,B\n')
    rows = read_grades(file)
    assert [dict(row.values) for row in rows] == [
        {"username": "alice", "grade": "8.5", "feedback": "Good, mostly.", "team": "A"},
        {"username": "bob", "grade": "", "feedback": "", "team": "B"},
    ]
    assert [row.who for row in rows] == ["alice", "bob"]


def test_b154_a_file_from_a_spreadsheet_is_read_too(file: Path) -> None:
    file.write_bytes("\ufeffuserid, grade \r\n17,7\r\n".encode())
    (row,) = read_grades(file)
    assert dict(row.values) == {"userid": "17", "grade": "7"}
    assert row.who == "17"


@pytest.mark.parametrize(("penalised", "grade"), [("", "9"), ("6.5", "6.5")])
def test_the_columns_of_the_feedback_command_become_those_of_the_server(
    file: Path, penalised: str, grade: str
) -> None:
    """compat.md 9: student, mark, feedback, penalised_mark."""
    file.write_text(f"student,mark,feedback,penalised_mark\nalice,9,Fine,{penalised}\n")
    (row,) = read_grades(file)
    assert (row.values["username"], row.values["grade"]) == ("alice", grade)
    assert row.values["student"] == "alice"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column 'username': it is empty"),
        ("name,grade\nalice,1\n", "no column 'username': name, grade"),
        ("username,grade\n,5\n", r":2: the row names nobody"),
        ("username,grade\nalice,5,7,8\n", r":2: the row has more values"),
        ('username,grade\n"alice,5\n', "no CSV file"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        read_grades(file)


def test_what_is_no_text_is_told_in_words(file: Path) -> None:
    file.write_bytes(b"username\xff\n")
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_grades(file)
