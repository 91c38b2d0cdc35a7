"""Files as responses, whole or in ranges, with the headers for resuming and checking a download."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from mograder.core.errors import NotFound

_AT_ONCE = 1024 * 1024
_CHUNK = 256 * 1024
_MOST_DIGESTS = 20_000
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Opened:
    """A file's metadata; ``content`` is its bytes if it is small, else None."""

    path: Path
    size: int
    modified: float
    sha256: bytes
    content: bytes | None

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
        """Return the digest of an opened file."""
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            known = self._known.get(key)
        if known is not None:
            return known
        digest = hashlib.sha256()
        at = 0
        while chunk := os.pread(fd, _CHUNK, at):
            digest.update(chunk)
            at += len(chunk)
        with self._lock:
            if len(self._known) >= _MOST_DIGESTS:
                self._known.clear()
            self._known[key] = digest.digest()
        return digest.digest()


def look(directory: Path, name: str, digests: Digests) -> Opened:
    """Read a regular file in a directory; ``name`` is one parsed path component.

    Raises: :class:`NotFound`, also for a file that is not regular.
    """
    fd = _open(directory / name)
    try:
        status = os.fstat(fd)
        digest = digests.of(fd, status)
        content = os.pread(fd, _AT_ONCE, 0) if status.st_size <= _AT_ONCE else None
    finally:
        os.close(fd)
    size = status.st_size if content is None else len(content)
    return Opened(directory / name, size, status.st_mtime, digest, content)


def answer_file(
    opened: Opened,
    headers: Headers,
    limiter: CapacityLimiter,
    media_type: str = "application/octet-stream",
) -> Response:
    """Return a response with a file, or the range of it that was requested."""
    about = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "ETag": opened.etag,
        "Last-Modified": formatdate(opened.modified, usegmt=True),
        "Repr-Digest": f"sha-256=:{base64.b64encode(opened.sha256).decode()}:",
        "X-Content-Type-Options": "nosniff",
    }
    if _is_current(headers.get("if-none-match", ""), opened.etag):
        return Response(b"", 304, about)
    wanted = _wanted(headers, opened, about["Last-Modified"])
    if wanted is None:
        return Response(b"", 416, {**about, "Content-Range": f"bytes */{opened.size}"})
    start, end = wanted
    status = 200
    if (start, end) != (0, opened.size):
        status = 206
        about["Content-Range"] = f"bytes {start}-{end - 1}/{opened.size}"
    about["Content-Length"] = str(end - start)
    if opened.content is not None:
        return Response(opened.content[start:end], status, about, media_type)
    return StreamingResponse(_stream(opened, start, end, limiter), status, about, media_type)


def _open(path: Path) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except OSError as error:
        raise NotFound(f"Not found: {path.name}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotFound(f"Not found: {path.name}")
    return fd


def _is_current(condition: str, etag: str) -> bool:
    listed = (each.strip().removeprefix("W/") for each in condition.split(","))
    return condition.strip() == "*" or etag in listed


def _wanted(headers: Headers, opened: Opened, modified: str) -> tuple[int, int] | None:
    """Return the bytes to send, as [start, end); None where the range lies outside the file.

    An invalid range, several of them, or one of another version mean the whole file.
    """
    whole = (0, opened.size)
    found = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    unless = headers.get("if-range")
    if found is None or (unless is not None and unless not in (opened.etag, modified)):
        return whole
    first, last = found.groups()
    if not first:
        if not last:
            return whole
        length = min(int(last), opened.size)
        return (opened.size - length, opened.size) if length else None
    start = int(first)
    end = min(int(last) + 1, opened.size) if last else opened.size
    if last and int(last) < start:
        return whole
    return (start, end) if start < opened.size else None


async def _stream(
    opened: Opened, start: int, end: int, limiter: CapacityLimiter
) -> AsyncIterator[bytes]:
    # Opened here: a response that is never sent would leave it open.
    fd = await to_thread.run_sync(_open, opened.path, limiter=limiter)
    try:
        status = os.fstat(fd)
        if (status.st_size, status.st_mtime) != (opened.size, opened.modified):
            return  # Replaced meanwhile: the client notices the missing bytes.
        while start < end:
            size = min(_CHUNK, end - start)
            chunk = await to_thread.run_sync(os.pread, fd, size, start, limiter=limiter)
            if not chunk:
                return
            start += len(chunk)
            yield chunk
    finally:
        os.close(fd)
