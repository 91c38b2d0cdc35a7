"""A package index of a site's own: the wheels that ``scripts/build-image`` fetched, over HTTP."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.machines.docker_machine import HOST
from tests.support.course import REPOSITORY

PORT = 8403
URL = f"http://{HOST}:{PORT}/simple/"
_NAME = re.compile(r"[-_.]+")


@contextlib.contextmanager
def package_index() -> Iterator[str]:
    """Serve the wheels on the rig's network; yields the index's URL."""
    (wheels,) = (REPOSITORY / ".vm").glob("wheels-*")
    handler = functools.partial(_Handler, {file.name: file for file in wheels.glob("*.whl")})
    server = ThreadingHTTPServer((HOST, PORT), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield URL
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers the pages of projects (PEP 503) and the files."""

    def __init__(self, files: dict[str, Path], *arguments: object) -> None:
        self._files = files
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        place, _, last = self.path.rstrip("/").rpartition("/")
        if place == "/files" and last in self._files:
            self._answer(self._files[last].read_bytes(), "application/octet-stream")
            return
        links = "".join(
            f'<a href="/files/{name}#sha256={_digest(path)}">{name}</a>\n'
            for name, path in self._files.items()
            if _NAME.sub("-", name.split("-")[0]).lower() == last
        )
        if links:
            self._answer(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
        else:
            self.send_error(404)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
