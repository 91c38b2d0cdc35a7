"""``mograder student``: a student's dashboard of a course, on their own machine."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.core.errors import InvalidInput


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
    from mograder.core.settings import load_settings, read_environ  # noqa: PLC0415

    is_url = "://" in course_dir_or_url
    place = _place(Path() if is_url else Path(course_dir_or_url))
    overrides = {"https.url": course_dir_or_url, "transport": "https"} if is_url else {}
    loaded = load_settings(place, overrides=overrides)
    environ = read_environ()
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


def _place(folder: Path) -> Path:
    """Return the folder for the work; create it if it is missing."""
    try:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"The folder {folder} cannot be made: {error.strerror}.",
            hint="Give another one: `mograder student FOLDER`.",
        ) from error
    return folder
