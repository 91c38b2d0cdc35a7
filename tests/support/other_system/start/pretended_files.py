"""Files as Windows and macOS have them, for the calls that mograder makes.

On both: names that differ only in case are one name, and ``/proc`` and ``/sys`` are missing. On
Windows also: a file that a process has open is neither replaced, renamed nor removed; ``rename``
replaces nothing; a read-only file is not removed; a directory cannot be opened; some names are
refused; text files get the code page's encoding and line ends with carriage returns.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import io
import os
import re
import stat
from collections.abc import Callable
from typing import Any

from tests.support.other_system.start.callers import called_by_us

O_BINARY = 1 << 30
"""A flag that no call of Linux's has: ``os.open`` takes it away."""

_BAD_NAME = re.compile(r'[:\\<>"|?*\x00-\x1f]|[. ]$')
_RESERVED = re.compile(r"(?i)(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?:\.|$| )")
_NOT_THERE = ("/proc", "/sys")
_CHANGED_IN_PLACE = ("access", "chmod", "lstat", "stat", "utime", "readlink")
_SHARING, _DENIED, _EXISTS, _PRIVILEGE = 32, 5, 183, 1314
_text_descriptors: set[int] = set()
_real_open = os.open
_real_io_open = io.open


def begin(system: str) -> None:
    """Wrap the functions of ``os`` and ``io`` that change or open files."""
    windows = system == "windows"
    for name in (*_CHANGED_IN_PLACE, "listdir", "scandir", "mkdir"):
        _wrap(name, _there, windows)
    for name in ("unlink", "remove", "rmdir"):
        _wrap(name, _checked_removal if windows else _there, windows)
    if windows:
        os.replace = _two_names(os.replace, may_replace=True)
        os.rename = _two_names(os.rename, may_replace=False)
        os.symlink = _no_links(os.symlink)
    io.open = builtins.open = _opening(windows)


