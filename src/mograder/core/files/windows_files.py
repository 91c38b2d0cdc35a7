r"""Files on Windows: those that another program holds open, long paths, and other line ends.

Windows neither replaces, renames nor removes a file that is open. Editors, virus scanners and
programs that copy folders to a cloud hold files for moments, so the call is tried again for some
seconds. Paths of more than 260 characters are reached only by their form ``\\?\C:\...``, which is
used for the calls only: people and records see the path as it is. On other systems each function
makes the call once, with the path as it is.

Editors on Windows write carriage returns, marimo's among them, and git may add or remove them; so
files are compared on every system as if their line ends were the same. A release keeps the line
ends of its source.
"""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from mograder.core.operating_system import SYSTEM

_SECONDS = 4.0
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_ACCESS_DENIED = 5
_HELD = frozenset({32, 33})
"""Windows error codes: a sharing violation, and a part that another program has locked."""

_LONGEST_PATH = 200
"""Characters of a path that needs no other form: below the limit of directories, 248, with room
for a temporary file's longer name."""

_EXTENDED = "\\\\?\\"
_SHARE = "\\\\?\\UNC\\"
_LARGEST_TEXT = 16_000_000
"""Larger files are compared by their bytes."""


class FileHeld(PermissionError):
    """Another program holds a file open; ``filename`` is its path."""


def when_free(call: Callable[[], object], path: str, *, seconds: float = _SECONDS) -> None:
    """Make a call that replaces, renames or removes a file; on Windows wait until it is free.

    A file that is read-only there is made writable, as the other systems do not regard that.
    """
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            call()
        except PermissionError as error:
            code = getattr(error, "winerror", None)  # only Windows has it
            if SYSTEM != "windows" or (code not in _HELD and code != _ACCESS_DENIED):
                raise
            if _made_writable(path):
                continue
            if time.monotonic() >= deadline:
                told = "another program has it open; close it there, then try again"
                raise FileHeld(errno.EACCES, told, shown(path)) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


def unlink(path: Path) -> None:
    when_free(lambda: path.unlink(missing_ok=True), str(path))


def reachable(path: Path, *, whole_tree: bool = False) -> Path:
    """Return the path of the same file for a call of the system, however long it is.

    With ``whole_tree`` so that those of all files below it are reached too.
    """
    if SYSTEM != "windows":
        return path
    # The system does not resolve "." and ".." in the extended form.
    absolute = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow links
    return Path(extended(absolute, longest=0 if whole_tree else _LONGEST_PATH))


def shown(path: str) -> str:
    """Return a path for people: without the prefix of the extended form."""
    if path.startswith(_SHARE):
        return "\\\\" + path.removeprefix(_SHARE)
    return path.removeprefix(_EXTENDED)


def extended(path: str, *, longest: int = _LONGEST_PATH) -> str:
    r"""Return an absolute Windows path with the prefix ``\\?\`` if it has more characters; pure."""
    pure = PureWindowsPath(path)
    if len(path) <= longest or path.startswith(_EXTENDED) or not pure.is_absolute():
        return path
    text = str(pure)
    return _SHARE + text[2:] if text.startswith("\\\\") else _EXTENDED + text


def _made_writable(path: str) -> bool:
    """Take a file's mark as read-only away; return False if it had none."""
    place = Path(path)
    try:
        mode = place.lstat().st_mode
        if stat.S_ISDIR(mode) or mode & stat.S_IWRITE:
            return False
        place.chmod(mode | stat.S_IWRITE)
    except OSError:
        return False
    return True


def same_text(one: bytes, other: bytes) -> bool:
    """Return whether two contents are equal, or two texts that differ in their line ends only."""
    return one == other or (
        _is_text(one) and _is_text(other) and _by_line_feeds(one) == _by_line_feeds(other)
    )


def same_file(one: Path, other: Path) -> bool:
    if filecmp.cmp(one, other, shallow=False):
        return True
    if max(one.stat().st_size, other.stat().st_size) > _LARGEST_TEXT:
        return False
    return same_text(one.read_bytes(), other.read_bytes())


def digests(data: bytes) -> frozenset[str]:
    """Return the SHA-256 of a content in hex and, of a text, with either kind of line ends."""
    if not _is_text(data):
        return frozenset({_sha256(data)})
    feeds = _by_line_feeds(data)
    return frozenset({_sha256(data), _sha256(feeds), _sha256(feeds.replace(b"\n", b"\r\n"))})


def digests_of_file(path: Path) -> frozenset[str]:
    if path.stat().st_size <= _LARGEST_TEXT:
        return digests(path.read_bytes())
    with path.open("rb") as stream:
        return frozenset({hashlib.file_digest(stream, "sha256").hexdigest()})


def _by_line_feeds(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _is_text(data: bytes) -> bool:
    return b"\0" not in data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
