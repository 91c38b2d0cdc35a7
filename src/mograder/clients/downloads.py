"""Downloads that continue after a broken connection, and are verified before they are used.

A partial file is kept beside its target as ``.<name>.part``, with the ETag that it belongs to. The
next try, also one of a later command, requests only the rest (``Range`` with ``If-Range``, RFC
9110) and accepts it only with the same ETag and the right ``Content-Range``; a server without
ranges, such as 0.3.16, sends the whole again. Only a complete file whose digest, or else size, is
the one that the server announced is renamed to its target (decision 30).
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.course_server import RemoteFile
from mograder.clients.http import RetryPolicy
from mograder.core.errors import Conflict, InvalidInput, RemoteFailed, TooLarge
from mograder.core.files import open_flags
from mograder.core.files.disk import DISK, move_file
from mograder.core.files.file_lock import LockFile
from mograder.core.files.windows_files import reachable, unlink
from mograder.core.tasks import Progress

MAX_FILE = 1_000_000_000  # bytes: a file may be as large as a whole release

_APPEND = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_APPEND
    | open_flags.NOFOLLOW
    | open_flags.CLOEXEC
    | open_flags.BINARY
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_STRONG = re.compile(r'"[^"\x00-\x20]+"')
_REPR_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")

IDENTITY = {"Accept-Encoding": "identity"}
"""Header for an uncompressed body: a range of compressed bytes cannot be appended."""

Ask = Callable[[Mapping[str, str]], AbstractContextManager[httpx.Response]]
"""Sends a request for a file with these headers and yields the answer, its body unread.

The status is 200 or, after a ``Range``, 206 or 416; the error of any other is raised. Errors of
httpx while the body is read are not translated.
"""


Meter = Callable[[str, int, int | None], None]
"""Callback for a file's name, its bytes received and in total, None if that is not known."""


def no_meter(name: str, done: int, total: int | None, /) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, slots=True)
class DigestCheck:
    """The digest that a server announces for a file: hashlib's ``algorithm``, and where it is.

    ``announced`` returns the digest of the whole file in an answer's headers, in hex, or "".
    """

    algorithm: str
    announced: Callable[[httpx.Response], str]

    def of(self, stream: io.BufferedReader | io.BytesIO) -> str:
        return hashlib.file_digest(stream, self._new).hexdigest()

    def is_digest(self, text: str) -> bool:
        return len(text) == 2 * self._new().digest_size and set(text) <= set("0123456789abcdef")

    def _new(self) -> hashlib._Hash:
        return hashlib.new(self.algorithm, usedforsecurity=False)


def _repr_digest(response: httpx.Response) -> str:
    found = _REPR_DIGEST.search(str(response.headers.get("repr-digest", "")))
    return base64.b64decode(found[1]).hex() if found else ""


SHA256 = DigestCheck("sha256", _repr_digest)
"""SHA-256, from a list of files or the header ``Repr-Digest`` (RFC 9530)."""


class _Memory(BaseModel):
    model_config = ConfigDict(extra="ignore")

    address: str
    etag: str


class _Part:
    """A partial file, locked: only one process at a time may append to it.

    The lock is a file of its own, since Windows renames no file that is open.
    """

    def __init__(self, to: Path, address: str) -> None:
        self.path = reachable(to.with_name(f".{to.name}.part"))
        self._memory = self.path.with_name(f"{self.path.name}.json")
        self._address = address
        self._lock = LockFile(self.path.with_name(f"{self.path.name}.lock"))
        if not self._lock.take():
            raise Conflict(
                f"Another program is fetching {to.name} here at the moment.",
                hint="Wait until it is done.",
            )
        try:
            self._file = io.FileIO(os.open(self.path, _APPEND, 0o666), "a+")
        except BaseException:
            self._lock.drop()
            raise
        self.announced = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            empty = not self._file.closed and not self.size()
            self._file.close()
            if error is not None and empty:
                self.drop()
        finally:
            self._lock.drop()

    def headers(self) -> dict[str, str]:
        """Return headers that request the rest, or the whole if nothing can be continued."""
        size = self.size()
        with suppress(OSError, ValidationError, UnicodeDecodeError):
            memory = _Memory.model_validate_json(self._memory.read_text("utf-8"))
            if size and memory.address == self._address and _STRONG.fullmatch(memory.etag):
                return IDENTITY | {"Range": f"bytes={size}-", "If-Range": memory.etag}
        return dict(IDENTITY)

    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def begin(self, etag: str = "") -> None:
        """Empty the part; keep the ETag only if it is strong, since only those mean equal bytes."""
        unlink(self._memory)
        self._file.truncate(0)
        if _STRONG.fullmatch(etag):
            memory = _Memory(address=self._address, etag=etag)
            self._memory.write_text(memory.model_dump_json(), "utf-8")

    def append(self, chunk: bytes) -> None:
        DISK.write(self._file.fileno(), chunk)

    def digest(self, check: DigestCheck) -> str:
        with self.path.open("rb") as stream:
            return check.of(stream)

    def drop(self) -> None:
        self._file.close()
        unlink(self._memory)
        unlink(self.path)

    def move(self, to: Path) -> None:
        self._file.close()
        move_file(self.path, to)
        unlink(self._memory)


