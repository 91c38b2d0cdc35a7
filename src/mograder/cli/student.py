"""``mograder student``: a student's dashboard of a course, on their own machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mograder.core.errors import InvalidInput

if TYPE_CHECKING:
    from mograder.core.settings import LoadedSettings

_HOST = re.compile(r"([a-z0-9-]+\.)+[a-z]{2,}", re.IGNORECASE)


@click.command("student")
@click.argument("course_dir_or_url", default=".", metavar="[DIR_OR_URL]")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    help="Port on this machine; 0 takes a free one.  [default: the first free one from 2718]",
)
@click.option("--headless", is_flag=True, help="Do not open a browser.")
@click.option(
    "--no-token",
    is_flag=True,
    help="Ask for no one-time link: whoever uses this machine can open the dashboard.",
)
def student(course_dir_or_url: str, *, port: int | None, headless: bool, no_token: bool) -> None:
    """Open your own dashboard of a course, as a student.

    Download assignments, work on them in an editor on this machine, validate, submit, and read
    grades and feedback. DIR_OR_URL is the folder that your work is to lie in, or the address of
    the course's assignment server; then your work lies in the folder where you are.
    """
    # `--help` imports neither the settings nor the server. Mistakes in the settings are reported
    # before the server is imported, which is slow.
    from mograder.core.settings import read_environ  # noqa: PLC0415

    loaded, environ = settings_of(course_dir_or_url), read_environ()
    from mograder.web.student.connector import connector_of  # noqa: PLC0415
    from mograder.web.student.server import StudentOptions, serve_student  # noqa: PLC0415

    serve_student(
        StudentOptions(
            loaded,
            environ,
            connector_of(loaded, environ),
            port=port,
            headless=headless,
            everybody=no_token,
        )
    )


def settings_of(folder_or_url: str) -> LoadedSettings:
    """Return the settings for a folder, or of this one for the assignment server at an address.

    A token in ``mograder.toml`` is for the server named there, and is sent to no other.
    """
    from mograder.core.settings import Origin, load_settings  # noqa: PLC0415

    address = folder_or_url.partition("?")[0].partition("#")[0]
    if "://" in address and address.lower().endswith(".toml"):  # which 0.3.16 fetched
        raise InvalidInput(
            f"{address} is a course's settings, and no server.",
            hint="Save it as mograder.toml in a folder: `mograder student FOLDER` opens that.",
        )
    told = {"https.url": folder_or_url, "transport": "https"} if "://" in folder_or_url else {}
    course = _place(Path() if told else Path(folder_or_url))
    loaded = load_settings(course, overrides=told)
    if loaded.origins["https.token"] is not Origin.FILE:
        return loaded
    from mograder.cli.https.server import token_in_file  # noqa: PLC0415

    token = token_in_file(loaded, loaded.settings.https.url)
    return load_settings(course, overrides=told | {"https.token": token})


def _place(folder: Path) -> Path:
    """Return the folder for the work; create it, and say so, if it is missing."""
    if _HOST.fullmatch(str(folder)) and not folder.exists():
        raise InvalidInput(
            f"There is no folder {folder}, and an address begins with https://.",
            hint=f"Give the server as https://{folder}, or make the folder first.",
        )
    try:
        if not folder.expanduser().is_dir():
            folder.expanduser().mkdir(parents=True, exist_ok=True)
            click.echo(f"{folder} is a new folder. If you have begun the course in another one,")
            click.echo("press Ctrl+C and start the dashboard there.")
    except RuntimeError as error:
        raise InvalidInput(f"The folder {folder} has no home directory.") from error
    except OSError as error:
        raise InvalidInput(
            f"The folder {folder} cannot be made: {error.strerror}.",
            hint="Give another one: `mograder student FOLDER`.",
        ) from error
    return folder
