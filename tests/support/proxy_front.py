"""A front that runs before an empty port, and the proxy that a test starts there.

The fixtures of the tests of fronts: a program is started once for a module, a hub for each test.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fronts import Place, shipped, two_ports
from tests.support.proxy_session import A1, RunningProxy, open_proxy
from tests.support.session_proxy import cookie

FRONTS = ["nginx", "caddy"]


@dataclass(frozen=True)
class Standing:
    """A running front whose upstream port is empty until a test starts its hub there."""

    place: Place
    program: str
    log: Path


@pytest.fixture(scope="module", params=FRONTS)
def standing(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standing]:
    program = request.param
    port, hub_port = two_ports()
    place = Place(port=port, hub_port=hub_port)
    with shipped(program, place, tmp_path_factory.mktemp("front")) as server:
        yield Standing(place, program, server.log)


@pytest.fixture
async def proxied(standing: Standing) -> AsyncIterator[RunningProxy]:
    place = standing.place
    async with open_proxy(port=place.hub_port, url=place.url) as opened:
        yield opened


async def no_answer_is_lost(proxied: RunningProxy) -> None:
    """Alternate refused and answered POST requests over one connection, 150 times.

    Caddy lost refusals while the hub answered before it had read the body (golang/go 40747).
    """
    cap = await proxied.capability()
    form = {**cookie("alice"), "Sec-Fetch-Site": "same-origin"}
    for turn in range(150):
        refused = await proxied.http.post(A1 + "/api/x", headers=form, content=b"x")
        assert (refused.status_code, refused.text) == (
            403,
            "Open this address in a tab of its own.",
        ), turn
        answer = await proxied.http.post(cap + "api/x", content=b"12345")
        assert answer.json()["length"] == 5, turn


def raw(port: int, path: str, *more: str) -> tuple[int, str]:
    """Return status and body of a GET request whose path is sent unnormalised."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *more]
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        answer = b""
        while part := line.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    told = re.match(rb"(?:[0-9a-f]+\r\n)?(\{.*\})", body, re.DOTALL)  # JSON, out of its chunks
    return int(head[9:12] or b"0"), (told[1] if told else body).decode("latin-1")
