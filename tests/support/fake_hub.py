"""A hub with answers set by the test, over real HTTP on a loopback port."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from urllib.parse import urlsplit

import pytest

from tests.support.http_server import Quiet, answering

NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: ``body`` goes out as it is."""

    status: int = 200
    body: bytes = b"{}"
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as the hub received it; ``files`` are the parts of field ``files``."""

    path: str
    query: str
    headers: Mapping[str, str]
    files: Mapping[str, bytes]


class FakeHub:
    """Answers each path (prefix included) with the reply that was set for it, else 404."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.replies: dict[str, Reply] = {}
        self.received: list[ReceivedRequest] = []
        """POST and PUT requests received."""
        self.asked: list[ReceivedRequest] = []
        """GET requests received."""

    def answers(self, path: str, **answer: object) -> None:
        """Answer a path with a JSON object and 200."""
        self.replies[path] = Reply(body=json.dumps(answer).encode())

    def streams(self, path: str, *events: Mapping[str, object]) -> None:
        """Answer a path with the progress protocol's lines."""
        lines = [json.dumps(event).encode() + b"\n" for event in events]
        self.replies[path] = Reply(body=b"".join(lines), media_type=NDJSON)


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    """Serve a fake hub on a free port while the context lasts."""
    hub = FakeHub("")
    with answering(_Handler, hub=hub) as hub.url:
        yield hub


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub that answers as the test says."""
    with running_hub() as hub:
        yield hub


class _Handler(Quiet):
    hub: FakeHub

    def do_GET(self) -> None:
        self._serve(self.hub.asked)

    def do_POST(self) -> None:
        self._serve(self.hub.received)

    def do_PUT(self) -> None:
        self._serve(self.hub.received)

    def _serve(self, requests: list[ReceivedRequest]) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        files = _files(headers.get("content-type", ""), body)
        requests.append(ReceivedRequest(url.path, url.query, headers, files))
        reply = self.hub.replies.get(url.path, Reply(404, b'{"detail":"Not Found"}'))
        self.send_response(reply.status)
        self.send_header("content-type", reply.media_type)
        self.send_header("content-length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)


def _files(content_type: str, body: bytes) -> dict[str, bytes]:
    if not content_type.startswith("multipart/form-data"):
        return {}
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser(policy=policy.HTTP).parsebytes(head + body)
    found = {}
    for part in message.iter_parts():
        assert part.get_param("name", header="content-disposition") == "files"
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_filename())] = content
    return found
