"""The last line of a check: true also where there is something to look at."""

from __future__ import annotations

import pytest

from mograder.cli.shared.check_output import checked
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
    result = checked("Hub", tuple(Line("x", each, "text") for each in levels))
    assert result.status == status
    assert list(result.lines)[-1] == last
