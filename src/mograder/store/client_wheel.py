"""The wheel of this program, for those who install the student's commands from their server.

It is packed from the installed files, once, and kept in a directory of the course, so that students
need no index of packages for it (decision 5). A digest of its content is part of a wheel's address,
so that uv and pip may keep it without asking again, also while they are offline. Earlier wheels
stay for a while, since a line with their address may be on a page of the course.

Layout: ``<digest>/mograder_hub-<version>-py3-none-any.whl``.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path, PurePosixPath

from packaging.version import Version

from mograder.core.errors import NotFound
from mograder.core.files.disk import write_file
from mograder.core.wheel import PROGRAM, WHEEL, pack_wheel, record_of

PLACE = Path(".mograder") / "client"
"""The directory of the wheels, in the course's."""

_KEPT = 5
"""Wheels that stay, the newest included."""

_FILE = PROGRAM.replace("-", "_")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(rf"{_FILE}-[0-9a-z.!+]{{1,100}}-py3-none-any\.whl")


@dataclass(frozen=True, slots=True)
class ClientWheel:
    """A wheel of this version: its file, and the SHA-256 of its bytes in hexadecimal digits."""

    path: Path
    sha256: str

    @property
    def address(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"


class ClientWheels:
    """The wheels that a course hands out; thread-safe. Mutable state: ``_current``, locked."""

    def __init__(self, course: Path) -> None:
        self._directory = course / PLACE
        self._lock = threading.Lock()
        self._current: ClientWheel | None = None

    def current(self) -> ClientWheel:
        """Return this version's wheel, packed if need be. Raises: NotFound if that fails."""
        with self._lock:
            if self._current is None or not self._current.path.is_file():
                try:
                    self._current = _keep(self._directory)
                except OSError as error:
                    raise NotFound(
                        f"The program cannot be packed into {self._directory}: {error.strerror}."
                    ) from error
            return self._current

    def find(self, digest: str, name: str) -> Path:
        """Return this or an earlier version's wheel by its address's parts. Raises: NotFound."""
        if _DIGEST.fullmatch(digest) and _NAME.fullmatch(name):
            path = self._directory / digest / name
            if path.is_file() or self.current().path == path:
                return path
        raise NotFound("There is no such file.")


def _keep(directory: Path) -> ClientWheel:
    files, info, name = _contents()
    # Of the content, not of the bytes: another hub of the same course may have another zlib.
    digest = hashlib.sha256(record_of(files, f"{info}/RECORD")).hexdigest()[:16]
    path = directory / digest / name
    if not zipfile.is_zipfile(path):  # not there, or truncated
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, pack_wheel(files, info, deflate=True))
        found = [path for path in directory.glob("*/*.whl") if _DIGEST.fullmatch(path.parent.name)]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in found[_KEPT:]:
            shutil.rmtree(old.parent, ignore_errors=True)
    return ClientWheel(path, hashlib.sha256(path.read_bytes()).hexdigest())


def _contents() -> tuple[Mapping[str, bytes], str, str]:
    """Return the wheel's files by path, its directory of metadata, and its file name.

    Raises: :class:`NotFound` for a program that is not installed, such as a checkout on PYTHONPATH.
    """
    try:
        installed = metadata.distribution(PROGRAM)
    except metadata.PackageNotFoundError as error:
        raise NotFound("This mograder is not installed, so there is no wheel of it.") from error
    version = str(Version(installed.version))
    info = f"{_FILE}-{version}.dist-info"
    top, files = Path(str(resources.files("mograder"))), dict[str, bytes]()
    found = {path.relative_to(top.parent).as_posix(): path for path in top.rglob("*")}
    for name, path in sorted(found.items()):
        parts = PurePosixPath(name).parts
        made = "__pycache__" in parts or any(part.startswith(".") for part in parts)
        if not made and path.is_file() and not path.is_symlink():
            files[name] = path.read_bytes()
    files[f"{info}/METADATA"] = (installed.read_text("METADATA") or "").encode()
    files[f"{info}/WHEEL"] = WHEEL
    files[f"{info}/entry_points.txt"] = (installed.read_text("entry_points.txt") or "").encode()
    for entry in installed.files or ():
        place, *inside = entry.parts
        if place.endswith(".dist-info") and inside[0] == "licenses":
            data = Path(str(entry.locate())).read_bytes()
            files[f"{info}/{'/'.join(inside)}"] = data
    return files, info, f"{_FILE}-{version}-py3-none-any.whl"
