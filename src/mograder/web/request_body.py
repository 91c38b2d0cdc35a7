"""Request bodies, read within limits of size, time and number: JSON, forms, uploads, many files.

Large bodies are bounded in number, too, since each is in memory until it is stored.
"""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, TypeVar, cast
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mograder.core.context_managers import under_way
from mograder.core.errors import InvalidInput, TooLarge
from mograder.core.files.disk import explained_when_full
from mograder.web.error_responses import TooManyAttempts, TooSlow

B = TypeVar("B", bound=BaseModel)
MEGABYTE = 1024 * 1024
_FORM_LIMIT = 16 * 1024
_MOST_FIELDS = 20
_FORM = "This form"
_SILENCE_SECONDS = 30.0
_BODY_SECONDS = 300.0
_UPLOAD_SECONDS = 3600.0
_PART_HEADERS_LIMIT = 16 * 1024
_MOST_PARTS = 20_000
_MOST_OPTIONS = 20
"""Options of a header in a form; the parser's time grows with the square of their number."""

T = TypeVar("T")

_SMALL = 1024 * 1024
"""Bodies up to this many bytes do not count as uploads."""

_LARGE_AT_ONCE = 8
"""Each has at most 32 MB and is in memory."""

_OF_ONE_PERSON = 4


async def chunks(
    request: Request,
    limit: int,
    *,
    seconds: float = _BODY_SECONDS,
    what: str = "The body",
    dropped: int = 0,
) -> AsyncGenerator[bytes, None]:
    """Yield a body of at most ``limit`` bytes that arrives within so many seconds.

    Of a larger one so many further bytes are read and dropped before it is refused, since a client
    that is still sending does not read a response. ``what`` names the body in the error.

    Raises: :class:`TooLarge` naming the limit, :class:`TooSlow`, :class:`InvalidInput` when the
    client disconnects.
    """
    received = 0
    stream = request.stream()
    clock = asyncio.get_running_loop().time
    ends = clock() + seconds
    chunk: bytes | None = b""
    try:
        while chunk is not None and _length(request) <= limit + dropped >= received:
            async with asyncio.timeout_at(min(clock() + _SILENCE_SECONDS, ends)):
                chunk = await anext(stream, None)
            received += len(chunk or b"")
            if chunk and received <= limit:
                yield chunk
    except TimeoutError as error:
        raise TooSlow(f"{what} came too slowly.") from error
    except ClientDisconnect as error:
        raise InvalidInput("The request broke off.") from error
    if max(received, _length(request)) > limit:
        bound = f"{limit // MEGABYTE} MB" if limit >= MEGABYTE else f"{limit // 1024} KB"
        raise TooLarge(f"{what} may have at most {bound}.")


async def read_body(request: Request, limit: int, what: str = "The body") -> bytes:
    body = bytearray()
    async for chunk in chunks(request, limit, what=what):
        body += chunk
    return bytes(body)


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text[:20]) if text.isascii() and text.isdigit() else 0


def is_form(request: Request) -> bool:
    """Whether this is a form sent by a page of ours, and not a program's request."""
    kind = request.headers.get("content-type", "")
    return kind.startswith("application/x-www-form-urlencoded")


async def read_form(
    request: Request,
    limit: int = _FORM_LIMIT,
    *,
    once: bool = False,
    most_fields: int = _MOST_FIELDS,
) -> dict[str, str]:
    """Return the fields of a form of at most ``limit`` bytes, the first value of each.

    ``once``: refuse a field that is sent twice, since another program may take the other value.
    """
    body = await read_body(request, limit, _FORM)
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=most_fields, keep_blank_values=True)
    except ValueError as error:
        raise InvalidInput("The form cannot be read.") from error
    if once:
        return single_fields((name, each) for name, values in fields.items() for each in values)
    return {name: values[0] for name, values in fields.items()}


