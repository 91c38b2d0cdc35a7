"""The messages for failed commands; loaded only on failure."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path

import click

from mograder.cli.shared.console import colour_wanted, coloured
from mograder.core.errors import MograderError, is_disk_full


def tell(error: Exception, *, debug: bool) -> None:
    """Print a failure to stderr: its sentence and remedy, or a reference for a bug.

    The traceback, which does not help teachers, is printed only with ``debug``.
    """
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, MograderError):
        _say(f"Error: {error.message}")
        if error.hint:
            click.echo(error.hint, err=True)
        return
    if isinstance(error, OSError) and is_disk_full(error):
        where = f": {error.filename} cannot be written" if error.filename else ""
        _say(f"Error: the disk is full{where}.")
        click.echo("Free some space, then try again.", err=True)
        return
    _say(f"Error: something went wrong inside mograder (reference {reference(error)}).")
    if not debug:
        click.echo(
            "Run it again with MOGRADER_DEBUG=1 or `mograder --debug …` to see the details, "
            "and report them with the reference.",
            err=True,
        )


def _say(message: str) -> None:
    click.echo(coloured(message), err=True, color=colour_wanted())


def reference(error: BaseException) -> str:
    """Return an id of the place that failed: the same bug has the same id on every machine."""
    frames = traceback.extract_tb(error.__traceback__)
    place = [f"{Path(each.filename).name}:{each.name}" for each in frames]
    return hashlib.sha256("\n".join([type(error).__name__, *place]).encode()).hexdigest()[:8]
