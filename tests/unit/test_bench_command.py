"""`python -m bench`: which rows it measures, and how large."""

from __future__ import annotations

import pytest

from bench.__main__ import LONG, ROWS, read_command_line
from bench.options import Options

pytestmark = pytest.mark.full


def test_all_rows_but_the_long_ones_are_measured_by_default() -> None:
    names, options = read_command_line([])
    assert names == list(ROWS)
    assert not set(names) & set(LONG)
    assert options == Options()


def test_a_long_row_is_measured_when_it_is_named() -> None:
    names, options = read_command_line(["hall", "--students", "20", "--stay", "1.5"])
    assert names == ["hall"]
    assert options == Options(students=20, stay=1.5)


def test_a_run_is_recorded_only_on_request() -> None:
    assert not read_command_line(["start"])[1].record
    assert read_command_line(["start", "--record"])[1].record


def test_a_row_that_there_is_not_is_told_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        read_command_line(["strat"])
    said = capsys.readouterr().err
    assert "there is no row strat" in said
    assert "start" in said
    assert "hall" in said
