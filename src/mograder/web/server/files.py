"""Files as responses, whole or in ranges, with the headers for resuming and checking a download."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from mograder.core.errors import NotFound
from mograder.core.files import open_flags

_CHUNK = 256 * 1024
_MOST_DIGESTS = 20_000
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Opened:
    path: Path
    status: os.stat_result
    sha256: bytes

    @property
    def etag(self) -> str:
        """A strong ETag: made of the content."""
        return f'"{self.sha256.hex()[:32]}"'


class Digests:
    """The SHA-256 of files, computed once each. Mutable state: ``_known``, under its lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[int, int, int, int], bytes] = {}

    def of(self, fd: int, status: os.stat_result) -> bytes:
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        with open(fd, "rb", closefd=False) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        with self._lock:
            if len(self._known) >= _MOST_DIGESTS:
                self._known.clear()
            self._known[key] = digest
        return digest


def look(directory: Path, name: str, digests: Digests) -> Opened:
    """Read a regular file by one parsed path component; raises :class:`NotFound`."""
    path = directory / name
    try:
        fd = os.open(path, open_flags.READ_FILE)
    except OSError as error:
        raise NotFound(f"Not found: {name}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotFound(f"Not found: {name}")
        return Opened(path, status, digests.of(fd, status))
    finally:
        os.close(fd)


def answer_file(
    request: Request, opened: Opened, media_type: str = "application/octet-stream"
) -> Response:
    """Return a response with a file, or the range of it that was requested."""
    about = {
        "Cache-Control": "private, no-cache",
        "ETag": opened.etag,
        "Repr-Digest": f"sha-256=:{base64.b64encode(opened.sha256).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }
    if _is_current(request.headers.get("if-none-match", ""), opened.etag):
        return Response(None, 304, about)
    return _File(opened.path, 200, about, media_type=media_type, stat_result=opened.status)


class _File(FileResponse):
    """A file, whole if the requested range is invalid, or if several are requested."""

    chunk_size = _CHUNK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _RANGE.fullmatch(Headers(scope=scope).get("range", "").replace(" ", ""))
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            others = [each for each in scope["headers"] if each[0] != b"range"]
            scope = {**scope, "headers": others}
        await super().__call__(scope, receive, send)


def _is_current(condition: str, etag: str) -> bool:
    listed = (each.strip().removeprefix("W/") for each in condition.split(","))
    return condition.strip() == "*" or etag in listed
