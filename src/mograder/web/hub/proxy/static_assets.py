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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from starlette.types import Receive, Scope, Send

from mograder.core.errors import NotFound
from mograder.sandbox.environments.static_assets import (
    ASSET_TYPES,
    SET_NAME,
    AssetFile,
    AssetSet,
    read_assets,
)
from mograder.web.context import context_of
from mograder.web.hub.proxy.headers import HeaderList, header

_PATH = re.compile(
    rf"/(?:s|(?:edit|run)/user/[^/]+)/_marimo/(?P<set>{SET_NAME.pattern})/(?P<file>[^?#]+)"
)
"""The second form is for pages that the hub does not change: bearer clients."""

_HELD_BYTES = 64 << 20
_FOUND: HeaderList = [
    (b"access-control-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"timing-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    (b"cache-control", b"public, max-age=31536000, immutable"),
    (b"vary", b"accept-encoding"),
]
"""The headers of marimo's static files: opened as a page, they cannot run scripts."""

_PREFLIGHT: HeaderList = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, HEAD"),
    (b"access-control-allow-headers", b"*"),
    (b"access-control-max-age", b"7200"),
    (b"x-content-type-options", b"nosniff"),
]
_REFUSED: HeaderList = [
    (b"access-control-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"cache-control", b"no-store"),
]


def is_asset_path(raw_path: bytes) -> bool:
    """Return whether a path below the prefix is one of marimo's static files."""
    return b"/_marimo/" in raw_path and _PATH.fullmatch(raw_path.decode("latin-1")) is not None


@dataclass(frozen=True, slots=True)
class _Variant:
    """One file in the encoding chosen for a client."""

    file: AssetFile
    size: int
    encoding: str = ""
    suffix: str = ""

    @property
    def etag(self) -> str:
        return f'"{self.file.digest[:32]}{self.suffix}"'


class AssetServer:
    """The bare ASGI app for these paths.

    Mutable state: ``_sets``, those requested so far, and ``_held``, bodies that were sent, together
    ``held_size`` bytes; all are forgotten when there are too many. One editor page loads some 4 MB
    in 350 of them, and a whole class opens it at the same time.
    """

    def __init__(self, root: Path, *, held_bytes: int = _HELD_BYTES) -> None:
        self._root = root
        self._sets: dict[str, AssetSet] = {}
        self._bound = held_bytes
        self._held: dict[tuple[str, str], bytes] = {}
        self.held_size = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            # Sent only where a client adds headers: a browser extension, a test's browser.
            await send({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await _refuse(scope, send, 405, "Method not allowed")
            return
        found = _PATH.fullmatch(context_of(scope).raw_path.decode("latin-1"))
        try:
            assets = await self._set(found["set"] if found else "")
            name = found["file"] if found else ""
            file = assets.files[name]
        except (NotFound, KeyError):
            await _refuse(scope, send, 404, "There is no such file.")
            return
        variant = _choose(file, header(scope["headers"], b"accept-encoding"))
        await self._answer(assets, name, variant, scope, send)

    async def _set(self, name: str) -> AssetSet:
        known = self._sets.get(name)
        if known is None:
            known = await asyncio.to_thread(read_assets, self._root, name)
            self._sets[name] = known
        return known

    async def _answer(
        self, assets: AssetSet, name: str, variant: _Variant, scope: Scope, send: Send
    ) -> None:
        headers = [*_FOUND, (b"etag", variant.etag.encode())]
        if _known_to_client(variant.etag, header(scope["headers"], b"if-none-match")):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        body = b""
        if scope["method"] == "GET":
            try:
                body = await self._body(assets, name, variant)
            except OSError:  # the set was deleted under a running hub
                self._sets.pop(assets.directory.name, None)
                await _refuse(scope, send, 404, "There is no such file.")
                return
        media = ASSET_TYPES[PurePosixPath(name).suffix]
        headers.append((b"content-type", media.encode()))
        headers.append((b"content-length", str(variant.size).encode()))
        if variant.encoding:
            headers.append((b"content-encoding", variant.encoding.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, assets: AssetSet, name: str, variant: _Variant) -> bytes:
        key = (assets.directory.name, name + variant.suffix)
        if (held := self._held.get(key)) is not None:
            return held
        body = await asyncio.to_thread(assets.read, name, variant.suffix)
        if len(body) <= self._bound and key not in self._held:
            if self.held_size + len(body) > self._bound:
                self._held.clear()
                self.held_size = 0
            self._held[key] = body
            self.held_size += len(body)
        return body


def _choose(file: AssetFile, accepted: str) -> _Variant:
    """Return the variant for a client: by brotli, which is the smaller one, or by gzip."""
    readable = _accepted(accepted)
    for encoding, suffix, size in (("br", ".br", file.br), ("gzip", ".gz", file.gzip)):
        if size and encoding in readable:
            return _Variant(file, size, encoding, suffix)
    return _Variant(file, file.size)


def _accepted(text: str) -> frozenset[str]:
    names = set()
    for offer in text.lower().split(","):
        name, _, weight = offer.partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000"):
            names.add(name.strip())
    return frozenset(names)


def _known_to_client(etag: str, asked: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
    return etag in tags or "*" in tags


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    body = text.encode()
    headers = [*_REFUSED, (b"content-length", str(len(body)).encode())]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD, OPTIONS"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
