"""Requests of a Chromium tab: from its cache or over the network, bytes, compression."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Page


@dataclass
class Traffic:
    """Paths that one tab loaded, by their source, and bytes over the network.

    ``bytes`` are those of marimo's static files, ``total`` those of everything.
    """

    cached: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    encodings: set[str] = field(default_factory=set)
    bytes: int = 0
    total: int = 0
    _paths: dict[str, str] = field(default_factory=dict)

    async def listen(self, page: Page) -> None:
        """Subscribe to Chromium's network events, which include the cache."""
        devtools = await page.context.new_cdp_session(page)
        devtools.on("Network.responseReceived", self._received)
        devtools.on("Network.loadingFinished", self._finished)
        await devtools.send("Network.enable")

    def shared(self, paths: list[str]) -> list[str]:
        """Those of the paths that are marimo's static files."""
        return [path for path in paths if "/_marimo/" in path]

    def _received(self, event: dict[str, Any]) -> None:
        response = event["response"]
        if not response["url"].startswith("http"):
            return
        cached = response.get("fromDiskCache") or response.get("fromPrefetchCache")
        (self.cached if cached else self.fetched).append(response["url"])
        self._paths[event["requestId"]] = response["url"]
        if "/_marimo/" in response["url"]:
            headers = {name.lower(): value for name, value in response["headers"].items()}
            self.encodings.add(headers.get("content-encoding", ""))

    def _finished(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._paths:
            self.total += int(event["encodedDataLength"])
        if "/_marimo/" in self._paths.get(event["requestId"], ""):
            self.bytes += int(event["encodedDataLength"])
