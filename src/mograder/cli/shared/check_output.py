"""The output of checks: lines for people, or JSON, and the exit status."""

from __future__ import annotations

import click

from mograder.cli.shared.console import coloured, print_json
from mograder.operations.report import Level, Line, problems

_LEVELS = {
    Level.OK: "ok",
    Level.NOTE: "warning",
    Level.PROBLEM: "problem",
    Level.PLAIN: "told",
}
"""The names of the levels in JSON."""


def show_lines(what: str, lines: tuple[Line, ...], *, as_json: bool) -> None:
    """Print the results of a check of ``what``; exit with 1 if there is a problem."""
    found = problems(lines)
    if as_json:
        print_json(_as_json(lines), indent=2)
    else:
        _print(what, lines, found)
    if found:
        click.get_current_context().exit(1)


def _print(what: str, lines: tuple[Line, ...], found: int) -> None:
    """Print the lines of compatibility-0.3.16.md 10, each remedy below its problem."""
    for line in lines:
        click.echo(coloured(str(line)))
        if line.hint:
            click.echo(f"       {line.hint}")
    click.echo()
    click.echo(f"{what} check: {f'{found} issue(s) found' if found else _without_problems(lines)}")


def _without_problems(lines: tuple[Line, ...]) -> str:
    notes = sum(line.level is Level.NOTE for line in lines)
    marked = "1 line marked" if notes == 1 else f"{notes} lines marked"
    return f"no problems; look at the {marked} [--]" if notes else "all good"


def _as_json(lines: tuple[Line, ...]) -> dict[str, object]:
    listed = [
        {
            "check": line.check,
            "level": _LEVELS[line.level],
            "text": line.text,
            "hint": line.hint,
        }
        for line in lines
    ]
    return {"ok": problems(lines) == 0, "problems": problems(lines), "checks": listed}
