"""Files that a person names on the command line, and files with marks that commands write."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mograder.cli.shared.console import plain
from mograder.core.csv_table import for_spreadsheets
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.settings import FILE_NAME
from mograder.store.filesystem.files import atomic_write

_MOST_BYTES = 20_000_000
_DATABASE = b"SQLite format 3\0"
"""How an SQLite database begins (https://www.sqlite.org/fileformat.html, 1.3)."""


def read_bytes(file: Path, limit: int = _MOST_BYTES) -> bytes:
    """Raise NotFound, or InvalidInput if it cannot be read or has more than ``limit`` bytes."""
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {file}.") from error
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    if len(data) > limit:
        raise InvalidInput(f"{file} is larger than {limit // 1_000_000} MB.")
    return data


def read_text(file: Path) -> str:
    """Return the text without a byte order mark; raises InvalidInput if unreadable or not UTF-8."""
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} cannot be read as UTF-8 text.") from error


def write_private(
    path: Path, text: str, content: str = "", *, for_spreadsheet: bool = False
) -> None:
    """Write a file, and tell so on stderr; ``content`` describes it in words."""
    save_file(path, text, for_spreadsheet=for_spreadsheet)
    click.echo(f"Wrote {path}{f': {content}' if content else ''}.", err=True)


def save_file(path: Path, text: str, *, for_spreadsheet: bool = False) -> None:
    """Write a file that a person named: replace a plain one, and write into a device or a pipe.

    ``for_spreadsheet``: a plain one is a CSV file that people open, not another program. A file of
    the course, such as the gradebook or a submission, is refused.
    """
    try:
        if path.is_file() and (kind := _kind_in_a_course(path.resolve())):
            raise InvalidInput(f"{path} is {kind}.", hint="Name another file.")
        if path.exists() and not path.is_file():
            path.write_bytes(text.encode())
        else:
            # The target of a link: root would replace the link /dev/stdout itself.
            kept = for_spreadsheets(text) if for_spreadsheet else text
            atomic_write(path.resolve(), kept.encode(), 0o600)
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written: {error.strerror}.",
            hint="Name a file in a directory that is there.",
        ) from error


def _kind_in_a_course(path: Path) -> str:
    """Return which file of a course this is, in words; empty if it can be replaced."""
    if path.name == FILE_NAME:
        return "a course's settings"
    if path.suffix == ".py":
        return "a notebook"
    with path.open("rb") as stream:
        is_database = stream.read(len(_DATABASE)) == _DATABASE
    return "a database, which may hold a course's marks" if is_database else ""


def print_file(text: str) -> None:
    """Print a file: unchanged into a pipe, without control characters on a terminal."""
    if not sys.stdout.isatty():
        click.echo(text.encode(), nl=False)
        return
    for line in text.splitlines():
        click.echo(plain(line))
