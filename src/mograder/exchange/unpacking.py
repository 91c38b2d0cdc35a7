"""Unpack zips from another server with limits on paths, sizes and the number of files.

Sizes in an archive's directory may be false, so the bytes are counted while unpacking (security.md,
"Input").
"""

from __future__ import annotations

import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from mograder.core.errors import InvalidInput, TooLarge
from mograder.core.files.zips import opened_zip
from mograder.core.operating_system import SYSTEM
from mograder.core.portable_names import local_name, local_paths

MAX_ENTRIES = 10_000
MAX_UNPACKED = 1_000_000_000
"""The most bytes that one archive may unpack to."""

_MAX_DEPTH = 10
_LONGEST_NAME = 255
_CHUNK = 1 << 18
_UNSAFE = re.compile(r"^\.+$|[/\x00-\x1f\x7f\ud800-\udfff]")
_SEPARATORS = re.compile(r"[\\:]")
_REGULAR = (0, stat.S_IFREG)
_NOT_WANTED = "__MACOSX"


def safe_path(name: str) -> str:
    """Return the local path for an untrusted relative path; raises as :func:`safe_paths`."""
    return safe_paths([name])[name]


def safe_paths(names: Iterable[str]) -> Mapping[str, str]:
    """Return a local path for each relative path of a server; each is another file on all systems.

    A step that the system does not take as a name is encoded, see
    :mod:`mograder.core.portable_names`.

    Raises:
        InvalidInput: A path is absolute, leads up, or has control characters.
    """
    listed = tuple(names)
    for each in listed:
        _check(each)
    return local_paths(listed, windows=SYSTEM == "windows")


def _check(name: str) -> str:
    """Return a path in NFC if no step of it leads anywhere; raises as :func:`safe_paths`."""
    steps = unicodedata.normalize("NFC", name).split("/")
    fits = all(step and len(step.encode("utf-8", "replace")) <= _LONGEST_NAME for step in steps)
    if not fits or len(steps) > _MAX_DEPTH or any(_UNSAFE.search(step) for step in steps):
        raise InvalidInput(
            f"The server names a file that is not safe to write: {name[:100]!r}.",
            hint="Nothing was written. Tell your teacher.",
        )
    return "/".join(steps)


def visible_path(name: str) -> str:
    """Return a path for a file with an untrusted name: never hidden, never unsafe to write.

    A step that begins with a dot gets an underscore before it, so that tools of the teacher ignore
    a student's ``.git`` or ``.envrc``. Characters that are not allowed become ``_``; what only
    Windows refuses is encoded there, see :mod:`mograder.core.portable_names`.
    """
    steps = [
        f"_{step}" if step.startswith(".") else step
        for step in unicodedata.normalize("NFC", name).split("/")
    ]
    path = "/".join(steps)
    try:
        checked = "" if _SEPARATORS.search(path) else _check(path)
    except InvalidInput:
        checked = ""
    if not checked:
        plain = _SEPARATORS.sub("_", _UNSAFE.sub("_", path)).encode("utf-8", "replace")
        checked = plain[: _LONGEST_NAME // 2].decode("utf-8", "ignore") or "_"
    if SYSTEM != "windows":
        return checked
    return "/".join(local_name(step, windows=True) for step in checked.split("/"))


def is_hidden(path: str) -> bool:
    """Return whether a path is a dotfile, below one, or one of macOS's archive entries; pure."""
    return any(step.startswith(".") or step == _NOT_WANTED for step in path.split("/"))


def unpack(archive: Path, into: Path) -> tuple[str, ...]:
    """Unpack all plain files of a zip below an empty directory; return their relative paths.

    Raises:
        InvalidInput: It is not a zip, is damaged, or names a file that is not safe.
        TooLarge: It has more than ten thousand files or a gigabyte.
    """
    with opened_zip(archive, f"{archive.name} cannot be unpacked") as opened:
        wanted = _wanted(opened, archive.name)
        left = MAX_UNPACKED
        for path, entry in wanted.items():
            left -= _extract(opened, entry, into / PurePosixPath(path), left)
        return tuple(wanted)


def _wanted(opened: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    entries = opened.infolist()
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"{name} holds more than {MAX_ENTRIES} files.")
    found = dict(_plain_files(entries))
    folders = {str(each) for path in found for each in PurePosixPath(path).parents}
    if both := folders & found.keys():
        raise InvalidInput(f"{min(both)} in the archive is a file and a folder.")
    local = safe_paths(found)
    return {local[path]: entry for path, entry in found.items()}


def _plain_files(entries: list[zipfile.ZipInfo]) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield the plain files: never a link, which could lead anywhere."""
    seen: set[str] = set()
    for entry in entries:
        if entry.is_dir():
            continue
        # Some programs write "./" before each name.
        path = _check("/".join(step for step in entry.filename.split("/") if step != "."))
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if is_hidden(path):
            continue
        if kind not in _REGULAR or path in seen:
            raise InvalidInput(f"{path} in the archive is a link, or is there twice.")
        seen.add(path)
        yield path, entry


def _extract(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, to: Path, left: int) -> int:
    to.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with opened.open(entry) as source, to.open("xb") as target:
        while chunk := source.read(_CHUNK):
            count += len(chunk)
            if count > left:
                raise TooLarge(f"The archive holds more than {MAX_UNPACKED // 10**9} GB.")
            target.write(chunk)
    return count
