"""Reads a command's values from its options, the environment and the settings of its course.

A connection to a server is a frozen dataclass; its fields are the values of its options. Its
precedence is the order of the arguments of :func:`first`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from pathlib import Path

import click
from pydantic import SecretStr

from mograder.cli.shared.options import COURSE_DIR, OVERRIDES, Option, course_dir_option, together
from mograder.core.settings import LoadedSettings, load_settings


def given_course_dir() -> Path | None:
    """Return the path of ``-C``, of the command that runs or else of `mograder hub` before it."""
    named: Path | None = click.get_current_context().meta.get(COURSE_DIR)
    return named


def load_course(
    course_dir: Path | None = None, overrides: Mapping[str, object] | None = None
) -> LoadedSettings:
    """Load the settings of the command that runs, and print their warnings to stderr.

    ``course_dir`` counts before ``-C``, ``overrides`` before the options of ``mograder hub``.
    """
    chosen = {**click.get_current_context().meta.get(OVERRIDES, {}), **(overrides or {})}
    loaded = load_settings(course_dir or given_course_dir(), overrides=chosen)
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)
    return loaded


def course_option(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``-C``; the command gets the settings of the course as ``loaded``."""

    @wraps(command)
    def with_settings(*args: object, **others: object) -> object:
        return command(*args, loaded=load_course(), **others)

    return course_dir_option(with_settings)


def first(*told: str | SecretStr | None) -> str:
    """Return the first text that is not blank, without space around it; "" if all are."""
    for each in told:
        text = (each.get_secret_value() if isinstance(each, SecretStr) else each or "").strip()
        if text:
            return text
    return ""


def gathered(name: str, kind: type, *options: Option) -> Option:
    """Return a decorator that adds options, the fields of the dataclass ``kind``, as ``name``."""
    keys = [each.name for each in fields(kind)]

    def decorate(command: Callable[..., object]) -> Callable[..., object]:
        @wraps(command)
        def with_connection(*args: object, **given: object) -> object:
            own = {key: given.pop(key) for key in keys}
            return command(*args, **{name: kind(**own)}, **given)

        return together(*options)(with_connection)

    return decorate