@dataclass(frozen=True, slots=True)
class Downloader:
    """Downloads from one kind of server; files of more than ``largest`` bytes are refused."""

    retry: RetryPolicy
    check: DigestCheck = SHA256
    largest: int = MAX_FILE

    def download(
        self, ask: Ask, file: RemoteFile, to: Path, progress: Progress, meter: Meter = no_meter
    ) -> None:
        """Write a file to ``to``, complete and verified or not at all.

        Raises: RemoteFailed also if the connection broke too often, Conflict if another process
            downloads it to the same place.
        """
        try:
            reachable(to.parent).mkdir(parents=True, exist_ok=True)
            with _Part(to, file.address) as part:
                resumed = "Range" in part.headers()
                self._complete(ask, file, part, progress, meter)
                if resumed and self._problem(part, file):
                    # The part was of another file, although the ETag was the same.
                    part.begin()
                    self._complete(ask, file, part, progress, meter)
                if problem := self._problem(part, file):
                    part.drop()
                    raise damaged(problem)
                part.move(to)
        except OSError as error:
            raise InvalidInput(f"{to} cannot be written: {error.strerror}.") from error

    def _complete(
        self, ask: Ask, file: RemoteFile, part: _Part, progress: Progress, meter: Meter
    ) -> None:
        failures = 0
        while failures < self.retry.tries:
            before = part.size()
            with suppress(httpx.HTTPError):
                if self._receive(ask, file, part, meter):
                    return
            # As long as every connection brings bytes, the download ends at some time.
            failures = 1 if part.size() > before else failures + 1
            if failures < self.retry.tries:
                progress(f"{file.name} is not complete, going on")
                self.retry.pause(failures)
        raise RemoteFailed(
            f"The connection broke while {file.name} was coming.",
            hint="Run the same again: it goes on from here.",
        )

    def _receive(self, ask: Ask, file: RemoteFile, part: _Part, meter: Meter) -> bool:
        """Append the body of one answer; return whether the file is complete."""
        headers = part.headers()
        with ask(headers) as response:
            etag = str(response.headers.get("etag", ""))
            part.announced = self.check.announced(response)
            if response.status_code == HTTPStatus.OK:
                part.begin(etag)
                return self._append(response, file, part, meter)
            told = str(response.headers.get("content-range", ""))
            if headers.get("If-Range") == etag:
                found = _CONTENT_RANGE.fullmatch(told)
                if found is not None and int(found[1]) == part.size():
                    return self._append(response, file, part, meter)
                if told == f"bytes */{part.size()}":
                    return True  # 416: nothing is missing.
        part.begin()
        return False

    def _append(
        self, response: httpx.Response, file: RemoteFile, part: _Part, meter: Meter
    ) -> bool:
        done = part.size()
        length = str(response.headers.get("content-length", ""))
        total = done + int(length) if length.isdecimal() else file.size
        for chunk in response.iter_bytes():
            done += len(chunk)
            if max(done, total or 0) > self.largest:
                raise TooLarge(f"{file.name} is larger than {self.largest // 10**9} GB.")
            part.append(chunk)
            meter(file.name, done, total)
        return total is None or done >= total

    def _problem(self, part: _Part, file: RemoteFile) -> str:
        told = ((file.digest or "").lower(), part.announced)
        digest = next(filter(self.check.is_digest, told), "")
        if digest and part.digest(self.check) == digest:
            return ""
        size = part.size()
        if file.size is not None and size != file.size:
            return f"{file.name} arrived with {size} bytes instead of {file.size}."
        return other_bytes(file.name) if digest else ""


def other_bytes(name: str) -> str:
    return f"{name} arrived with other bytes than the server announced."


def damaged(problem: str) -> RemoteFailed:
    return RemoteFailed(
        problem,
        hint="It may be changing right now, or something on the way alters files. Try again.",
    )
