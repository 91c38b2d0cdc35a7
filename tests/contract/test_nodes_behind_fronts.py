"""A node's connections through nginx and Caddy, with the shipped configurations, and over TLS."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mograder.core.errors import Forbidden, RemoteFailed
from mograder.sandbox.nodes.node_dialer import Hub, NodeDialer, dial, probe, tls_of
from mograder.sandbox.nodes.transports import CONTROL
from tests.support.fronts import Place, shipped
from tests.support.node_wire import (
    LARGE,
    WireHub,
    answer_calls,
    client_of,
    echoed,
    next_client,
    on_uvloop,
    session_server,
    wire_hub,
)
from tests.support.process import free_port
from tests.support.programs import printed_by
from tests.support.proxy_front import FRONTS

pytestmark = pytest.mark.full


async def _use(hub: WireHub, url: str) -> None:
    """Ask a session for small and large answers at a time, also after its node was cut off."""
    token = hub.token("node-a")
    async with session_server() as sockets, AsyncExitStack() as stack:
        dialer = NodeDialer(Hub.parse(url), token.secret, answer_calls, sockets.get)
        stack.push_async_callback(dialer.close)
        dialer.connect()
        async with next_client(hub) as client:
            found = await asyncio.gather(*(echoed(client, b"%d" % n) for n in range(20)))
            assert found == [b"%d" % n for n in range(20)]
            assert await echoed(client, b"y" * LARGE) == b"y" * LARGE
            async with client.ws_connect("http://s/ws") as websocket:
                await websocket.send_str("ping")
                assert await websocket.receive_str() == "ping"
        dialer.cut()
        async with client_of(await hub.next_link()) as again:
            assert await echoed(again, b"again") == b"again"


@pytest.mark.parametrize("user", ["", "X"], ids=["hub signs in", "front signs in"])
@pytest.mark.parametrize("program", FRONTS)
@on_uvloop
async def test_a_node_connects_through_a_front(program: str, user: str, tmp_path: Path) -> None:
    """Also where the front lets nobody in without its own sign-in."""
    variable = {"nginx": "$remote_user", "caddy": "{http.auth.user.id}"}[program] if user else ""
    async with wire_hub() as hub:
        place = Place(port=free_port(), hub_port=hub.port, user=variable)
        with shipped(program, place, tmp_path / "front"):
            await _use(hub, place.url)
            await probe(Hub.parse(place.url), hub.token("node-a").secret)
            with pytest.raises(Forbidden, match="does not accept"):
                await probe(Hub.parse(place.url), "x" * 43)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate of its own, in one file, for 127.0.0.1."""
    path = tmp_path / "hub.pem"
    printed_by(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", path, "-out", tmp_path / "certificate.pem"),
    )
    with path.open("a") as whole:
        whole.write((tmp_path / "certificate.pem").read_text())
    return path


@on_uvloop
async def test_a_node_connects_over_tls_to_a_hub_of_an_authority_that_it_knows(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with wire_hub(ssl_certfile=str(certificate)) as hub:
        token = hub.token("node-a")
        address = Hub.parse(hub.url)
        with pytest.raises(RemoteFailed, match=r"is not accepted: .*update-ca-certif"):
            await probe(address, token.secret)
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(address, token.secret, CONTROL, tls_of(address))
        assert hub.rows.asked == 0, "the secret goes to no server that is not verified"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        await probe(address, token.secret)
        await _use(hub, hub.url)
