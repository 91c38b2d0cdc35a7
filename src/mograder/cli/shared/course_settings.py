"""The settings of a command's course, overridden by the command line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

from mograder.cli.shared.options import Given, course_dir_option
from mograder.core.settings import LoadedSettings, load_settings


def load_course(given: Given, course_dir: Path | None = None) -> LoadedSettings:
    """Load the settings and print their warnings to stderr.

    ``course_dir`` is a subcommand's own ``-C``, which takes precedence over the group's.
    """
    loaded = load_settings(course_dir or given.course_dir, overrides=given.overrides)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return loaded


def course_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``-C``; the command gets the settings of the course as ``loaded``.

    Options of ``mograder hub`` before the command override them. Their warnings go to stderr.
    """

    @wraps(command)
    def with_settings(*args: object, course_dir: Path | None, **others: object) -> object:
        given = click.get_current_context().find_object(Given) or Given()
        return command(*args, loaded=load_course(given, course_dir), **others)

    return course_dir_option(with_settings)
