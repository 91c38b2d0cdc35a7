"""The HTTP side of the replayed Moodle: forms, uploads, ranges."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

from tests.support.http_server import Quiet, answering
from tests.support.moodle.recordings import NORMAL
from tests.support.moodle.replay import Replay, Reply, Request

_NAME = re.compile(rb'name="([^"]*)"(?:; filename="((?:[^"\\]|\\.)*)")?')


@contextmanager
def replaying(after: int = 99, mood: str = NORMAL) -> Iterator[Replay]:
    """Serve a Moodle on this machine; whatever was not recorded fails at the end."""
    replay = Replay()
    replay.begin(after, mood)
    with serving(replay):
        yield replay
    assert not replay.problems, replay.problems


@contextmanager
def serving(replay: Replay) -> Iterator[None]:
    """Serve a replay at ``replay.url`` on a free port of this machine."""
    with answering(_Handler, site=replay) as replay.url:
        yield


class _Handler(Quiet):
    """One connection; ``site`` answers."""

    site: Replay
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.site.cookies.update(self.headers.get_all("cookie", []))
        kind, asked = self.headers.get("content-type", ""), self.headers.get("range", "")
        reply = self.site.answer(parsed(method, self.path, kind, body, asked))
        self._send(self.site.between(reply) if self.site.between else reply)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("content-type", reply.content_type)
        self.send_header("content-length", str(len(reply.body)))
        self.send_header("set-cookie", "MoodleSession=x; path=/")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
        self.close_connection = reply.cut is not None


def parsed(method: str, target: str, kind: str, body: bytes, range_asked: str = "") -> Request:
    """Return what a client sent, its form taken apart."""
    parts = urlsplit(target)
    in_address = dict(parse_qsl(parts.query, keep_blank_values=True))
    files: list[tuple[str, bytes]] = []
    if kind.startswith("multipart/form-data"):
        fields, files = _multipart(body, kind.partition("boundary=")[2].encode())
    elif kind.startswith("application/json"):
        fields = {"": body.decode()}
    else:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    if parts.path.startswith("/lib/"):
        in_address = {}
    return Request(
        method=method,
        path=parts.path,
        fields={**in_address, **fields},
        in_address=in_address,
        files=tuple((name, len(content)) for name, content in files),
        contents=tuple(content for _, content in files),
        range=range_asked,
    )


def _multipart(body: bytes, boundary: bytes) -> tuple[dict[str, str], list[tuple[str, bytes]]]:
    """Return the fields and the files, by name and content, of a form."""
    fields: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        found = _NAME.search(head)
        assert found, head
        if found[2] is None:
            fields[found[1].decode()] = content[:-2].decode()
        else:
            # Clients write a quotation mark in one of two ways.
            name = found[2].replace(b"%22", b'"').replace(b'\\"', b'"').decode()
            files.append((name, content[:-2]))
    return fields, files
