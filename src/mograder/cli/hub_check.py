"""``mograder hub check``: what keeps a hub from running here (B46, B81-B85)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.options import Given, course_dir_option, json_option
from mograder.core.errors import MograderError
from mograder.core.settings import LoadedSettings, read_environ
from mograder.operations.preflight import examine, examine_front
from mograder.operations.report import Line, problem, problems


@click.command("check")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option(
    "--url",
    help="The address that browsers use: also try to come in there by a forged header.",
)
@json_option
@course_dir_option
@click.pass_obj
def check(
    given: Given,
    /,
    directory: Path | None,
    url: str | None,
    as_json: bool,
    course_dir: Path | None,
) -> None:
    """Check that a hub can run here.

    DIRECTORY is the course, if it is not the working directory. Run it as the hub's user, with
    the hub's environment. It ends with 1 if there is a problem.
    """
    loaded = load_course(given, directory or course_dir)
    lines = asyncio.run(examine(loaded, read_environ()))
    if url:
        lines = (*lines, _front(loaded, url))
    found = problems(lines)
    if as_json:
        click.echo(json.dumps(_as_json(lines), indent=2, ensure_ascii=False))
    else:
        _print(lines, found)
    if found:
        click.get_current_context().exit(1)


def _front(loaded: LoadedSettings, url: str) -> Line:
    try:
        return examine_front(loaded, url)
    except MograderError as error:
        return problem("front", error.message, error.hint)


def _print(lines: tuple[Line, ...], found: int) -> None:
    """Print the lines of compat.md 10, each remedy below its problem."""
    for line in lines:
        click.echo(str(line))
        if line.hint:
            click.echo(f"       {line.hint}")
    click.echo()
    click.echo(f"Hub check: {f'{found} issue(s) found' if found else 'all good'}")


def _as_json(lines: tuple[Line, ...]) -> dict[str, object]:
    listed = [
        {
            "check": line.check,
            "level": line.level.name.lower(),
            "text": line.text,
            "hint": line.hint,
        }
        for line in lines
    ]
    return {"ok": problems(lines) == 0, "problems": problems(lines), "checks": listed}
