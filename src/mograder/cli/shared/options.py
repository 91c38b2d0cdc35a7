"""Options shared by several commands, and the `hub` group's values for its subcommands.

Imports little: `mograder hub --help` loads this module but no settings (performance.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., object])


@dataclass(frozen=True, slots=True)
class Given:
    """The options of the command line; those that are given override the settings (B14-B17)."""

    course_dir: Path | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)


def course_dir_option(command: _F) -> _F:
    """Add ``-C``; the defaults are MOGRADER_COURSE_DIR, then the working directory (B73)."""
    return click.option(
        "-C",
        "--course-dir",
        type=click.Path(path_type=Path),
        default=None,
        help="Course directory.  [env var: MOGRADER_COURSE_DIR; default: .]",
    )(command)


def insecure_option(command: _F) -> _F:
    """Add ``--insecure``, for a hub that can only be reached over plain http."""
    return click.option(
        "--insecure", is_flag=True, help="Send the token over plain http to another machine."
    )(command)


dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be sent, and send nothing."
)
feedback_dir_option = click.option(
    "-o",
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save the pages of feedback in this directory.",
)


VERBOSE = "mograder.verbose"
"""The key of the value of `verbose_option` in the context's ``meta``."""


def verbose_option(command: _F) -> _F:
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


def sandbox_options(command: _F) -> _F:
    """Add ``--no-sandbox`` and ``--own-python``, for commands that run an author's notebooks."""
    for add in (
        click.option(
            "--own-python",
            is_flag=True,
            help="Run with mograder's own Python and packages, without a sandbox.",
        ),
        click.option(
            "--no-sandbox",
            is_flag=True,
            help="Run without a sandbox: with the network, and no limits.",
        ),
    ):
        command = add(command)
    return command


def what_to_fetch(command: _F) -> _F:
    """Add the arguments and options of ``fetch``, the same for every kind of server."""
    directory = click.Path(file_okay=False, path_type=Path)
    for add in (
        click.option(
            "-o",
            "--output-dir",
            type=directory,
            default=Path(),
            show_default=True,
            help="Where the files go.",
        ),
        click.option("--list", "listed", is_flag=True, help="List the assignments."),
        click.argument("assignment", required=False),
    ):
        command = add(command)
    return command
