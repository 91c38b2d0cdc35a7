"""The settings of a command's course, overridden by the command line."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.options import Given
from mograder.core.settings import LoadedSettings, load_settings


def load_course(given: Given, course_dir: Path | None = None) -> LoadedSettings:
    """Load the settings and print their warnings to stderr.

    ``course_dir`` is a subcommand's own ``-C``, which takes precedence over the group's.
    """
    loaded = load_settings(course_dir or given.course_dir, overrides=given.overrides)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return loaded
