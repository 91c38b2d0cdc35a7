"""Answers that stay open, such as a page's events, spoken to the hub's app as a server does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Message, Scope

from mograder.auth.credentials import Role, make_token
from mograder.web.hub import events
from tests.support.hub_app import SECRET, Hub


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages hear of changes at once, not after one second or three."""
    for name in ("_PAUSE_SECONDS", "_INSTRUCTOR_PAUSE_SECONDS"):
        monkeypatch.setattr(events, name, 0.01)


class Stream:
    """One answer: its parts so far, and whether it has ended."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended = asyncio.Event()

    async def news(self) -> list[str]:
        """The next event's parts."""
        while True:
            text = (await asyncio.wait_for(self.parts.get(), 10)).decode()
            if text.startswith("event: change"):
                found: list[str] = json.loads(text.split("data: ", 1)[1])
                return found


@asynccontextmanager
async def asking(
    hub: Hub,
    user: str,
    path: str,
    query: str = "",
    *,
    method: str = "GET",
    body: bytes = b"",
    accept: str = "application/x-ndjson",
) -> AsyncIterator[Stream]:
    """A person's request, whose client goes away at the end of the block."""
    stream, left = Stream(), asyncio.Event()
    asked = [{"type": "http.request", "body": body}]

    async def receive() -> Message:
        if asked:
            return asked.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message.get("body"):
            stream.parts.put_nowait(bytes(message["body"]))
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            stream.ended.set()

    headers = {
        "host": "hub.test",
        "accept": accept,
        "authorization": f"Bearer {make_token(SECRET, user, Role.STUDENT)}",
        "content-type": "application/json",
    }
    scope: Scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "client": ("192.0.2.7", 5000),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    answering = asyncio.ensure_future(hub.app(scope, receive, send))
    yield stream
    left.set()
    await answering


@asynccontextmanager
async def listening(hub: Hub, user: str, query: str = "") -> AsyncIterator[Stream]:
    """A person's open page, which hears of changes."""
    async with asking(hub, user, "/events", query, accept="text/event-stream") as stream:
        assert (await asyncio.wait_for(stream.parts.get(), 10)).startswith(b"retry: ")
        yield stream
