"""``mograder hub check``: find the problems that prevent a hub from running (B46, B81-B85)."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.course_settings import given_course_dir, load_course
from mograder.cli.shared.lazy import server_part
from mograder.cli.shared.options import EXISTING_DIRECTORY, PATH, course_dir_option
from mograder.cli.shared.output import reporting
from mograder.cli.shared.result import Result, checked, json_option
from mograder.core.settings import read_environ
from mograder.operations.live_checks import examine_public, examine_session
from mograder.operations.report import Line

_EXAMINE = "mograder.operations.preflight:examine"


@click.command("check")
@click.argument("directory", required=False, type=EXISTING_DIRECTORY)
@click.option(
    "--url",
    help="The address that browsers use: also try what the web server in front does there.",
)
@click.option(
    "--ca",
    type=PATH,
    help="A certificate authority's file that is trusted for --url besides the usual ones.",
)
@click.option(
    "--trusted-header",
    metavar="NAME",
    help="The header in which the web server in front names the user, for --url.",
)
@click.option(
    "--session", is_flag=True, help="Also open a session on the running hub, and close it."
)
@json_option
@course_dir_option
def check(
    *,
    directory: Path | None,
    url: str | None,
    ca: Path | None,
    trusted_header: str | None,
    session: bool,
) -> Result:
    """Check that a hub can run here.

    DIRECTORY is the course, if it is not the working directory. Run it as the hub's user, with
    the hub's environment. It ends with 1 if there is a problem.

    With --url and no course named (by DIRECTORY, -C or MOGRADER_COURSE_DIR) only what can be seen
    through that address is checked, from any machine. The sign-on's header is X-Remote-User then,
    unless --trusted-header or a mograder.toml in the working directory names another.
    """
    environ = read_environ()
    authority = ca or environ.authority
    named = directory or given_course_dir() or environ.course_dir
    from_afar = url and not named
    if from_afar and session:
        raise click.UsageError("--session needs the hub's secret: name the course, too.")
    own = {"hub.trusted_header": trusted_header} if trusted_header else {}
    loaded = load_course(directory, own)
    lines: tuple[Line, ...] = ()
    if not from_afar:
        lines = server_part(_EXAMINE, " of a course")(loaded, environ)
    if url:
        lines += examine_public(loaded.settings.hub, url, authority)
    if session:
        with reporting() as report:
            lines = (*lines, examine_session(loaded, environ, url, report, authority))
    return checked("Hub", lines)
