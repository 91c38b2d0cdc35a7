"""Texts as consoles show them; imports little, for each command uses it.

Texts of servers are printed without control characters.

A console of Windows, or a pipe from it, may have a code page of 256 characters. There a character
that it lacks is written as "?", and JSON is written in ASCII.
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import click

_COLOURS = MappingProxyType(
    {
        **dict.fromkeys(("PASS", "OK", "VALID", "[ok]"), "green"),
        **dict.fromkeys(("FAIL", "FAILED", "ERROR", "Error", "[!!]"), "red"),
        **dict.fromkeys(("WAIT", "PARTIAL", "Warning", "[--]"), "yellow"),
    }
)
_VERDICT = re.compile(r"^( *)(\[(?:ok|!!|--)\]|[A-Za-z]+(?=:))", re.MULTILINE)
_MOMENT = "%a %d %b %Y, %H:%M %Z"


def when(moment: datetime | None) -> str:
    """Return a time in the reader's own zone, with its name, for people."""
    return "No deadline" if moment is None else f"{moment.astimezone():{_MOMENT}}"


def plain(text: str) -> str:
    """Remove control characters from a server's text, so that they do not reach the terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def colour_wanted() -> bool | None:
    """Return False where NO_COLOR is set (no-color.org), else None: colours on a terminal only."""
    return False if os.environ.get("NO_COLOR") else None  # noqa: TID251 - of the terminal, no setting


def coloured(text: str) -> str:
    """Return lines in which the word of a verdict before a colon ("PASS: …") has its colour."""

    def styled(found: re.Match[str]) -> str:
        colour = _COLOURS.get(found[2])
        return found[0] if colour is None else f"{found[1]}{click.style(found[2], fg=colour)}"

    return _VERDICT.sub(styled, text)


def prepare_output() -> None:
    """Make this process's output accept every character, whatever its encoding.

    In UTF-8 the bytes of a file's name that are none, which Python keeps as halves of surrogate
    pairs, are written as ``\\udcfc``, which is the same character in JSON. A standard stream that
    the caller has closed becomes the null device, in the order of their descriptors, so that no
    file that is opened later gets one of these.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a test's stream may have none
        if reconfigure is not None:
            reconfigure(errors="backslashreplace" if _shows_all(stream) else "replace")


def print_json(value: object, *, indent: int | None = None, err: bool = False) -> None:
    """Print a value as JSON that is valid in the encoding of the output.

    Records are objects of their fields, times are in ISO format, and paths are texts.
    """
    readable = _shows_all(sys.stderr if err else sys.stdout)
    click.echo(json.dumps(value, indent=indent, ensure_ascii=not readable, default=_data), err=err)


def _data(value: object) -> object:
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a result has a {type(value).__name__}, which has no JSON")


def _shows_all(stream: object) -> bool:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return encoding.lower().replace("_", "-").startswith("utf")
