"""Request bodies, read within limits: uploads to disk, forms and JSON into memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mograder.core.errors import InvalidInput, TooLarge

B = TypeVar("B", bound=BaseModel)
MEGABYTE = 1024 * 1024
_FORM_LIMIT = 16 * 1024
_MOST_FIELDS = 20


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

    Raises: TooLarge, InvalidInput.
    """
    body = await _read(request, limit)
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=most_fields, keep_blank_values=True)
    except ValueError as error:
        raise InvalidInput("The form cannot be read.") from error
    if once:
        return single_fields((name, each) for name, values in fields.items() for each in values)
    return {name: values[0] for name, values in fields.items()}


def single_fields(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of a form or a query, each of which must be there once.

    Raises: InvalidInput.
    """
    found: dict[str, str] = {}
    for name, value in fields:
        if name in found:
            raise InvalidInput("The request has a field twice.")
        found[name] = value
    return found


async def read_json(request: Request, shape: type[B], limit: int) -> B:
    """Return a JSON body of this shape and of at most ``limit`` bytes.

    Raises: TooLarge; InvalidInput naming the first invalid field.
    """
    body = await _read(request, limit)
    try:
        return shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{place or 'The body'}: {first['msg']}"[:500]) from error


async def read_text(request: Request, limit: int) -> str:
    """Return a body of at most ``limit`` bytes as text. Raises: TooLarge, InvalidInput."""
    try:
        return (await _read(request, limit)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput("The body is not UTF-8.") from error


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"This form may have at most {limit // 1024} KB.")
    except ClientDisconnect as error:
        raise InvalidInput("The request broke off.") from error
    return bytes(body)


async def receive(request: Request, max_bytes: int, max_files: int, *, field: str) -> FormData:
    """Read a multipart body to disk, within the limits.

    Raises: TooLarge naming the limit, InvalidInput when it is not a multipart form.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidInput(f"Send the upload as a multipart form, in the field {field!r}.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > 2 * max_bytes:
        raise _too_large(max_bytes)
    body = _bounded(request, max_bytes)
    parser = MultiPartParser(request.headers, body, max_files=max_files, max_fields=20)
    try:
        return await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise TooLarge(f"An upload may have at most {max_files} files.") from error
        raise InvalidInput(f"The upload cannot be read: {error.message}") from error
    except ClientDisconnect as error:
        raise InvalidInput("The upload broke off.") from error


async def _bounded(request: Request, max_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body up to the limit.

    As many bytes again beyond it are read and dropped, since a client that is still sending does
    not read a response.

    Raises: TooLarge.
    """
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received <= max_bytes:
            yield chunk
        elif received > 2 * max_bytes:
            break
    if received > max_bytes:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"An upload may have at most {max_bytes // MEGABYTE} MB.")


@asynccontextmanager
async def closing(form: FormData) -> AsyncIterator[None]:
    """Close a form, which deletes its temporary files."""
    try:
        yield
    finally:
        await form.close()
