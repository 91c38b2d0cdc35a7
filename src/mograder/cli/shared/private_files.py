"""Files with marks or names that commands write: only the user may read them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mograder.cli.shared.formatting import plain
from mograder.store.filesystem.files import atomic_write

_PRIVATE = 0o600


def write_private(path: Path, text: str, content: str = "") -> None:
    """Write a file, and tell so on stderr; ``content`` describes it in words.

    Raises: :class:`OSError`.
    """
    atomic_write(path, text.encode(), _PRIVATE)
    click.echo(f"Wrote {path}{f': {content}' if content else ''}.", err=True)


def print_file(text: str) -> None:
    """Print a file: unchanged into a pipe, without control characters on a terminal."""
    if not sys.stdout.isatty():
        click.echo(text.encode(), nl=False)
        return
    for line in text.splitlines():
        click.echo(plain(line))
