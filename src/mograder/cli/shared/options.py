"""Options shared by several commands.

Imports little: `mograder hub --help` loads this module but no settings (performance.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from glob import escape
from pathlib import Path

import click

from mograder.core.operating_system import expanded

Option = Callable[[Callable[..., object]], Callable[..., object]]


class _NamedPath(click.Path):
    """A path that is not empty, as by a variable of the shell that is not set; ``~`` is the home.

    An empty one would mean the working directory.
    """

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        if not os.fspath(value):
            self.fail("It is empty.", param, ctx)
        return super().convert(expanded(os.fspath(value)), param, ctx)


class _Notebook(_NamedPath):
    """A file; if it is missing, the message names one of that name in a folder, as by `fetch`."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str | bytes | os.PathLike[str]:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as problem:
            named = Path(value)
            found = sorted(named.parent.glob(f"[!.]*/{escape(named.name)}")) if named.name else []
            if named.exists() or not found:
                raise
            self.fail(f"{problem.message} There is {found[0]}.", param, ctx)


PATH = _NamedPath(path_type=Path)
EXISTING_PATH = _NamedPath(exists=True, path_type=Path)
FILE = _NamedPath(dir_okay=False, path_type=Path)
FILE_OR_INPUT = _NamedPath(dir_okay=False, allow_dash=True, path_type=Path)
EXISTING_FILE = _NamedPath(exists=True, dir_okay=False, path_type=Path)
NOTEBOOK = _Notebook(exists=True, dir_okay=False, path_type=Path)
DIRECTORY = _NamedPath(file_okay=False, path_type=Path)
EXISTING_DIRECTORY = _NamedPath(exists=True, file_okay=False, path_type=Path)
"""Types of options: what is there already has to be of this kind; an INPUT may be ``-``."""


def together(*options: Option) -> Option:
    """Return a decorator that adds several options, in the order of ``--help``."""

    def decorate(command: Callable[..., object]) -> Callable[..., object]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


COURSE_DIR, OVERRIDES = "mograder.course_dir", "mograder.overrides"
"""Keys in the context's ``meta``, which `mograder hub` shares with its commands.

Their values are the path that ``-C`` names, and the settings that options of `hub` override.
"""


def _keep_course(ctx: click.Context, _: click.Parameter, named: Path | None) -> None:
    if named is not None:  # else that of `mograder hub`, if it is given, stays
        ctx.meta[COURSE_DIR] = named


course_dir_option = click.option(
    "-C",
    "--course-dir",
    type=PATH,
    expose_value=False,
    callback=_keep_course,
    help="Course directory.  [env var: MOGRADER_COURSE_DIR; default: .]",
)

insecure_option = click.option(
    "--insecure", is_flag=True, help="Send the token over plain http to another machine."
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be sent, and send nothing."
)
output_file_option = click.option(
    "-o", "--output", type=FILE, help="The file to write.  [default: standard output]"
)
timezone_option = click.option(
    "--timezone",
    help="For times without one.  [default: the course's `timezone`, else this computer's]",
)
feedback_dir_option = click.option(
    "-o",
    "--output-dir",
    type=DIRECTORY,
    help="Save the pages of feedback in this directory.",
)


VERBOSE = "mograder.verbose"
"""The key of the value of `verbose_option` in the context's ``meta``."""


def verbose_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``-v``, with which :func:`mograder.cli.shared.output.reporting` shows all lines."""

    def keep(ctx: click.Context, _: click.Parameter, given: bool) -> None:
        ctx.meta[VERBOSE] = given

    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=keep,
        help="Show each package that is installed.",
    )(command)


sandbox_options = together(
    click.option(
        "--no-sandbox",
        is_flag=True,
        help="Run without a sandbox: with the network, and no limits.",
    ),
    click.option(
        "--own-python",
        is_flag=True,
        help="Run with mograder's own Python and packages, without a sandbox.",
    ),
)

what_to_fetch = together(
    click.argument("assignment", required=False),
    click.option("--list", "listed", is_flag=True, help="List the assignments."),
    click.option(
        "-o",
        "--output-dir",
        type=DIRECTORY,
        default=Path(),
        show_default=True,
        help="Where the files go.",
    ),
)
"""The arguments and options of ``fetch``, the same for every kind of server."""
