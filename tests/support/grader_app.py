"""A grader in one process for tests, on a temporary course."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from starlette.types import ASGIApp

from mograder.core.settings import load_settings
from mograder.web.browser_access import BrowserAccess
from mograder.web.grader import (
    Access,
    LocalAccess,
    ProxyAccess,
    ProxyRules,
    create_app,
    open_grader,
    proxy_rules,
)
from tests.support.clock import ManualClock
from tests.support.hub_app import running

PORT = 2718
LOCAL = f"http://127.0.0.1:{PORT}"
PUBLIC = "https://marking.example.net"
PROXY, LOOPBACK, STRANGER = "10.0.0.1", "127.0.0.1", "192.0.2.7"


@dataclass
class Grader:
    """The app, and how to reach it."""

    app: ASGIApp
    course: Path
    browser: BrowserAccess | None = None

    def from_peer(self, peer: str, url: str = LOCAL, user: str = "") -> httpx.AsyncClient:
        """Return a client at this address, with the proxy's header for a user."""
        transport = httpx.ASGITransport(self.app, client=(peer, 5000))
        headers = {b"X-Remote-User": user.encode()} if user else {}
        return httpx.AsyncClient(transport=transport, base_url=url, headers=headers)

    def through_proxy(self, user: str) -> httpx.AsyncClient:
        """Return the client of a user whom the trusted proxy names."""
        return self.from_peer(PROXY, PUBLIC, user)


@asynccontextmanager
async def proxied_grader(
    course: Path, instructors: str = "", markers: str = "", *, local_proxy: bool = False
) -> AsyncIterator[Grader]:
    """A grader behind a proxy; the names are separated by spaces."""
    rules = proxy_rules(
        instructors.split(), markers.split(), ["10.0.0.0/24"], local_proxy=local_proxy
    )
    async with _running(course, ProxyAccess(rules, "anna"), rules) as app:
        yield Grader(app, course)


@asynccontextmanager
async def local_grader(course: Path) -> AsyncIterator[Grader]:
    """A grader of the person at this machine."""
    browser = BrowserAccess(PORT, ManualClock(), command="mograder grader")
    async with _running(course, LocalAccess(browser, "anna")) as app:
        yield Grader(app, course, browser)


@asynccontextmanager
async def _running(
    course: Path, access: Access, rules: ProxyRules | None = None
) -> AsyncIterator[ASGIApp]:
    made = open_grader(load_settings(course, environ={}), access)
    app = create_app(made, trusts=rules.trusts if rules else lambda _: False)
    async with running(app):
        yield app
