"""Bodies within bounds of size, time and number."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from mograder.core.errors import InvalidInput, TooLarge
from mograder.web.error_responses import TooSlow
from mograder.web.request_body import (
    FileParts,
    Uploads,
    chunks,
    read_body,
    receive,
    submitted_bytes,
)

FORM = "multipart/form-data; boundary=b"


def _request(*pieces: bytes, ends: bool = True, length: str = "") -> Request:
    waiting = list(pieces)

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": True}
        if not ends:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"content-length", length.encode())] if length else []
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def test_a_body_is_read_up_to_its_bound() -> None:
    assert await read_body(_request(b"ab", b"cd"), 4) == b"abcd"
    with pytest.raises(TooLarge):
        await read_body(_request(b"ab", b"cde"), 4)
    with pytest.raises(TooLarge):
        await read_body(_request(length="5"), 4)
    with pytest.raises(TooLarge):
        await read_body(_request(length="9" * 400), 4)


async def test_a_body_that_does_not_end_is_given_up() -> None:
    with pytest.raises(TooSlow):
        async for _ in chunks(_request(b"a", ends=False), 10, seconds=0.01):
            pass


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"--b",
        b"--b\r\n\r\n",
        b'--b\r\nContent-Disposition: form-data; filename="a"\r\n\r\nhalf',
        b"--b\r\n" + b"x" * 20_000 + b": y\r\n\r\n",
    ],
)
def test_a_form_that_is_none_is_told(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        submitted_bytes(FORM, body)


FEW, MANY = b'; name="file"' + b"; a=b" * 15, b'; name="file"' + b"; a=b" * 25


@pytest.mark.parametrize(
    ("kind", "part", "read"), [(b"", FEW, True), (b"", MANY, False), (b";" * 20, FEW, False)]
)
async def test_a_header_with_many_options_is_not_parsed(
    kind: bytes, part: bytes, read: bool
) -> None:
    """4 KB of them took 7 ms for each of the 7 000 parts that fit into a submission."""
    body = b"--b\r\nContent-Disposition: form-data" + part + b'; filename="a"\r\n\r\nx\r\n'
    request = _request(body, b"--b--\r\n")
    request.scope["headers"] = [(b"content-type", FORM.encode() + kind)]
    if read:
        assert submitted_bytes(FORM, body + b"--b--\r\n") == b"x"
        form = await receive(request, 1000, 1, field="file")
        assert "file" in form
        await form.close()
        return
    with pytest.raises(InvalidInput, match="options"):
        submitted_bytes(FORM + kind.decode(), body + b"--b--\r\n")
    with pytest.raises(InvalidInput, match="options"):
        await receive(request, 1000, 1, field="file")


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_form_may_come_in_any_pieces(size: int) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="\xc3\xa9.py"\r\n\r\n'
        b"one\r\n--bx\r\n\r\n--b\r\nContent-Disposition: form-data; name=n\r\n\r\nv\r\n--b--\r\n"
    )
    names: list[str] = []

    def begin(name: str) -> None:
        names.append(name)

    parts = FileParts(FORM, begin)
    for at in range(0, len(body), size):
        parts.feed(body[at : at + size])
    parts.finish()
    assert names == ["é.py"]
    assert submitted_bytes(FORM, body) == b"one\r\n--bx\r\n"


LIMIT = 4 * 1024 * 1024
LARGE = b"x" * (2 * 1024 * 1024)
SMALL = LARGE[: len(LARGE) // 2]


async def test_large_bodies_wait_in_line_and_small_ones_do_not() -> None:
    uploads = Uploads(at_once=1)
    told: list[str] = []
    first_has_its_turn, first_may_go = asyncio.Event(), asyncio.Event()

    async def one(name: str, data: bytes, until: asyncio.Event | None = None) -> None:
        async with uploads.body(_request(data), LIMIT) as body:
            assert body == data
            told.append(name)
            if until:
                first_has_its_turn.set()
                await until.wait()

    first = asyncio.create_task(one("first", LARGE, first_may_go))
    await first_has_its_turn.wait()
    gone = asyncio.create_task(one("gone", LARGE))
    second = asyncio.create_task(one("second", LARGE))
    await one("small", SMALL)
    await asyncio.sleep(0.2)
    assert told == ["first", "small"]
    gone.cancel()
    first_may_go.set()
    await asyncio.gather(first, second)
    assert told == ["first", "small", "second"]


async def test_a_body_that_does_not_arrive_keeps_no_other_one_waiting() -> None:
    uploads = Uploads(at_once=1)

    async def wait() -> None:
        async with uploads.body(_request(ends=False, length=str(len(LARGE))), LIMIT):
            raise AssertionError

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    async with asyncio.timeout(20), uploads.body(_request(LARGE), LIMIT) as body:
        assert body == LARGE
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
