"""The last line of a check: true also where there is something to look at."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from mograder.cli.shared.check_output import show_lines
from mograder.operations.report import Level, Line


@pytest.mark.parametrize(
    ("levels", "status", "last"),
    [
        ([Level.OK, Level.PLAIN], 0, "Hub check: all good"),
        ([Level.OK, Level.NOTE], 0, "Hub check: no problems; look at the 1 line marked [--]"),
        ([Level.NOTE] * 5, 0, "Hub check: no problems; look at the 5 lines marked [--]"),
        ([Level.NOTE, Level.PROBLEM], 1, "Hub check: 1 issue(s) found"),
    ],
)
def test_the_last_line_says_what_there_is_to_do(
    levels: list[Level], status: int, last: str
) -> None:
    @click.command()
    def check() -> None:
        show_lines("Hub", tuple(Line("x", each, "text") for each in levels), as_json=False)

    told = CliRunner().invoke(check)
    assert told.exit_code == status
    assert told.output.splitlines()[-1] == last
