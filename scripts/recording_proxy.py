"""A proxy on this machine that records every request and answer."""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_TOLD = ("authorization", "content-type", "range", "if-range", "accept-encoding")
_ANSWERED = (
    "content-type",
    "content-disposition",
    "location",
    "etag",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
)
_PORT = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer; only headers that mean something are kept."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer_headers: Mapping[str, str]
    answer: bytes

    def as_json(self) -> dict[str, object]:
        """Return a body as in the recordings: text if it is UTF-8, else base64."""
        return {
            "request": {
                "method": self.method,
                "path": self.path,
                "headers": dict(self.headers),
                **_body(self.body),
            },
            "answer": {
                "status": self.status,
                "headers": dict(self.answer_headers),
                **_body(self.answer),
            },
        }


@dataclass(slots=True)
class Proxy:
    """The proxy's port, and the exchanges recorded so far."""

    port: int
    taken: list[Exchange] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{_PORT}:{self.port}"


def exchange(
    port: int, method: str, path: str, headers: Mapping[str, str], body: bytes | None
) -> http.client.HTTPResponse:
    """Send one request to this machine and return its answer, read."""
    connection = http.client.HTTPConnection(_PORT, port, timeout=30)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@contextmanager
def recording(target: int) -> Iterator[Proxy]:
    """Run a proxy to another port of this machine while the context lasts."""
    with ThreadingHTTPServer((_PORT, 0), BaseHTTPRequestHandler) as server:
        proxy = Proxy(server.server_address[1])
        server.RequestHandlerClass = _handler(proxy, target)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _handler(proxy: Proxy, target: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            onward = {n: v for n, v in self.headers.items() if n.lower() != "host"}
            connection = http.client.HTTPConnection(_PORT, target, timeout=60)
            connection.request(self.command, self.path, body or None, onward)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            proxy.taken.append(
                Exchange(
                    self.command,
                    self.path,
                    _some(dict(self.headers.items()), _TOLD),
                    body,
                    answer.status,
                    _some(dict(answer.getheaders()), _ANSWERED),
                    content,
                )
            )
            self._pass_on(answer, content)

        def _pass_on(self, answer: http.client.HTTPResponse, content: bytes) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    for verb in ("GET", "POST", "OPTIONS", "HEAD"):
        setattr(Handler, f"do_{verb}", Handler.handle_any)
    return Handler


def _some(headers: Mapping[str, str], wanted: tuple[str, ...]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() in wanted}


def _body(data: bytes) -> dict[str, str]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