def single_fields(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of a form or a query; raises InvalidInput for one that is there twice."""
    found: dict[str, str] = {}
    for name, value in fields:
        if name in found:
            raise InvalidInput("The request has a field twice.")
        found[name] = value
    return found


async def read_json(request: Request, shape: type[B], limit: int) -> B:
    """Raise TooLarge beyond ``limit`` bytes, InvalidInput naming the first invalid field."""
    body = await read_body(request, limit, _FORM)
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{place or 'The body'}: {first['msg']}"[:500]) from error


async def read_text(request: Request, limit: int) -> str:
    """Return a body of at most ``limit`` bytes as text. Raises: TooLarge, InvalidInput."""
    try:
        return (await read_body(request, limit, _FORM)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("The body is not UTF-8.") from error


async def receive(request: Request, max_bytes: int, max_files: int, *, field: str) -> FormData:
    """Read a multipart body to disk, within the limits; raises TooLarge, InvalidInput."""
    if not is_multipart(request):
        raise InvalidInput(f"Send the upload as a multipart form, in the field {field!r}.")
    body = chunks(request, max_bytes, seconds=_UPLOAD_SECONDS, what="An upload", dropped=max_bytes)
    _check_options(request.headers["content-type"].count(";"))
    parser = _FormParser(request.headers, body, max_files=max_files, max_fields=20)
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise TooLarge(f"An upload may have at most {max_files} files.") from error
        raise InvalidInput(f"The upload cannot be read: {error.message}") from error


class _FormParser(MultiPartParser):
    """Starlette's parser of forms, with few ``_options`` in a part's headers."""

    _options = 0

    def on_part_begin(self) -> None:
        self._options = 0
        super().on_part_begin()

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._options += data.count(b";", start, end)
        _check_options(self._options)
        super().on_header_value(data, start, end)


def _check_options(count: int) -> None:
    if count > _MOST_OPTIONS:
        raise InvalidInput(f"The form cannot be read: a header has over {_MOST_OPTIONS} options.")


@asynccontextmanager
async def closing(form: FormData) -> AsyncIterator[None]:
    """Close a form, which deletes its temporary files."""
    try:
        yield
    finally:
        await form.close()


def is_multipart(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def submitted_bytes(content_type: str, body: bytes) -> bytes:
    """Return the submitted file: the first part that has a file name, or the body itself.

    See compatibility-0.3.16.md 4. Raises: :class:`InvalidInput` when it is empty.
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
        _check_options(content_type.count(";"))
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
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": partial(self._header_piece, self._field),
                    "on_header_value": partial(self._header_piece, self._value),
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self.close,
                    "on_end": self._form_ends,
                },
            )
        except FormParserError as error:
            raise InvalidInput(f"The form cannot be read: {error}") from error

    def feed(self, data: bytes) -> None:
        """Raise :class:`InvalidInput` for a form that is not valid, and what ``begin`` raises."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidInput(f"The form cannot be read: {error}") from error

    def finish(self) -> None:
        """Raise :class:`InvalidInput` when the form is not complete."""
        if not self._ended:
            self.close()
            raise InvalidInput("The form cannot be read: it breaks off before its end")

    def close(self) -> None:
        if self._target is not None:
            self._target.close()
            self._target = None

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise TooLarge(f"A form may have at most {_MOST_PARTS} parts.")
        self._disposition = b""

    def _header_piece(self, to: bytearray, data: bytes, start: int, end: int) -> None:
        to += data[start:end]
        if len(self._field) + len(self._value) > _PART_HEADERS_LIMIT:
            raise TooLarge("The headers of a part may have at most 16 KB.")

    def _header_ends(self) -> None:
        if bytes(self._field).lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _check_options(self._disposition.count(b";"))
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._target = self._begin(name) if name else None

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._target is not None:
            self._target.write(data[start:end])

    def _form_ends(self) -> None:
        self._ended = True


class Uploads:
    """Bounds the bodies in memory: large ones wait in the order of their arrival; none is refused.

    Only a person with too many uploads under way is refused, since slow bodies of one person could
    hold all places. Mutable state: ``_large`` and ``_sending``; for one event loop.
    """

    def __init__(self, at_once: int = _LARGE_AT_ONCE) -> None:
        self._large = asyncio.Semaphore(at_once)
        self._sending: Counter[str] = Counter()

    @contextmanager
    def sending(self, user: str) -> Iterator[None]:
        """Count a body under way for this person; raises :class:`TooManyAttempts` for too many."""
        if self._sending[user] >= _OF_ONE_PERSON:
            raise TooManyAttempts(
                f"{_OF_ONE_PERSON} uploads of yours are under way.", hint="Wait for them."
            )
        with under_way(self._sending, user):
            yield

    async def received(
        self, user: str, read: Callable[[], Awaitable[T]]
    ) -> tuple[T, AbstractContextManager[object]]:
        """Read a body; return it, and a context at whose end it is not counted any more."""
        with ExitStack() as sending:
            sending.enter_context(self.sending(user))
            body = await read()
            return body, sending.pop_all()

    @asynccontextmanager
    async def body(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """Yield a body that has arrived; a large one is on disk until it has its turn.

        So a slow client keeps nobody waiting. Raises: as :func:`chunks`, and
        :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        with SpooledTemporaryFile(max_size=_SMALL) as spool:
            file = UploadFile(cast(BinaryIO, spool), size=0)
            with explained_when_full():
                async for chunk in chunks(request, limit):
                    await file.write(chunk)
            await file.seek(0)
            async with self._large if (file.size or 0) > _SMALL else nullcontext():
                yield await file.read()