def without_descriptors(name: str) -> Callable[..., Any]:
    """Return a function of ``os`` that takes paths only."""
    call = getattr(os, name)

    @functools.wraps(call)
    def paths_only(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
        if any(kwargs.get(key) is not None for key in ("dir_fd", "src_dir_fd", "dst_dir_fd")):
            raise NotImplementedError(f"{name}: dir_fd unavailable on this platform")
        if isinstance(path, int) and name not in ("stat", "truncate"):
            raise TypeError(f"{name}: path should be string, bytes or os.PathLike, not int")
        if not kwargs.get("follow_symlinks", True) and name != "stat":
            raise NotImplementedError(f"{name}: follow_symlinks unavailable on this platform")
        # Looked up now, since pretended_files.begin has replaced it in between.
        return getattr(os, name)(path, *args, **kwargs)

    return paths_only


def windows_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """Open a file as ``os.open`` of Windows: no directory, and as text without ``O_BINARY``."""
    if dir_fd is not None:
        raise NotImplementedError("dir_fd unavailable on this platform")
    there = _there(path, windows=True)
    if os.path.isdir(there):
        raise _error(errno.EACCES, _DENIED, path)
    fd = _real_open(there, flags & ~O_BINARY, mode)
    _text_descriptors.discard(fd)
    if not flags & O_BINARY:
        _text_descriptors.add(fd)
    return fd


def windows_read(fd: int, length: int) -> bytes:
    """Read; a descriptor without ``O_BINARY`` loses its carriage returns."""
    data = os.read(fd, length)
    return data.replace(b"\r\n", b"\n") if fd in _text_descriptors else data


def windows_write(fd: int, data: Any) -> int:
    """Write; a descriptor without ``O_BINARY`` gets carriage returns."""
    if fd not in _text_descriptors:
        return os.write(fd, data)
    os.write(fd, bytes(data).replace(b"\n", b"\r\n"))
    return len(data)


def windows_fsync(fd: int) -> None:
    """Sync a file that is open for writing."""
    flags = int(re.search(r"flags:\s*(\d+)", _text_of(f"/proc/self/fdinfo/{fd}"))[1], 8)  # type: ignore[index]
    if flags & 3 == os.O_RDONLY:
        raise _error(errno.EBADF, 6, f"descriptor {fd}")
    os.fsync(fd)


def _text_of(path: str) -> str:
    with _real_io_open(path) as file:
        return file.read()


def _wrap(name: str, prepare: Callable[..., Any], windows: bool) -> None:
    real = getattr(os, name)

    @functools.wraps(real)
    def wrapped(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
        if isinstance(path, int) or not called_by_us():
            return real(path, *args, **kwargs)
        return real(prepare(path, windows=windows, **kwargs), *args, **kwargs)

    setattr(os, name, wrapped)


def _there(path: Any, *, windows: bool, dir_fd: int | None = None, **_: Any) -> Any:
    """Return the path of what has this name, or one that differs in case; check the name."""
    text = os.fspath(path)
    if not isinstance(text, str) or dir_fd is not None:
        return path
    if os.path.abspath(text).startswith(_NOT_THERE):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
    if windows:
        for step in text.split("/"):
            if step not in (".", "..") and (_BAD_NAME.search(step) or _RESERVED.match(step)):
                raise _error(errno.EINVAL, 123, text)
    return _in_other_case(text)


def _in_other_case(text: str) -> str:
    """Return a path, with the case of the files that are there."""
    if os.path.lexists(text) or not text:
        return text
    parent, name = os.path.split(text.rstrip("/"))
    if parent in (text, ""):
        parent = parent or "."
    elif not os.path.lexists(parent):
        parent = _in_other_case(parent)
    with contextlib.suppress(OSError):
        for each in os.listdir(parent):
            if each.casefold() == name.casefold():
                return os.path.join(parent, each)
    return text


def _checked_removal(path: Any, *, windows: bool, dir_fd: int | None = None, **kwargs: Any) -> Any:
    found = _there(path, windows=windows, dir_fd=dir_fd, **kwargs)
    full = _full(found, dir_fd)
    with contextlib.suppress(FileNotFoundError):
        info = os.lstat(full)
        if not stat.S_ISDIR(info.st_mode) and not info.st_mode & stat.S_IWUSR:
            raise _error(errno.EACCES, _DENIED, path)
        if _is_held(full):
            raise _error(errno.EACCES, _SHARING, path)
    return found


def _full(path: Any, dir_fd: int | None) -> str:
    base = "" if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    return os.path.join(base, os.fspath(path))


def _two_names(real: Callable[..., Any], *, may_replace: bool) -> Callable[..., Any]:
    @functools.wraps(real)
    def moving(source: Any, target: Any, **kwargs: Any) -> Any:
        if not called_by_us():
            return real(source, target, **kwargs)
        old, new = _there(source, windows=True), _there(target, windows=True)
        if os.path.lexists(old):
            _check_move(old, new, may_replace)
        # Onto the same file in other case it changes the case only.
        return real(old, target if _same(old, new) else new, **kwargs)

    return moving


def _check_move(old: str, new: str, may_replace: bool) -> None:
    if _is_held(old):
        raise _error(errno.EACCES, _SHARING, old)
    if not os.path.lexists(new) or _same(old, new):
        return
    if not may_replace:
        error = FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists")
        error.winerror = _EXISTS  # type: ignore[attr-defined]
        raise error
    if _is_held(new) or not os.lstat(new).st_mode & stat.S_IWUSR or os.path.isdir(new):
        raise _error(errno.EACCES, _DENIED, new)


def _same(one: str, other: str) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(os.lstat(one), os.lstat(other))
    return False


def _no_links(real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        if called_by_us():
            raise _error(errno.EINVAL, _PRIVILEGE, args[1])
        return real(*args, **kwargs)

    return refusing


def _opening(windows: bool) -> Callable[..., Any]:
    @functools.wraps(_real_io_open)
    def opening(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if isinstance(file, int) or not called_by_us():
            return _real_io_open(file, mode, *args, **kwargs)
        path = _there(file, windows=windows)
        if windows:
            if os.path.isdir(path):
                raise _error(errno.EACCES, _DENIED, file)
            if "b" not in mode:
                args, kwargs = _as_text(mode, args, kwargs)
        return _real_io_open(path, mode, *args, **kwargs)

    return opening


def _as_text(mode: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Return ``open``'s arguments with the encoding and the line ends of Windows."""
    names = ("buffering", "encoding", "errors", "newline")
    given = dict(zip(names, args, strict=False)) | kwargs
    if given.get("encoding") in (None, "locale"):
        given["encoding"] = "cp1252"
    if given.get("newline") is None and set(mode) & set("wax+"):
        given["newline"] = "\r\n"
    return (), given


def _is_held(path: str) -> bool:
    """Return whether a process has a file open, or anything below a directory."""
    wanted = os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path)
    for process in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            places = [f"/proc/{process}/cwd"]
            places += [f"/proc/{process}/fd/{fd}" for fd in os.listdir(f"/proc/{process}/fd")]
            if any(_leads_to(place, wanted) for place in places):
                return True
    return False


def _leads_to(place: str, wanted: str) -> bool:
    with contextlib.suppress(OSError):
        found = os.readlink(place)
        if found.startswith(wanted + "/"):
            return True
        # A directory that is merely open, as by this look itself, is not held.
        return found == wanted and (place.endswith("/cwd") or not os.path.isdir(place))
    return False


def _error(code: int, windows_code: int, path: Any) -> OSError:
    error = OSError(code, os.strerror(code), os.fspath(path))
    error.winerror = windows_code  # type: ignore[attr-defined]
    return error
