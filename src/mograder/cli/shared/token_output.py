"""The printed form of tokens, for all commands that make some (compatibility-0.3.16.md 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from mograder.auth.roles import Role
from mograder.auth.tokens import make_token
from mograder.core.names import INSTRUCTOR, Username


def print_lines(secret: str, names: Sequence[Username], epoch_of: Callable[[str], int]) -> None:
    """Print a line for each person, an empty one, and the instructor's."""
    for name in names:
        click.echo(f"{name}: {make_token(secret, name, epoch=epoch_of(name))}")
    click.echo()
    instructor = make_token(secret, INSTRUCTOR, Role.INSTRUCTOR, epoch_of(INSTRUCTOR))
    click.echo(f"instructor: {instructor}")
