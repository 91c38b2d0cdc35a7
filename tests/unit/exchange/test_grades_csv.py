"""Grades as CSV files have them, for Moodle and for assignment servers (B154)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mograder.core.errors import InvalidInput
from mograder.exchange.grade_files import parse_grades, server_rows


def test_grades_are_read_as_feedback_writes_them() -> None:
    """Student, mark, auto_mark, feedback, penalty_pct, penalised_mark.

    See compatibility-0.3.16.md 9.
    """
    data = (
        b"student,mark,auto_mark,feedback,penalty_pct,penalised_mark\n"
        b'alice,87.5,60,"good, really",10,78.75\n'
        b"bob,12.5,,late,,\n\n"
        b"carol,,,nothing,,\n"
        b"dave,10,,,0,10\n"
    )
    alice, bob, carol, dave = parse_grades(data, "g.csv")
    late = "Late penalty: -10%. Raw mark: 87.5."
    assert (alice.mark, alice.comment) == (Decimal("78.75"), f"{late}\n\ngood, really")
    assert (dave.mark, dave.comment) == (Decimal(10), "")
    reduced = [each.who for each in (alice, bob, carol, dave) if each.is_reduced]
    assert reduced == ["alice"]
    as_html = parse_grades(data, "g.csv", html_comments=True)[0]
    assert as_html.comment == f"<p>{late}</p>good, really"
    assert (bob.who, bob.mark) == ("bob", Decimal("12.5"))
    assert (carol.mark, carol.comment) == (None, "nothing")
    sent = [(row.who, row.values.get("grade")) for row in server_rows(data, "g.csv")]
    assert sent == [("alice", "78.75"), ("bob", "12.5"), ("carol", ""), ("dave", "10")]


def test_grades_may_come_from_a_spreadsheet_with_decimal_commas() -> None:
    data = "Username;Grade\nalice;71,5\n".encode("utf-8-sig")
    (line,) = parse_grades(data, "g.csv")
    assert (line.mark, line.comment) == (Decimal("71.5"), None)
    (row,) = server_rows(data, "g.csv")
    assert (row.values["username"], row.values["grade"]) == ("alice", "71,5")


def test_it_is_known_which_rows_name_their_person_by_moodles_user_id() -> None:
    data = b"student,userid,mark\n104233,5,1\n,6,2\n"
    lines = parse_grades(data, "g.csv")
    assert [(line.who, line.is_user_id) for line in lines] == [("104233", False), ("6", True)]


def test_every_wrong_line_is_named_before_anything_is_sent() -> None:
    data = b'student,mark,feedback\nalice,abc,"two\nlines"\nbob,50\ncarol,-3\n,4\n'
    with pytest.raises(InvalidInput) as problem:
        parse_grades(data, "g.csv")
    assert "line 2 (alice): 'abc' is not a mark" in problem.value.message
    assert "line 5 (carol): '-3' is not a mark" in problem.value.message
    assert "line 6 (): the row names nobody" in problem.value.message
    with pytest.raises(InvalidInput, match="not a file of grades"):
        parse_grades(b"a,b\n1,2\n", "g.csv")


def test_two_rows_for_one_person_are_refused() -> None:
    """Moodle's usernames are small letters; an assignment server tells Alice from alice."""
    data = b"student,mark\nalice,1\n%s,2\n"
    with pytest.raises(InvalidInput, match="has Alice twice: in lines 2 and 3"):
        parse_grades(data % b"Alice", "g.csv")
    assert len(server_rows(data % b"Alice", "g.csv")) == 2
    with pytest.raises(InvalidInput, match="has alice twice: in lines 2 and 3"):
        server_rows(data % b"alice", "g.csv")


def test_b154_the_columns_are_sent_as_they_are() -> None:
    data = b'username,grade,feedback,team\nalice,8.5,"Good, mostly.",A\n\nbob,,,B\n'
    rows = server_rows(data, "g.csv")
    assert [dict(row.values) for row in rows] == [
        {"username": "alice", "grade": "8.5", "feedback": "Good, mostly.", "team": "A"},
        {"username": "bob", "grade": "", "feedback": "", "team": "B"},
    ]
    assert [row.who for row in rows] == ["alice", "bob"]


def test_b154_a_file_from_a_spreadsheet_is_read_too() -> None:
    (row,) = server_rows("\ufeffuserid, grade \r\n17,7\r\n".encode(), "g.csv")
    assert dict(row.values) == {"userid": "17", "grade": "7"}
    assert row.who == "17"


@pytest.mark.parametrize(("penalised", "grade"), [("", "9"), ("6.5", "6.5")])
def test_the_columns_of_the_feedback_command_become_those_of_the_server(
    penalised: str, grade: str
) -> None:
    """compatibility-0.3.16.md 9: student, mark, feedback, penalised_mark."""
    data = f"student,mark,feedback,penalised_mark\nalice,9,Fine,{penalised}\n".encode()
    (row,) = server_rows(data, "g.csv")
    assert (row.values["username"], row.values["grade"]) == ("alice", grade)
    assert row.values["student"] == "alice"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no column 'username': it is empty"),
        (b"name,grade\nalice,1\n", "no column 'username': name, grade"),
        (b"username,grade\n,5\n", "line 2: the row names nobody"),
        (b"username,grade\nalice,5,7,8\n", "line 2: the row has more values"),
        (b'username,grade\n"alice,5\n', "no CSV file"),
        (b"username\xff\n", "UTF-8"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(data: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        server_rows(data, "g.csv")


def test_a_decimal_comma_in_a_file_with_commas_is_not_taken_for_another_mark() -> None:
    with pytest.raises(InvalidInput, match="line 2: the row has more values"):
        parse_grades(b"student,mark\nbob,55,5\n", "g.csv")
    (line,) = parse_grades(b"student,mark\nbob,55,,\n", "g.csv")
    assert line.mark == 55
