"""A small assignment server of 0.3.16, and a browser's way to ask it.

See compatibility-0.3.16.md 4.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from mograder import remote
from tests.support.http_server import Quiet, answering

Listing = list[dict[str, object]]
Answer = tuple[int, bytes]


@dataclass
class Course:
    """The server's files and received requests; ``rude`` replaces the answer of any route."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    listing: Listing | None = None
    submissions: dict[tuple[str, str], bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    rude: Callable[[BaseHTTPRequestHandler], None] | None = None
    prefix: str = ""

    def assignments(self) -> Listing:
        if self.listing is not None:
            return self.listing
        return [
            {
                "name": name,
                "id": number,
                "files": [
                    {"filename": file, "url": f"/assignments/{name}/files/{file}"} for file in files
                ],
            }
            for number, (name, files) in enumerate(self.files.items(), start=1)
        ]

    def get(self, steps: list[str], query: dict[str, list[str]]) -> Answer:
        match steps:
            case ["assignments"]:
                return 200, json.dumps(self.assignments()).encode()
            case ["assignments", name, "files", file] if file in self.files.get(name, {}):
                return 200, self.files[name][file]
            case ["assignments", _, "files", file]:
                return 404, json.dumps({"error": f"Not found: {file}"}).encode()
            case ["assignments", _, "status"] if not query.get("user"):
                return 400, b'{"error": "Missing \'user\' query parameter"}'
            case ["assignments", name, "status"]:
                return 200, json.dumps(self.status(name, query["user"][0])).encode()
        return 404, b'{"error": "Not found"}'

    def status(self, name: str, user: str) -> dict[str, object]:
        known = (name, user) in self.submissions
        return {
            "status": "submitted" if known else "new",
            "graded": known,
            "grade": "7.5" if known else None,
            "feedback": "",
            "feedback_available": False,
        }

    def post(self, steps: list[str], query: dict[str, list[str]], kind: str, body: bytes) -> Answer:
        match steps:
            case ["assignments", name, "submit"]:
                user = query.get("user", [""])[0]
                if not re.fullmatch(r"[a-zA-Z0-9._-]+", user):
                    return 400, b'{"error": "Invalid username"}'
                self.submissions[name, user] = _first_file(kind, body)
                return 200, json.dumps({"status": "ok", "filename": f"{user}.py"}).encode()
        return 404, b'{"error": "Not found"}'


def _first_file(kind: str, body: bytes) -> bytes:
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", kind)
    assert boundary
    parts = body.split(b"--" + boundary[1].encode())
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    head, _, content = parts[1].partition(b"\r\n\r\n")
    assert b'filename="' in head
    return content.removesuffix(b"\r\n")


class Handler(Quiet):
    """Answers with what ``course`` holds; a subclass names the course."""

    course: Course

    def do_GET(self) -> None:
        self._answer(self.course.get)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        self._answer(lambda steps, query: self.course.post(steps, query, kind, body))

    def _answer(self, route: Callable[[list[str], dict[str, list[str]]], Answer]) -> None:
        parts = urlsplit(self.path)
        self.course.requests.append((self.command, self.path, dict(self.headers)))
        if self.course.rude:
            self.course.rude(self)
            return
        path = parts.path.removeprefix(self.course.prefix)
        code, body = route([unquote(s) for s in path.strip("/").split("/")], parse_qs(parts.query))
        reply(self, code, body)


def reply(handler: BaseHTTPRequestHandler, code: int, body: bytes, **headers: str) -> None:
    handler.send_response(code)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def serving(course: Course) -> Iterator[str]:
    """Serve a course on a free port of this machine, and yield its address."""
    with answering(Handler, course=course) as url:
        yield url


class BrowserError(Exception):
    """The stand-in of ``pyodide.ffi.JsException``."""


class _Buffer:
    def __init__(self, content: bytes) -> None:
        self.content, self.byteLength = content, len(content)

    def to_bytes(self) -> bytes:
        return self.content


class BrowserRequest:
    """As much of a worker's synchronous XMLHttpRequest as is used."""

    responseType = ""  # noqa: N815
    timeout = 0

    @staticmethod
    def new() -> BrowserRequest:
        return BrowserRequest()

    def open(self, method: str, url: str, asynchronous: bool) -> None:
        assert asynchronous is False
        self._method, self._url = method, url
        self._headers: dict[str, str] = {}

    def setRequestHeader(self, name: str, value: str) -> None:
        self._headers[name] = value

    def send(self, body: memoryview | None) -> None:
        assert self.responseType == "arraybuffer"
        parts = urlsplit(self._url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=remote._SILENCE_SECONDS)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        content = bytes(body) if body is not None else None
        try:
            connection.request(self._method, target, content, self._headers)
            answer = connection.getresponse()
            self.status, self.response = answer.status, _Buffer(answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise BrowserError(f"NetworkError: {error}") from error
        finally:
            connection.close()


def pretend_to_be_in_a_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of Pyodide: no sockets, but ``js`` and ``pyodide.ffi``."""
    javascript, ffi = types.ModuleType("js"), types.ModuleType("pyodide.ffi")
    monkeypatch.setattr(javascript, "XMLHttpRequest", BrowserRequest, raising=False)
    monkeypatch.setattr(ffi, "JsException", BrowserError, raising=False)
    monkeypatch.setattr(ffi, "to_js", memoryview, raising=False)
    monkeypatch.setitem(sys.modules, "js", javascript)
    monkeypatch.setitem(sys.modules, "pyodide.ffi", ffi)
    monkeypatch.setattr(sys, "platform", "emscripten")
