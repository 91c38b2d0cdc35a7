"""A session's server for the tests of the proxy: it echoes, streams, stalls and misbehaves.

Like marimo it is an ASGI app under uvicorn on a Unix socket. What it was asked is in ``seen``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from starlette.types import Message, Receive, Scope, Send

PAGE = b"<!doctype html><html><head><title>marimo</title></head><body>caf\xc3\xa9</body></html>"
HOSTILE = [
    (b"set-cookie", b"mograder_session=evil; Path=/"),
    (b"clear-site-data", b'"*"'),
    (b"service-worker-allowed", b"/"),
    (b"strict-transport-security", b"max-age=1"),
    (b"x-accel-redirect", b"/protected/secret"),
    (b"x-sendfile", b"/etc/passwd"),
    (b"refresh", b"0;url=https://evil.example"),
    (b"alt-svc", b'h3=":443"'),
    (b"report-to", b"{}"),
    (b"nel", b"{}"),
    (b"content-security-policy", b"default-src *"),
    (b"access-control-allow-origin", b"https://evil.example"),
    (b"access-control-allow-credentials", b"true"),
    (b"www-authenticate", b"Basic"),
    (b"secure-session-registration", b'(ES256);path="/s/x/refresh";challenge="c"'),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-mograder-session", b"gone"),
    (b"connection", b"x-secret-hop"),
    (b"x-secret-hop", b"1"),
    (b"x-harmless", b"kept"),
]


@dataclass
class Upstream:
    """The app; ``seen`` are the scopes of its requests, the events are set as things happen."""

    seen: list[Scope] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    close_code: int | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        rest = scope["raw_path"].decode().split("/", 5)[-1]
        answers: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
            "": self._page,
            "deep/er/page": self._page,
            "stream-echo": self._stream_echo,
            "forever": self._forever,
            "hang": self._hang,
            "hostile": self._hostile,
            "parts": self._parts,
            "redirect": self._redirect,
            "paper.pdf": self._pdf,
            "@file/1-paper.pdf": self._pdf,
            "short": self._short,
            "big": self._big,
            "refused": self._refused,
            "api/kernel/save": self._save,
            "api/kernel/save_app_config": self._save,
        }
        await answers.get(rest, self._echo)(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"etag", b'"1"')]
        await _answer(send, PAGE, headers)

    async def _pdf(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, b"%PDF-1.7", [(b"content-type", b"application/pdf")])

    async def _hostile(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, b"boo", HOSTILE)

    async def _parts(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = b"Multipart/X-Mixed-Replace; boundary=x"
        await _answer(send, b"--x\r\n\r\n1\r\n--x--", [(b"content-type", kind)])

    async def _redirect(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = next(value for name, value in scope["headers"] if name == b"host")
        location = b"http://" + host + b"/edit/user/alice/A1/next?x=1"
        await _answer(send, b"", [(b"location", location)], status=307)

    async def _refused(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, b'{"error":"Invalid server token"}', [], status=401)

    async def _save(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the body, as marimo does with the notebook's text; the query is the status.

        With a query of ``gzip`` it says that the body is compressed.
        """
        body = b"".join([chunk async for chunk in _body(receive)])
        query = scope["query_string"].decode()
        headers = [(b"content-encoding", b"gzip")] if query == "gzip" else []
        await _answer(send, body, headers, status=int(query) if query.isdigit() else 200)

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b"".join([chunk async for chunk in _body(receive)])
        said = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [[n.decode(), v.decode("latin-1")] for n, v in scope["headers"]],
            "length": len(body),
            "body": body[:1000].decode("latin-1"),
        }
        await _answer(send, json.dumps(said).encode(), [(b"content-type", b"application/json")])

    async def _stream_echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for chunk in _body(receive):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _forever(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.create_task(_until_left(receive))
        self.asked.set()
        while not leaving.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            self.sent += 65536
            await asyncio.sleep(0)
        self.left.set()

    async def _hang(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.set()
        await _until_left(receive)
        self.left.set()

    async def _short(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def _big(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = int(scope["query_string"] or b"10485760")
        await _answer(send, b"z" * size, [])

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        offered = scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": offered[-1] if offered else None})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.close_code = message["code"]
                self.left.set()
                return
            text = message.get("text") or ""
            if text.startswith("close "):
                _, code, reason = text.split(" ", 2)
                await send({"type": "websocket.close", "code": int(code), "reason": reason})
                return
            if text.startswith("say "):
                message = {"text": "x" * int(text.removeprefix("say "))}
            await send({**message, "type": "websocket.send"})


async def _answer(
    send: Send, body: bytes, headers: list[tuple[bytes, bytes]], *, status: int = 200
) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
