"""Fronts that sign people in, as docs/how-to/single-sign-on.md has them: who gets in, as whom.

B20, B51, B130. The written configurations with the how-to's lines in their places; what decides who
somebody is (oauth2-proxy, Authelia) is a small server here that knows two session cookies.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from mograder.operations.fronts.front import caddy_config, nginx_config
from tests.support.fronts import Place, running, two_ports
from tests.support.proxy_front import FRONTS
from tests.support.proxy_session import A1, RunningProxy, open_proxy
from tests.support.session_proxy import DOCUMENT, served_on_unix

pytestmark = pytest.mark.full

HOW_TO = Path(__file__).parents[2] / "docs/how-to/single-sign-on.md"


async def oracle(scope: Scope, receive: Receive, send: Send) -> None:
    """Knows who somebody is by a cookie of its own, as a sign-in service does."""
    cookies = dict(scope["headers"]).get(b"cookie", b"").decode()
    name = next((each for each in ("alice", "bob") if f"sso={each}" in cookies), "")
    headers = [(b"content-length", b"0")]
    if name:
        headers.append((b"x-auth-request-preferred-username", name.encode()))
        headers.append((b"remote-user", name.encode()))
    status = 202 if name else 401
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def how_to(language: str, holding: str) -> str:
    """The block of the how-to that holds this."""
    blocks = re.findall(rf"```{language}\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    (found,) = [block for block in blocks if holding in block]
    return str(found)


def with_oauth2_proxy(place: Place, socket: Path) -> str:
    """The written file, and the how-to's lines for oauth2-proxy in the files that it names."""
    own = socket.parent / "nginx"
    own.mkdir()
    server = how_to("nginx", "location = /oauth2/auth")
    server = server.replace("http://127.0.0.1:4180", f"http://unix:{socket}:")
    (own / "server-oauth2.conf").write_text(server)
    (own / "location-oauth2.conf").write_text(how_to("nginx", "auth_request /oauth2/auth"))
    return nginx_config(place.front()).replace("/etc/nginx/mograder.d", str(own))


def with_forward_auth(place: Place, socket: Path) -> str:
    """The written file, and the how-to's lines for Caddy in the file that it names."""
    own = socket.parent / "caddy"
    own.mkdir()
    lines = how_to("caddyfile", "forward_auth").replace("127.0.0.1:9091", f"unix/{socket}")
    (own / "route-sign-on.caddy").write_text(lines)
    return caddy_config(place.front()).replace("/etc/caddy/mograder.d", str(own))


WRITERS = {
    "nginx": (with_oauth2_proxy, "$somebody"),
    "caddy": (with_forward_auth, "{http.request.header.Remote-User}"),
}


@pytest.fixture(params=FRONTS)
async def proxied(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    program = request.param
    write, user = WRITERS[program]
    port, hub_port = two_ports()
    place = Place(port=port, hub_port=hub_port, user=user)
    async with served_on_unix(oracle) as socket:
        with running(program, write(place, socket), port, tmp_path / "front"):
            async with open_proxy(port=hub_port, url=place.url) as opened:
                yield opened


async def test_b51_who_signed_in_there_is_signed_in_here(proxied: RunningProxy) -> None:
    """B51: the front names alice, the hub gives her a login of its own."""
    sso = {"Cookie": "sso=alice"}
    page = await proxied.http.get(A1 + "/", headers={**DOCUMENT, **sso})
    assert page.status_code == 200, page.text
    assert page.headers["set-cookie"].startswith("mograder_session=")
    base = re.search(r'src="(/s/[\w-]+/)"', page.text)
    assert base
    proxied.http.cookies.clear()
    # The opaque page has no cookie of anybody's, and its address is enough.
    said = await proxied.http.get(base[1] + "x", headers={"Origin": "null"})
    assert said.json()["path"] == A1 + "/x"
    foreign = await proxied.http.get(A1 + "/", headers={**DOCUMENT, "Cookie": "sso=bob"})
    assert foreign.status_code == 403


async def test_nobody_comes_in_by_a_header_of_their_own(proxied: RunningProxy) -> None:
    """security.md, "Who is asking": a front that passes on a client's own header lets anyone in."""
    forged = dict.fromkeys(("X-Remote-User", "Remote-User", "X-Forwarded-User"), "alice")
    forged["X-Auth-Request-Preferred-Username"] = "alice"
    forged["Authorization"] = "Basic YWxpY2U6eA=="
    for extra in ({}, {"Cookie": "sso=nobody"}):
        answer = await proxied.http.get(A1 + "/health", headers={**forged, **extra})
        assert answer.status_code in (401, 403, 404)
    assert not proxied.upstream.seen
    bob = await proxied.http.get(A1 + "/health", headers={**forged, "Cookie": "sso=bob"})
    assert bob.status_code == 403
    assert not proxied.upstream.seen


async def test_nginxs_own_sign_in_checks_before_it_names(tmp_path: Path) -> None:
    """B20: ``$remote_user`` is a client's own word unless a password was checked."""
    port, hub_port = two_ports()
    place = Place(port=port, hub_port=hub_port, user="$remote_user")
    people = tmp_path / "people"
    people.write_text("alice:{PLAIN}secret\n")
    site = nginx_config(place.front()).replace("/etc/nginx/mograder-people", str(people))
    with running("nginx", site, port, tmp_path / "front"):
        async with open_proxy(port=hub_port, url=place.url) as proxied:
            health = A1 + "/health"
            for auth in (None, httpx.BasicAuth("alice", "wrong"), httpx.BasicAuth("bob", "secret")):
                assert (await proxied.http.get(health, auth=auth)).status_code == 401
            right = httpx.BasicAuth("alice", "secret")
            assert (await proxied.http.get(health, auth=right)).status_code == 200
            probe = await proxied.http.get("/s/probe", headers={"Origin": "null"})
            assert probe.status_code == 204, "session pages need no sign-in"
