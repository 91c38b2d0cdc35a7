"""The result of a command: lines for people, or JSON, and the exit status; that of a check."""

from __future__ import annotations

import json

import click
import pytest

from mograder.cli.main import run
from mograder.cli.shared.result import Result, aligned, checked, json_option, tell
from mograder.core.errors import NotFound
from mograder.operations.report import Level, Line


@click.command()
@click.option("--missing", is_flag=True)
@json_option
def command(*, missing: bool) -> Result:
    tell("Looking.")
    failure = NotFound("It is not there.") if missing else None
    return Result({"name": "Übung"}, ["Name: Übung"], status=6, failure=failure)


def test_people_get_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([], command) == 6
    assert capsys.readouterr().out == "Looking.\nName: Übung\n"


def test_programs_get_json_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json"], command) == 6
    assert json.loads(capsys.readouterr().out) == {"name": "Übung"}


def test_a_failure_is_told_after_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "--missing"], command) == 3
    told = capsys.readouterr()
    assert json.loads(told.out) == {"name": "Übung"}
    assert told.err == "Error: It is not there.\n"


def test_columns_of_a_table_are_two_spaces_apart() -> None:
    rows = [("ID", "Name"), ("1", "Ａ"), ("200", "")]
    assert list(aligned(rows)) == ["ID   Name", "1    Ａ", "200"]
    assert list(aligned(rows, numbers=True)) == ["ID   Name", "1      Ａ", "200"]


@pytest.mark.parametrize(
    ("levels", "status", "last"),
    [
        ([Level.OK, Level.PLAIN], 0, "Hub check: all good"),
        ([Level.OK, Level.NOTE], 0, "Hub check: no problems; look at the 1 line marked [--]"),
        ([Level.NOTE] * 5, 0, "Hub check: no problems; look at the 5 lines marked [--]"),
        ([Level.NOTE, Level.PROBLEM], 1, "Hub check: 1 issue(s) found"),
    ],
)
def test_the_last_line_of_a_check_says_what_there_is_to_do(
    levels: list[Level], status: int, last: str
) -> None:
    """It is true also where there is something to look at."""
    result = checked("Hub", tuple(Line("x", each, "text") for each in levels))
    assert result.status == status
    assert list(result.lines)[-1] == last
