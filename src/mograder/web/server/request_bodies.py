"""Request bodies, read within limits: JSON, a notebook, a form of many files."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from mograder.core.errors import InvalidInput, TooLarge
from mograder.web.request_body import MEGABYTE
from mograder.web.server.problems import TooSlow

SUBMISSION_LIMIT = 32 * MEGABYTE
_SILENCE_SECONDS = 30.0
_BODY_SECONDS = 300.0
_PART_HEADERS_LIMIT = 16 * 1024
_MOST_PARTS = 20_000


async def chunks(
    request: Request, limit: int, seconds: float = _BODY_SECONDS
) -> AsyncIterator[bytes]:
    """Yield a body of at most ``limit`` bytes that arrives within so many seconds.

    Raises: :class:`TooLarge` naming the limit, :class:`TooSlow`, :class:`InvalidInput` when the
    client disconnects.
    """
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit)
    received = 0
    stream = request.stream()
    ends = asyncio.get_running_loop().time() + seconds
    try:
        while True:
            silent = asyncio.get_running_loop().time() + _SILENCE_SECONDS
            async with asyncio.timeout_at(min(silent, ends)):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            received += len(chunk)
            if received > limit:
                raise _too_large(limit)
            yield chunk
    except TimeoutError as error:
        raise TooSlow("The body came too slowly.") from error
    except ClientDisconnect as error:
        raise InvalidInput("The request broke off.") from error


async def read_body(request: Request, limit: int) -> bytes:
    """Return the whole body.

    Raises: as :func:`chunks`.
    """
    body = bytearray()
    async for chunk in chunks(request, limit):
        body += chunk
    return bytes(body)


def announced_size(request: Request, limit: int) -> int:
    """Return how many bytes a body will need: as announced, else the limit."""
    text = request.headers.get("content-length", "")
    return min(int(text[:20]), limit) if text.isascii() and text.isdigit() else limit


def is_multipart(request: Request) -> bool:
    """Whether a form with files is announced."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def submitted_bytes(content_type: str, body: bytes) -> bytes:
    """Return the submitted file: the first part that has a file name, or the body itself.

    See compatibility-0.3.16.md 4.

    Raises: :class:`InvalidInput` with 0.3.16's message when it is empty.
    """
    if not content_type.lower().startswith("multipart/form-data"):
        data = body
    else:
        found: list[io.BytesIO] = []

        def begin(_: str) -> BinaryIO | None:
            if found:
                return None
            found.append(_Kept())
            return found[0]

        parts = FileParts(content_type, begin)
        parts.feed(body)
        parts.finish()
        data = found[0].getvalue() if found else b""
    if not data:
        raise InvalidInput("No file data received")
    return data


class _Kept(io.BytesIO):
    """A buffer that can still be read after it was closed."""

    def close(self) -> None:
        """Do nothing: it is only memory."""


class FileParts:
    """Parses a multipart form as it arrives, and writes each file where ``begin`` says.

    ``begin`` gets the file's name as the client wrote it and returns the file to write to, or None
    to skip the part. Mutable state: the current part.
    """

    def __init__(self, content_type: str, begin: Callable[[str], BinaryIO | None]) -> None:
        kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidInput("Expected multipart/form-data")
        self._begin = begin
        self._field = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._target: BinaryIO | None = None
        self._parts = 0
        self._ended = False
        try:
            self._parser = self._make_parser(boundary)
        except FormParserError as error:
            raise InvalidInput(f"The form cannot be read: {error}") from error

    def _make_parser(self, boundary: bytes) -> MultipartParser:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._form_ends,
            },
        )

    def feed(self, data: bytes) -> None:
        """Parse the next piece.

        Raises: :class:`InvalidInput` when it is not a valid form, and whatever ``begin`` raises.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidInput(f"The form cannot be read: {error}") from error

    def finish(self) -> None:
        """Check that the form is complete.

        Raises: :class:`InvalidInput` when it is not.
        """
        if not self._ended:
            self.close()
            raise InvalidInput("The form cannot be read: it breaks off before its end")

    def close(self) -> None:
        """Close the current file."""
        if self._target is not None:
            self._target.close()
            self._target = None

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise TooLarge(f"A form may have at most {_MOST_PARTS} parts.")
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_headers()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._field) + len(self._value) > _PART_HEADERS_LIMIT:
            raise TooLarge("The headers of a part may have at most 16 KB.")

    def _header_ends(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._target = self._begin(name) if name else None

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._target is not None:
            self._target.write(data[start:end])

    def _part_ends(self) -> None:
        self.close()

    def _form_ends(self) -> None:
        self._ended = True


def _too_large(limit: int) -> TooLarge:
    bound = f"{limit // MEGABYTE} MB" if limit >= MEGABYTE else f"{limit // 1024} KB"
    return TooLarge(f"The body may have at most {bound}.")
