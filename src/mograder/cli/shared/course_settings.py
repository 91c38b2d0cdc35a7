"""The settings of a command's course, overridden by the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path

import click

from mograder.cli.shared.options import Given, course_dir_option
from mograder.core.settings import LoadedSettings, load_settings


def given_options() -> Given:
    """Return the options of ``mograder hub`` before the command that runs; empty for others."""
    return click.get_current_context().find_object(Given) or Given()


def load_course(
    course_dir: Path | None = None, overrides: Mapping[str, object] | None = None
) -> LoadedSettings:
    """Load the settings of the command that runs, and print their warnings to stderr.

    ``course_dir`` is its own ``-C``, which takes precedence over that of ``mograder hub``, as its
    own options do, ``overrides`` (see :func:`~mograder.core.settings.load_settings`).
    """
    given = given_options()
    chosen = {**given.overrides, **(overrides or {})}
    loaded = load_settings(course_dir or given.course_dir, overrides=chosen)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return loaded


def course_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``-C``; the command gets the settings of the course as ``loaded``."""

    @wraps(command)
    def with_settings(*args: object, course_dir: Path | None, **others: object) -> object:
        return command(*args, loaded=load_course(course_dir), **others)

    return course_dir_option(with_settings)
