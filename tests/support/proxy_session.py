"""A running proxy with one session of alice's, for the tests that ask it things over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from mograder.auth.credentials import Role
from mograder.clients.http import trusted_authorities
from tests.support.hub_app import FakeSession
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import DOCUMENT, Rig, cookie, running_rig, served_on_unix

A1 = "/edit/user/alice/A1"


@dataclass
class RunningProxy:
    """A running proxy with one session of alice's, and a client."""

    rig: Rig
    upstream: Upstream
    path: Path
    session: FakeSession
    http: httpx.AsyncClient

    async def capability(self, user: str = "alice", session: str = A1) -> str:
        role = Role.INSTRUCTOR if user == "prof" else Role.STUDENT
        page = await self.http.get(session + "/", headers={**cookie(user, role=role), **DOCUMENT})
        found = re.search(r' src="(/s/[^/]+/)"', page.text)
        assert found, page.text[:300]
        return found.group(1)

    def connect_websocket(self, path: str, **options: object) -> connect:
        url = self.rig.url.replace("http", "ws", 1) + path
        return connect(url, max_size=None, proxy=None, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def open_proxy(
    *, port: int = 0, url: str = "", answer_seconds: float = 5
) -> AsyncIterator[RunningProxy]:
    """Start it with short times and a small bound, and a client that follows nothing.

    With a ``url``, that of a front, everything goes through there.
    """
    upstream = Upstream()
    bound = "[limits]\nrequest_mb = 3\n"
    async with (
        served_on_unix(upstream) as path,
        running_rig(answer_seconds=answer_seconds, toml=bound, port=port) as rig,
        httpx.AsyncClient(
            base_url=url or rig.url, trust_env=False, timeout=60, verify=trusted_authorities()
        ) as http,
    ):
        rig.url = url or rig.url
        yield RunningProxy(rig, upstream, path, rig.session(path), http)


@pytest.fixture
async def proxied() -> AsyncIterator[RunningProxy]:
    async with open_proxy() as opened:
        yield opened
