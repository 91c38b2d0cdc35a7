"""``mograder new``: start a course, or an item in one."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from mograder.cli.shared.course_settings import given_course_dir, load_course
from mograder.cli.shared.options import DIRECTORY, course_dir_option
from mograder.core.names import ItemName
from mograder.grading.author.scaffold import (
    FIRST_ASSIGNMENT,
    FIRST_LECTURE,
    new_course,
    new_item,
)
from mograder.store.course.course import shown


@click.command("new")
@click.argument("directory", required=False, type=DIRECTORY)
@click.option("--assignment", metavar="NAME", help="Start an assignment in an existing course.")
@click.option("--lecture", metavar="NAME", help="Start a lecture in an existing course.")
@course_dir_option
def new(*, directory: Path | None, assignment: str | None, lecture: str | None) -> None:
    """Start a course, or an item in one.

    A course is started in DIRECTORY, an assignment or a lecture in the course that -C names or
    that is here. The files work at once, and their comments explain them. Existing files are
    not overwritten.
    """
    course_dir = given_course_dir()
    if sum(each is not None for each in (directory, assignment, lecture)) != 1:
        raise click.UsageError("Give one of these: DIRECTORY, --assignment or --lecture.")
    if directory is not None and course_dir is not None:
        raise click.UsageError("-C is for --assignment and --lecture; DIRECTORY is the course.")
    if directory is not None:
        _say(new_course(directory))
        _next(
            ["cd", str(directory)],
            ["mograder", "generate", FIRST_ASSIGNMENT],
            ["mograder", "generate", "--lecture", FIRST_LECTURE],
        )
        return
    loaded = load_course()
    sources, runtime = loaded.path(loaded.settings.dirs.source), loaded.state_dir / "runtime"
    generate = ["mograder", "generate", *([] if course_dir is None else ["-C", str(course_dir)])]
    generate += [] if lecture is None else ["--lecture"]
    others = [each.name for each in sources.iterdir()] if sources.is_dir() else []
    name = ItemName.parse_new(assignment or lecture or "", others)
    _say(new_item(name, sources, runtime, lecture=lecture is not None))
    _next(["marimo", "edit", shown(sources / name / f"{name}.py")], [*generate, name])


def _next(*commands: list[str]) -> None:
    """Print commands as a shell takes them."""
    click.echo(f"Next: {'; '.join(map(shlex.join, commands))}")


def _say(written: tuple[Path, ...]) -> None:
    for path in written:
        click.echo(f"Wrote {shown(path.absolute())}")
