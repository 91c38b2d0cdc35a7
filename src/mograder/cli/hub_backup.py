"""``mograder hub backup`` and ``restore``: a course in one file, and back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.options import Given, course_dir_option, json_option
from mograder.cli.output import Report, reporting
from mograder.core.errors import InvalidInput
from mograder.core.settings import LoadedSettings
from mograder.operations.backup import Made, back_up, write_backup
from mograder.operations.restore import restore as put_back

_SHOWN = 20


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@course_dir_option
@click.pass_obj
def backup(given: Given, /, file: Path, as_json: bool, course_dir: Path | None) -> None:
    """Put the whole course into one file, while the hub runs.

    FILE is new; "-" writes to standard output, for another machine to keep. It holds all that
    students and instructors made, and the settings with their secrets: keep it where only you
    can read it. The hub's own secret is not in it.
    """
    loaded = load_course(given, course_dir)
    with reporting(quiet=as_json) as report:
        made = _to_stdout(loaded, report) if str(file) == "-" else back_up(loaded, file, report)
    to_person = str(file) != "-"
    if as_json:
        click.echo(json.dumps(_as_json(made), indent=2), err=not to_person)
        return
    for line in made.left_out[:_SHOWN]:
        click.echo(f"Left out: {line}", err=True)
    if len(made.left_out) > _SHOWN:
        click.echo(f"Left out: {len(made.left_out) - _SHOWN} more", err=True)
    if made.external_database:
        click.echo("Not in it: the database server of [database] url; use pg_dump.", err=True)
    size = f"{made.size / 1_000_000:.1f} MB"
    click.echo(f"Backed up {made.files} files: {size}, SHA-256 {made.sha256}", err=not to_person)


def _to_stdout(loaded: LoadedSettings, report: Report) -> Made:
    if sys.stdout.isatty():
        raise InvalidInput("A backup is no text for a terminal.", hint="Redirect it to a file.")
    made = write_backup(loaded, sys.stdout.buffer, report)
    sys.stdout.buffer.flush()
    return made


def _as_json(made: Made) -> dict[str, object]:
    return {
        "files": made.files,
        "bytes": made.size,
        "sha256": made.sha256,
        "left_out": list(made.left_out),
        "external_database": made.external_database,
    }


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option(
    "--place",
    "places",
    multiple=True,
    metavar="KEY=PATH",
    help="Where something goes that stood outside the course, such as hub.notebooks_dir=/data.",
)
@course_dir_option
@click.pass_obj
def restore(
    given: Given,
    /,
    file: Path,
    directory: Path | None,
    places: tuple[str, ...],
    course_dir: Path | None,
) -> None:
    """Put a backup back, into a directory that is empty or not there.

    DIRECTORY is the course; by default where it stood. All of it is checked before any of it is
    put in place, and nothing that is there is overwritten. Stop the hub before.
    """
    target = directory or course_dir or given.course_dir
    with reporting() as report:
        restored = put_back(file, target, _places(places), report)
    click.echo(f"Restored {restored.files} files:")
    for place in restored.places:
        click.echo(f"  {place}")
    if restored.external_database:
        click.echo("The hub's state was on a database server: restore that by its own means.")
    click.echo("Start the hub with the secret that it had, or all tokens have to be made anew.")


def _places(words: tuple[str, ...]) -> dict[str, Path]:
    split = [word.partition("=") for word in words]
    for key, sign, path in split:
        if not (key and sign and path):
            raise InvalidInput("--place wants KEY=PATH.")
    return {key: Path(path) for key, _, path in split}
