r"""Files on Windows: those that another program holds open, and paths of more than 260 characters.

Windows neither replaces, renames nor removes a file that is open. Editors, virus scanners and
programs that copy folders to a cloud hold files for moments, so the call is tried again for some
seconds. Long paths are reached only by their form ``\\?\C:\...``, which is used for the calls only:
people and records see the path as it is. On other systems each function makes the call once, with
the path as it is.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from mograder.core.system import SYSTEM

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


class FileHeld(PermissionError):
    """Another program holds a file open; ``filename`` is its path."""


def when_free(call: Callable[[], object], path: str, *, seconds: float = _SECONDS) -> None:
    """Make a call that replaces, renames or removes a file; on Windows wait until it is free.

    A file that is read-only there is made writable, as the other systems do not regard that.

    Raises: :class:`FileHeld` if another program holds the file after ``seconds``; ``OSError`` as
    the call.
    """
    deadline = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    while True:
        try:
            call()
        except PermissionError as error:
            if not _may_pass(error):
                raise
            if _made_writable(path):
                continue
            if time.monotonic() >= deadline:
                raise _held(path) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            return


def unlink(path: Path) -> None:
    """Remove a file, if it exists. Raises: as :func:`when_free`."""
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


def _may_pass(error: PermissionError) -> bool:
    # Only Windows has this attribute.
    code = getattr(error, "winerror", None)
    return SYSTEM == "windows" and (code in _HELD or code == _ACCESS_DENIED)


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


def _held(path: str) -> FileHeld:
    told = "another program has it open; close it there, then try again"
    return FileHeld(errno.EACCES, told, shown(path))
