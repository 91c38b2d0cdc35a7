"""The reverse proxies of the deployment guide, unchanged except for names, ports and TLS.

B19 (Caddy) and B20 (nginx). ``mograder hub check --url`` reports their faults, which the shipped
configurations do not have.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.support.fronts import running, two_ports
from tests.support.proxy_front import FRONTS, no_answer_is_lost
from tests.support.proxy_session import A1, RunningProxy, open_proxy
from tests.support.session_proxy import DOCUMENT, bearer

pytestmark = pytest.mark.full

CADDY = """\
hub.example.com {
    reverse_proxy localhost:8080

    # WebSocket support
    @websockets {
        header Connection *Upgrade*
        header Upgrade websocket
    }
    reverse_proxy @websockets localhost:8080
}
"""
NGINX = """\
server {
    listen 443 ssl;
    server_name hub.example.com;

    location / {
        proxy_pass http://127.0.0.1:8080;
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Remote-User $remote_user;

        # WebSocket support
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_read_timeout 3600s;
    }
}
"""


@contextmanager
def guide_front(program: str, place: Path) -> Iterator[tuple[str, int]]:
    """Run a front of the guide, without a certificate; yield its address and its hub's port."""
    port, hub_port = two_ports()
    site = {
        "nginx": NGINX.replace("listen 443 ssl;", f"listen {port};"),
        "caddy": CADDY.replace("hub.example.com {", f"http://127.0.0.1:{port} {{"),
    }[program].replace(":8080", f":{hub_port}")
    with running(program, site, port, place):
        yield f"http://127.0.0.1:{port}", hub_port


@pytest.fixture(params=FRONTS)
async def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    with guide_front(request.param, tmp_path / "front") as (url, hub_port):
        async with open_proxy(port=hub_port, url=url) as opened:
            yield opened


async def test_no_answer_to_a_post_is_lost(proxied: RunningProxy) -> None:
    """B19, B20."""
    await no_answer_is_lost(proxied)


async def test_b19_b20_the_guides_configurations_work(proxied: RunningProxy) -> None:
    """B19, B20: pages, requests by capability, and WebSockets, as the guide has them."""
    answer = await proxied.http.get(A1 + "/x?y=%2F", headers=bearer("alice"))
    assert (answer.json()["path"], answer.json()["query"]) == (A1 + "/x", "y=%2F")
    cap = await proxied.capability()
    posted = await proxied.http.post(cap + "api/x", headers={"Origin": "null"}, content=b"12345")
    assert posted.json()["length"] == 5
    hostile = await proxied.http.get(cap + "hostile")
    assert (hostile.status_code, hostile.text) == (200, "boo"), "no X-Accel-Redirect gets through"
    for path, headers in ((cap + "ws", {}), (A1 + "/ws", bearer("alice"))):
        url = proxied.rig.url.replace("http", "ws", 1) + path
        async with connect(url, additional_headers=headers, proxy=None) as line:
            await line.send("hé")
            assert await line.recv() == "hé"


async def test_b20_nginx_names_the_user(
    proxied: RunningProxy, request: pytest.FixtureRequest
) -> None:
    """B20: ``X-Remote-User $remote_user``, and a client's own header is overwritten."""
    if "caddy" in request.node.name:
        pytest.skip("the guide's Caddy signs nobody in")
    named = httpx.BasicAuth("alice", "checked-by-nginx")
    page = await proxied.http.get(A1 + "/", auth=named, headers=DOCUMENT)
    assert page.status_code == 200
    assert page.headers["set-cookie"].startswith("mograder_session=")
    proxied.http.cookies.clear()
    forged = await proxied.http.get(A1 + "/health", headers={"X-Remote-User": "alice"})
    assert forged.status_code == 403
