"""The messages for failed commands; loaded only on failure.

The distribution alone installs what students and authors need, the extra ``server`` the rest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import sys
import traceback
from importlib import metadata
from pathlib import Path, PurePath

import click

from mograder.cli.shared.console import colour_wanted, coloured, plain
from mograder.core.errors import Busy, InvalidInput, MograderError, Unsupported, is_disk_full
from mograder.core.wheel import PROGRAM

_OTHER_EXTRAS = {"psycopg": "postgresql"}
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
    | {errno.ENOTDIR, errno.EEXIST}
)
"""Errors that a wrong path in the command gives, or a file that its user has no right to."""

_NO_TEMPORARY = "No usable temporary directory"
"""The words of Python's error where all of them are full or read-only; its number is ENOENT."""

_UNDECODED = re.compile("[\udc80-\udcff]")
"""The form in which Python keeps bytes of arguments and of files' names that are not UTF-8."""

_UVX = ("archive-v0", "environments-v2")
"""Directories of uv's cache with the environments of ``uvx``, which uv may replace at any time."""


def tell(error: Exception, *, debug: bool) -> Exception:
    """Print a failure to stderr: its sentence and remedy, or a reference for a bug.

    Return the failure that the error stands for, or the error itself.
    """
    if not isinstance(error, MograderError) and (failure := explained(error)) is not None:
        failure.__cause__ = error
        error = failure
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, MograderError):
        _say(_lines_of(f"Error: {error.message}"))
        if error.hint:
            click.echo(_lines_of(error.hint), err=True)
        return error
    _say(f"Error: something went wrong inside mograder (reference {reference(error)}).")
    if not debug:
        click.echo(
            "Run it again with MOGRADER_DEBUG=1 or `mograder --debug …` to see the details, "
            "and report them with the reference.",
            err=True,
        )
    return error


def _lines_of(text: str) -> str:
    """Return a sentence without control characters: it may have names of a server in it."""
    return "\n".join(map(plain, text.split("\n")))


def _say(message: str) -> None:
    click.echo(coloured(message), err=True, color=colour_wanted())


def reference(error: BaseException) -> str:
    """Return an id of the place that failed: the same bug has the same id on every machine."""
    frames = traceback.extract_tb(error.__traceback__)
    place = [f"{Path(each.filename).name}:{each.name}" for each in frames]
    return hashlib.sha256("\n".join([type(error).__name__, *place]).encode()).hexdigest()[:8]


def explained(error: Exception) -> MograderError | None:
    """Return the failure that an error stands for; None if it is a bug."""
    if isinstance(error, ModuleNotFoundError):
        return _missing_package(error)
    if isinstance(error, UnicodeEncodeError) and _UNDECODED.search(error.object):
        return InvalidInput(
            "A text or a file's name is not UTF-8.", hint="Set the terminal to UTF-8, or rename it."
        )
    if isinstance(error, FileNotFoundError) and _is_without_directory():
        return InvalidInput(
            "The working directory was removed.", hint="Change to a directory that exists."
        )
    if isinstance(error, OSError) and is_disk_full(error):
        where = f": {error.filename} cannot be written" if error.filename else ""
        return Busy(f"The disk is full{where}.", hint="Free some space, then try again.")
    if isinstance(error, OSError) and _NO_TEMPORARY in str(error.strerror):
        return Busy(
            "No directory for temporary files can be written.",
            hint="Free some space in /tmp, or name another place by TMPDIR.",
        )
    if isinstance(error, OSError) and error.errno in _REFUSALS and error.filename is not None:
        return InvalidInput(
            f"{error.filename} cannot be used: {error.strerror}.",
            hint="Run this as a user who may, or name another place.",
        )
    return None


def _is_without_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _missing_package(error: ModuleNotFoundError) -> Unsupported | None:
    """Return the failure of a command whose package is not installed; None if it is a bug."""
    package = (error.name or "").partition(".")[0]
    if package in {"", "mograder"} or package in sys.stdlib_module_names:
        return None
    return Unsupported(
        f"This command needs more than a student's install of mograder: {package} is missing.",
        hint=f"Install the rest: {_line(_OTHER_EXTRAS.get(package, 'server'))}",
    )


def _line(extra: str) -> str:
    requirement = f'"{PROGRAM}[{extra}] @ {_origin()}"'
    if any(part in _UVX for part in PurePath(sys.prefix).parts):
        return f"uvx --from {requirement} mograder"
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f"{python} -m uv pip install {requirement}"


def _origin() -> str:
    """Return the address that this mograder was installed from, as pip and uv record it.

    An install from an index has none, and no line of ours installs from one (decision 5).
    """
    wheel = "./mograder_hub-VERSION-py3-none-any.whl"
    try:
        recorded = metadata.distribution(PROGRAM).read_text("direct_url.json")
        url = str(json.loads(recorded or "{}").get("url", ""))
    except (metadata.PackageNotFoundError, ValueError):
        return wheel
    return url or wheel
