"""Downloads that go on where they broke off, and are checked before anybody sees them.

A file grows beside its place as ``.<name>.part``, with the ETag that it belongs to. The next try,
also one of a later command, asks for the rest only (``Range`` with ``If-Range``, RFC 9110); a
server that knows no ranges, as 0.3.16, sends the whole again. Only a complete file whose size and
SHA-256 are what the server said takes its place (decision 30).
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core import file_lock
from mograder.core.atomic_file import move_file
from mograder.core.errors import Conflict, InvalidInput, RemoteFailed, TooLarge
from mograder.transports.interface import RemoteFile
from mograder.transports.retrying import Patience

MAX_FILE = 1_000_000_000
"""Bytes of one file: what a release may hold altogether."""

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_STRONG = re.compile(r'"[^"\x00-\x20]+"')
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPR_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")

Ask = Callable[[dict[str, str]], AbstractContextManager[httpx.Response]]
"""Asks for the file with these headers; answers other than 200, 206 and 416 were raised already."""


class Meter(Protocol):
    """Is told how far a transfer is, for a bar; ``total`` is None where nobody knows."""

    def __call__(self, name: str, done: int, total: int | None, /) -> None: ...


def no_meter(name: str, done: int, total: int | None, /) -> None:
    """Show nothing."""


class _Memory(BaseModel):
    """What a part on disk belongs to."""

    model_config = ConfigDict(extra="ignore")

    address: str
    etag: str


class _Part:
    """A file as far as it has arrived; whoever has it open is the only one that adds to it."""

    def __init__(self, to: Path, address: str) -> None:
        self.path = to.with_name(f".{to.name}.part")
        self._memory = self.path.with_name(f"{self.path.name}.json")
        self._address = address
        self._file = self._locked()
        self.digest_told = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def headers(self) -> dict[str, str]:
        """Ask for the rest, if there is a beginning that can be gone on with."""
        plain = {"Accept-Encoding": "identity"}
        etag, size = self._etag(), self.size()
        if not etag or not size:
            return plain
        return plain | {"Range": f"bytes={size}-", "If-Range": etag}

    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def begin(self, etag: str = "") -> None:
        """Drop what there is; remember the ETag only if it promises the very same bytes."""
        self._memory.unlink(missing_ok=True)
        self._file.truncate(0)
        if _STRONG.fullmatch(etag):
            memory = _Memory(address=self._address, etag=etag)
            self._memory.write_text(memory.model_dump_json(), "utf-8")

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[self._file.write(view) :]

    def digest(self) -> str:
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def drop(self) -> None:
        """Leave nothing behind."""
        self._memory.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def move(self, to: Path) -> None:
        """Let the complete file take its place."""
        self._memory.unlink(missing_ok=True)
        move_file(self.path, to)

    def _etag(self) -> str:
        with suppress(OSError, ValidationError, UnicodeDecodeError):
            memory = _Memory.model_validate_json(self._memory.read_text("utf-8"))
            if memory.address == self._address and _STRONG.fullmatch(memory.etag):
                return memory.etag
        return ""

    def _locked(self) -> io.FileIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            file = io.FileIO(os.open(self.path, flags, 0o666), "a+")
            if not file_lock.acquire(file.fileno()):
                file.close()
                raise Conflict(
                    f"Somebody else is fetching {self.path.name[1:-5]} here at the moment.",
                    hint="Wait until it is done.",
                )
            # Another may have moved it to its place between our two calls.
            if _is_still(self.path, file):
                return file
            file.close()


def download(ask: Ask, file: RemoteFile, to: Path, patience: Patience, meter: Meter) -> None:
    """Bring a file to ``to``, whole and verified or not at all.

    Raises:
        RemoteFailed: The connection broke more often than patience allows, or what arrived is
            not what the server announced.
        InvalidInput: It cannot be written; :class:`TooLarge` beyond a gigabyte.
        Conflict: It is being fetched already.
    """
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with _Part(to, file.address) as part:
            resumed = "Range" in part.headers()
            _complete(ask, file, part, patience, meter)
            if resumed and _problem(part, file):
                # The beginning was of another file, whatever the ETag said.
                part.begin()
                _complete(ask, file, part, patience, meter)
            if problem := _problem(part, file):
                part.drop()
                raise RemoteFailed(problem, hint="Try again. If it stays so, tell your teacher.")
            part.move(to)
    except OSError as error:
        raise InvalidInput(f"{to} cannot be written: {error.strerror}.") from error


def _complete(ask: Ask, file: RemoteFile, part: _Part, patience: Patience, meter: Meter) -> None:
    """Take all that is left, over as many connections as it needs."""
    failures = 0
    while failures < patience.tries:
        before = part.size()
        try:
            if _take(ask, file, part, meter):
                return
        except httpx.HTTPError:
            pass
        # As long as every connection brings something, it will end.
        failures = 1 if part.size() > before else failures + 1
        if failures < patience.tries:
            patience.pause(failures)
    raise RemoteFailed(
        f"The connection broke while {file.name} was coming.",
        hint="Run the same again: it goes on from here.",
    )


def _take(ask: Ask, file: RemoteFile, part: _Part, meter: Meter) -> bool:
    """Take what one answer brings; false if that was not all of it."""
    headers = part.headers()
    with ask(headers) as response:
        etag = str(response.headers.get("etag", ""))
        part.digest_told = _digest(response)
        if response.status_code == HTTPStatus.OK:
            part.begin(etag)
            return _append(response, file, part, meter)
        found = _CONTENT_RANGE.fullmatch(str(response.headers.get("content-range", "")))
        goes_on = found is not None and int(found[1]) == part.size()
        if goes_on and headers.get("If-Range") == etag:
            return _append(response, file, part, meter)
    part.begin()
    return False


def _append(response: httpx.Response, file: RemoteFile, part: _Part, meter: Meter) -> bool:
    done = part.size()
    announced = str(response.headers.get("content-length", ""))
    total = done + int(announced) if announced.isdecimal() else file.size
    if total is not None and total > MAX_FILE:
        raise _too_large(file)
    for chunk in response.iter_bytes():
        done += len(chunk)
        if done > MAX_FILE:
            raise _too_large(file)
        part.append(chunk)
        meter(file.name, done, total)
    return total is None or done >= total


def _digest(response: httpx.Response) -> str:
    """Return the SHA-256 of the whole file where the answer tells it (RFC 9530), in hex."""
    found = _REPR_DIGEST.search(str(response.headers.get("repr-digest", "")))
    return base64.b64decode(found[1]).hex() if found else ""


def _problem(part: _Part, file: RemoteFile) -> str:
    """Say what is wrong with a file that has come to its end, or nothing."""
    size = part.size()
    if file.size is not None and size != file.size:
        return f"{file.name} arrived with {size} bytes instead of {file.size}."
    digest = (file.digest or part.digest_told).lower()
    if _SHA256.fullmatch(digest) and part.digest() != digest:
        return f"{file.name} arrived with other bytes than the server announced."
    return ""


def _is_still(path: Path, file: io.FileIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _too_large(file: RemoteFile) -> TooLarge:
    return TooLarge(f"{file.name} is larger than {MAX_FILE // 10**9} GB.")
