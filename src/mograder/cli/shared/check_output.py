"""The output of checks: lines for people, or JSON, and the exit status."""

from __future__ import annotations

from collections.abc import Iterator

from mograder.cli.shared.console import coloured
from mograder.cli.shared.result import Result
from mograder.operations.report import Level, Line, problems

_LEVELS = {
    Level.OK: "ok",
    Level.NOTE: "warning",
    Level.PROBLEM: "problem",
    Level.PLAIN: "told",
}
"""The names of the levels in JSON."""


def checked(what: str, lines: tuple[Line, ...]) -> Result:
    """Return the results of a check of ``what``; the exit status is 1 if there is a problem."""
    found = problems(lines)
    listed = [
        {
            "check": line.check,
            "level": _LEVELS[line.level],
            "text": line.text,
            "hint": line.hint,
        }
        for line in lines
    ]
    told = {"ok": found == 0, "problems": found, "checks": listed}
    return Result(told, _lines(what, lines, found), int(found > 0))


def _lines(what: str, lines: tuple[Line, ...], found: int) -> Iterator[str]:
    """Yield the lines of compatibility-0.3.16.md 10, each remedy below its problem."""
    for line in lines:
        yield coloured(str(line))
        if line.hint:
            yield f"       {line.hint}"
    yield ""
    yield f"{what} check: {f'{found} issue(s) found' if found else _without_problems(lines)}"


def _without_problems(lines: tuple[Line, ...]) -> str:
    notes = sum(line.level is Level.NOTE for line in lines)
    marked = "1 line marked" if notes == 1 else f"{notes} lines marked"
    return f"no problems; look at the {marked} [--]" if notes else "all good"
