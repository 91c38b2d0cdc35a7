"""The course that a command is about: its settings, with the command line laid over them."""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.options import Given
from mograder.core.settings import LoadedSettings, load_settings


def load_course(given: Given, course_dir: Path | None = None) -> LoadedSettings:
    """Load the settings and tell their warnings on stderr.

    ``course_dir`` is a subcommand's own ``-C``, which is nearer than the group's.
    """
    loaded = load_settings(course_dir or given.course_dir, overrides=given.overrides)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return loaded
