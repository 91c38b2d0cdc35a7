"""Files that another program holds open, which Windows neither replaces, renames nor removes.

Editors, virus scanners and programs that copy folders to a cloud hold files for moments, so the
call is tried again for some seconds. On other systems each function makes the call once.
"""

from __future__ import annotations

import errno
import stat
import time
from collections.abc import Callable
from pathlib import Path

from mograder.core.files.long_paths import shown
from mograder.core.system import SYSTEM

_SECONDS = 4.0
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_ACCESS_DENIED = 5
_HELD = frozenset({32, 33})
"""Windows error codes: a sharing violation, and a part that another program has locked."""


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
