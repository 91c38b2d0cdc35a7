"""Serves marimo's static files once for all sessions, at one immutable address per version.

``{prefix}/s/_marimo/<set>/<path>``: next to the capability paths, since a reverse proxy forwards
everything below ``/s/`` without a sign-in, and these requests have no credentials (an opaque origin
has no cookie). Only files in a set's manifest exist here; names are looked up, never joined to a
path. The files are from packages that an instructor chose, and this is the hub's own origin: they
are served with their own media type, and could not act even if opened as a page.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from mograder.core.errors import NotFound
from mograder.sandbox.environments.static_assets import (
    ASSET_TYPES,
    SET_NAME,
    AssetFile,
    AssetSet,
    read_assets,
)
from mograder.web.context import context_of
from mograder.web.hub.proxy.headers import header

_PATH = re.compile(
    rf"/(?:s|(?:edit|run)/user/[^/]+)/_marimo/(?P<set>{SET_NAME.pattern})/(?P<file>[^?#]+)"
)
"""The second form is for pages that the hub does not change: bearer clients."""

_HELD_BYTES = 64 << 20
_FOUND: Mapping[str, str] = {
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Timing-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "Cache-Control": "public, max-age=31536000, immutable",
    "Vary": "accept-encoding",
}
"""The headers of marimo's static files: opened as a page, they cannot run scripts."""

_PREFLIGHT: Mapping[str, str] = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "7200",
    "X-Content-Type-Options": "nosniff",
}
_REFUSED: Mapping[str, str] = {
    "Access-Control-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-store",
}


def is_asset_path(raw_path: bytes) -> bool:
    return b"/_marimo/" in raw_path and _PATH.fullmatch(raw_path.decode("latin-1")) is not None


class AssetServer:
    """The bare ASGI app for these paths.

    Mutable state: ``_sets``, those requested so far, and ``_held``, bodies that were sent; all are
    forgotten when there are too many. One editor page loads some 4 MB in 350 of them, and a whole
    class opens it at the same time.
    """

    def __init__(self, root: Path, *, held_bytes: int = _HELD_BYTES) -> None:
        self._root = root
        self._sets: dict[str, AssetSet] = {}
        self._bound = held_bytes
        self._held: dict[tuple[str, str], bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp
        if scope["type"] != "http":
            answer = WebSocketClose(1008)
        elif scope["method"] == "OPTIONS":
            # Sent only where a client adds headers: a browser extension, a test's browser.
            answer = Response(status_code=204, headers=_PREFLIGHT)
        elif scope["method"] not in ("GET", "HEAD"):
            allowed = {**_REFUSED, "Allow": "GET, HEAD, OPTIONS"}
            answer = Response("Method not allowed", 405, allowed)
        else:
            answer = await self._answer(scope)
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        found = _PATH.fullmatch(context_of(scope).raw_path.decode("latin-1"))
        directory, name = found.group("set", "file") if found else ("", "")
        try:
            if directory not in self._sets:
                read = await asyncio.to_thread(read_assets, self._root, directory)
                self._sets[directory] = read
            assets = self._sets[directory]
            file = assets.files[name]
            encoding, suffix, size = _choose(file, header(scope["headers"], b"accept-encoding"))
            headers = {**_FOUND, "ETag": f'"{file.digest[:32]}{suffix}"'}
            asked = header(scope["headers"], b"if-none-match").split(",")
            if {tag.strip().removeprefix("W/") for tag in asked} & {headers["ETag"], "*"}:
                return Response(status_code=304, headers=headers)
            body = await self._body(assets, name, suffix) if scope["method"] == "GET" else b""
        except (NotFound, KeyError):
            return Response("There is no such file.", 404, _REFUSED)
        except OSError:  # the set was deleted under a running hub
            self._sets.pop(directory, None)
            return Response("There is no such file.", 404, _REFUSED)
        headers["Content-Type"] = ASSET_TYPES[PurePosixPath(name).suffix]
        headers["Content-Length"] = str(size)
        return Response(body, headers={**headers, **encoding})

    async def _body(self, assets: AssetSet, name: str, suffix: str) -> bytes:
        key = (assets.directory.name, name + suffix)
        if (held := self._held.get(key)) is not None:
            return held
        body = await asyncio.to_thread(assets.read, name, suffix)
        if len(body) <= self._bound:
            if sum(map(len, self._held.values())) + len(body) > self._bound:
                self._held.clear()
            self._held[key] = body
        return body


def _choose(file: AssetFile, accepted: str) -> tuple[Mapping[str, str], str, int]:
    """Return the encoding's header, the file's suffix and its size, for what a client accepts."""
    readable = _accepted(accepted)  # Brotli first: it is the smaller one
    for encoding, suffix, size in (("br", ".br", file.br), ("gzip", ".gz", file.gzip)):
        if size and encoding in readable:
            return {"Content-Encoding": encoding}, suffix, size
    return {}, "", file.size


def _accepted(text: str) -> frozenset[str]:
    names = set()
    for offer in text.lower().split(","):
        name, _, weight = offer.partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            names.add(name.strip())
    return frozenset(names)
