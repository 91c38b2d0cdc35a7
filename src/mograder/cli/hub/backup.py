"""``mograder hub backup`` and ``restore``: write a course to one file, and read it back.

``backup`` exits with :data:`EXIT_INCOMPLETE` if it has written a file and left something out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mograder.cli.shared.course_settings import given_course_dir, load_course
from mograder.cli.shared.options import PATH, course_dir_option
from mograder.cli.shared.output import reporting
from mograder.cli.shared.result import Result, json_option, tell
from mograder.core.errors import InvalidInput
from mograder.core.operating_system import expanded
from mograder.core.settings import LoadedSettings
from mograder.operations.archive import verify
from mograder.operations.backup import Made, back_up, write_backup
from mograder.operations.kept_backups import back_up_scheduled
from mograder.operations.restore import restore as put_back

_SHOWN = 20
_REVOKED = (
    "Tokens, logins, nodes and links to platforms that were revoked since the backup was made "
    "count again: revoke them once more. So do one-time links that were used since: "
    "`hub revoke-token` ends a person's."
)

EXIT_INCOMPLETE = 6
"""Exit status: a backup was written, but files are missing from it or damaged."""


@click.command("backup")
@click.argument("file", required=False, type=PATH)
@click.option("--verify", "verifying", is_flag=True, help="Read the backup FILE back instead.")
@click.option(
    "--scheduled",
    is_flag=True,
    help="Write into [backup] directory, read it back, and remove the oldest there.",
)
@json_option
@course_dir_option
def backup(*, file: Path | None, verifying: bool, scheduled: bool) -> Result:
    """Put the whole course into one file, while the hub runs.

    FILE is new; "-" writes to standard output, for another machine to keep. It holds all that
    students and instructors made, and the settings with their secrets: keep it where only you
    can read it. The hub's own secret is not in it.

    What cannot be read is listed and left out, and the command then ends with 6. --verify reads
    a backup back: every file is compared with its checksum, every database looked through.
    """
    if (file is None) != scheduled or (verifying and scheduled):
        raise click.UsageError("Give FILE, or --scheduled without it.")
    if verifying and file is not None:
        with reporting() as report:
            verified = verify(file, report)
        _tell_left_out(verified.left_out)
        line = (
            f"Whole: {verified.files} files with {verified.size} bytes, {verified.databases} "
            f"databases without damage; made {verified.made:%Y-%m-%d %H:%M} UTC"
        )
        return Result(verified, [line])
    loaded = load_course()
    return _scheduled(loaded) if file is None else _to_file(loaded, file)


def _scheduled(loaded: LoadedSettings) -> Result:
    with reporting() as report:
        done = back_up_scheduled(loaded, report)
    _tell_omissions(done.made)
    if done.made.by_students:
        text = f"{done.made.by_students} left out were made by students; this is not an error."
        tell(f"Note: {text}", err=True)
    if done.missing:
        tell(f"Error: {done.path.name} lacks {done.missing} files or directories.", err=True)
    lines = [
        f"Wrote {done.path}",
        _summary(done.made),
        *(f"Removed {path}" for path in done.removed),
    ]
    told = _as_json(done.made) | {"path": str(done.path), "missing": done.missing}
    return Result(told, lines, EXIT_INCOMPLETE if done.missing else 0)


def _to_file(loaded: LoadedSettings, file: Path) -> Result:
    aside = str(file) == "-"  # then the backup itself is on stdout
    if aside and sys.stdout.isatty():
        raise InvalidInput("A backup is no text for a terminal.", hint="Redirect it to a file.")
    with reporting() as report:
        if aside:
            made = write_backup(loaded, sys.stdout.buffer, report)
            sys.stdout.buffer.flush()
        else:
            made = back_up(loaded, file, report)
    _tell_omissions(made)
    missing = len(made.left_out)
    if missing:
        tell(f"Error: the backup is incomplete: {missing} left out, named above.", err=True)
    return Result(_as_json(made), [_summary(made)], EXIT_INCOMPLETE if missing else 0, aside)


def _summary(made: Made) -> str:
    return f"Backed up {made.files} files: {made.size / 1_000_000:.1f} MB, SHA-256 {made.sha256}"


def _tell_omissions(made: Made) -> None:
    _tell_left_out(made.left_out)
    if made.external_database:
        tell("Not in it: the database server of [database] url; use pg_dump.", err=True)


def _tell_left_out(left_out: tuple[str, ...]) -> None:
    for line in left_out[:_SHOWN]:
        tell(f"Left out: {line}", err=True)
    if len(left_out) > _SHOWN:
        tell(f"Left out: {len(left_out) - _SHOWN} more (--json lists all)", err=True)


def _as_json(made: Made) -> dict[str, object]:
    return {
        "files": made.files,
        "bytes": made.size,
        "sha256": made.sha256,
        "left_out": made.left_out,
        "by_students": made.by_students,
        "external_database": made.external_database,
    }


@click.command("restore")
@click.argument("file", type=PATH)
@click.argument("directory", required=False, type=PATH)
@click.option(
    "--place",
    "places",
    multiple=True,
    metavar="KEY=PATH",
    help="Where something goes that stood outside the course, such as hub.notebooks_dir=/data.",
)
@course_dir_option
def restore(*, file: Path, directory: Path | None, places: tuple[str, ...]) -> None:
    """Put a backup back, into a directory that is empty or not there.

    DIRECTORY is the course; by default where it stood. With it, --place has to say where anything
    goes that stood outside the course. All of it is checked before any of it is put in place, and
    nothing that is there is overwritten. Stop the hub before.
    """
    target = directory or given_course_dir()
    with reporting() as report:
        restored = put_back(file, target, _places(places), report)
    whole = restored.whole
    _tell_left_out(whole.left_out)
    click.echo(f"Restored {whole.files} files:")
    for _, place in restored.roots:
        click.echo(f"  {place}")
    if whole.external_database:
        click.echo("The hub's state was on a database server: restore that by its own means.")
    for line in restored.left_to_do():
        click.echo(line)
    click.echo(_REVOKED)
    click.echo("Start the hub with the secret that it had, or all tokens have to be made anew.")


def _places(words: tuple[str, ...]) -> dict[str, Path]:
    split = [word.partition("=") for word in words]
    for key, sign, path in split:
        if not (key and sign and path):
            raise InvalidInput("--place wants KEY=PATH.")
    return {key: Path(expanded(path)) for key, _, path in split}
