"""The result of a command, which is printed here and nowhere else: as lines, or as JSON.

A command with :func:`json_option` returns a :class:`Result`, a check the one of :func:`checked`. It
does not know which of the two is wanted; what it tells before it ends (:func:`tell`, and progress)
is left out where that is JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import wraps

import click
from rich.cells import cell_len

from mograder.cli.shared.console import coloured, print_json
from mograder.core.errors import MograderError
from mograder.core.name_lookup import counted
from mograder.operations.report import Level, Line, problems

_WANTS_JSON = "mograder.json"
"""The key in the context's ``meta``, which a group shares with its commands."""

_LEVELS = {
    Level.OK: "ok",
    Level.NOTE: "warning",
    Level.PROBLEM: "problem",
    Level.PLAIN: "told",
}


@dataclass(frozen=True, slots=True)
class Result:
    """The JSON that ``--json`` prints, and the lines for people; ``status`` is the exit status.

    JSON is one line, except on a terminal. The lines are read only if they are printed.
    ``aside``: print to stderr. A ``failure`` is raised after that.
    """

    json: object
    lines: Iterable[str] = ()
    status: int = 0
    aside: bool = False
    failure: MograderError | None = None


def json_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``--json``, for scripts; print the :class:`Result` that the command returns."""

    @wraps(command)
    def with_result(*args: object, as_json: bool, **others: object) -> object:
        ctx = click.get_current_context()
        ctx.meta[_WANTS_JSON] = as_json
        result = command(*args, **others)
        if isinstance(result, Result):
            if as_json:
                stream = sys.stderr if result.aside else sys.stdout
                indent = 2 if stream.isatty() else None
                print_json(result.json, indent=indent, err=result.aside)
            else:
                for line in result.lines:
                    click.echo(line, err=result.aside)
            if result.failure is not None:
                raise result.failure
            if result.status:
                ctx.exit(result.status)
        return None

    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(
        with_result
    )


def wants_json() -> bool:
    """Return whether the command that runs was given ``--json``."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(_WANTS_JSON))


def tell(line: str, *, err: bool = False) -> None:
    """Print a line for people while the command works; nothing with ``--json``."""
    if not wants_json():
        click.echo(line, err=err)


def aligned(
    rows: Sequence[Sequence[str]], *, numbers: bool = False, indent: str = ""
) -> Iterator[str]:
    """Yield the lines of a table, columns two spaces apart.

    With ``numbers`` all columns but the first are set to the right.
    """
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        pads = [" " * (wide - cell_len(cell)) for wide, cell in zip(widths, row, strict=True)]
        cells = [
            f"{pad}{cell}" if numbers and column else f"{cell}{pad}"
            for column, (cell, pad) in enumerate(zip(row, pads, strict=True))
        ]
        yield f"{indent}{'  '.join(cells)}".rstrip()


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
    return Result(told, _check_lines(what, lines, found), int(found > 0))


def _check_lines(what: str, lines: tuple[Line, ...], found: int) -> Iterator[str]:
    """Yield the lines of compatibility-0.3.16.md 10, each remedy below its problem."""
    for line in lines:
        yield coloured(str(line))
        if line.hint:
            yield f"       {line.hint}"
    yield ""
    yield f"{what} check: {f'{found} issue(s) found' if found else _without_problems(lines)}"


def _without_problems(lines: tuple[Line, ...]) -> str:
    notes = sum(line.level is Level.NOTE for line in lines)
    marked = counted(notes, "line")
    return f"no problems; look at the {marked} marked [--]" if notes else "all good"
