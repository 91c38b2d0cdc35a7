"""The HTTP side of the fake platform: it answers on a loopback port, also wrongly if asked to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Protocol

from tests.support.http_server import Quiet
from tests.support.lti.exchange import (
    CLOSED,
    HTML,
    HUGE,
    LOST,
    NO_HTTP,
    Asked,
    Reply,
    refused,
)

_REDIRECT = "redirect:"


class Answering(Protocol):
    """What the server needs of a platform."""

    asked: list[Asked]

    def kind(self, asked: Asked) -> str: ...
    def next_trouble(self, kind: str) -> str | int | None: ...
    def answer(self, asked: Asked) -> Reply: ...


@contextlib.contextmanager
def serving(platform: Answering) -> Iterator[int]:
    """Serve a platform on 127.0.0.1 and, where there is one, ::1; give the port."""
    handler = type("Handler", (_Handler,), {"platform": platform})
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_Server(("127.0.0.1", 0), handler))
        port: int = server.server_address[1]
        servers: list[ThreadingHTTPServer] = [server]
        with contextlib.suppress(OSError):
            servers.append(stack.enter_context(_Server6(("::1", port), handler)))
        for each in servers:
            stack.enter_context(_running(each))
        yield port


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 200


class _Server6(_Server):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def _running(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


class _Handler(Quiet):
    platform: Answering
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, body)
        self.platform.asked.append(asked)
        kind = self.platform.kind(asked)
        trouble = self.platform.next_trouble(kind) if kind else None
        if trouble is None:
            self._send(self.platform.answer(asked))
        elif trouble == LOST:
            self.platform.answer(asked)
            self._close()
        elif trouble == CLOSED:
            self._close()
        else:
            self._send(_troubled(asked, trouble))

    def _close(self) -> None:
        """Close the connection at once, whatever the client still sends."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, reply: Reply) -> None:
        with contextlib.suppress(ConnectionError):
            self._write(reply)

    def _write(self, reply: Reply) -> None:
        if reply.broken:
            self.close_connection = True
            self.wfile.write(f"{reply.broken}\r\n\r\n".encode())
            return
        # As the recorded platform, which puts its text into the reason whatever it holds.
        reason = reply.reason.encode("utf-8").decode("latin-1") or None
        self.send_response(reply.status, reason)
        self.send_header("Content-Type", reply.media_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)


def _troubled(asked: Asked, trouble: str | int) -> Reply:
    """Return the wrong answer that a trouble stands for."""
    if isinstance(trouble, int):
        return refused(asked, trouble, "Trouble")
    if trouble.startswith(_REDIRECT):
        return Reply(307, headers={"Location": trouble.removeprefix(_REDIRECT)})
    return {
        NO_HTTP: Reply(broken="HTTP/1.0 0 Invalid course module ID: 29"),
        HTML: Reply(200, b"<!doctype html><title>Maintenance</title>"),
        HUGE: Reply(200, b"[" + b'"x",' * 2_000_000 + b"0]", "application/json"),
    }[trouble]
