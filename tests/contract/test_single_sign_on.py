"""Fronts that sign people in, as docs/how-to/single-sign-on.md has them: who gets in, as whom.

B20, B51, B130; security.md, "Who is asking". The written configurations with the how-to's lines in
their places; what decides who somebody is (oauth2-proxy, Authelia) is a small server here that
knows two session cookies. With basic authentication instead, ``hub publish`` and
``hub check --url`` go through them by their tokens.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from mograder.auth.credentials import Role, make_token
from mograder.clients.file_upload import Upload
from mograder.clients.front_probe import look_at_front
from mograder.clients.hub import HubClient
from mograder.core.settings import load_settings
from mograder.operations.front import caddy_config, nginx_config
from mograder.operations.live_checks import examine_front, front_lines
from mograder.operations.report import Level
from tests.support.fronts import Place, running, shipped, two_ports
from tests.support.hub_app import NOTEBOOK, SECRET, Hub, running_hub
from tests.support.process import free_port
from tests.support.proxy_front import FRONTS
from tests.support.proxy_session import A1, RunningProxy, open_proxy
from tests.support.session_proxy import DOCUMENT, served, served_on_unix

pytestmark = pytest.mark.full

PASSWORD = httpx.BasicAuth("alice", "secret")
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


async def test_a_caddy_without_its_sign_ons_lines_names_nobody(tmp_path: Path) -> None:
    """The deployment writes the main file before the administrator writes that one."""
    port, hub_port = two_ports()
    place = Place(port=port, hub_port=hub_port, user=WRITERS["caddy"][1])
    with shipped("caddy", place, tmp_path / "front"):
        async with open_proxy(port=hub_port, url=place.url) as opened:
            for name in ("Remote-User", "X-Remote-User"):
                answer = await opened.http.get(A1 + "/health", headers={name: "alice"})
                assert answer.status_code in (401, 403, 404)
            assert not opened.upstream.seen


# ---- passwords, and programs with tokens ----


@dataclass(frozen=True)
class Behind:
    """A hub, and where its front is."""

    hub: Hub
    url: str


def nginx_site(place: Place, directory: Path) -> str:
    """As written, with a file of passwords."""
    (directory / "people").write_text("alice:{PLAIN}secret\n")
    site = nginx_config(place.front())
    return site.replace("/etc/nginx/mograder-people", str(directory / "people"))


def caddy_site(place: Place, directory: Path) -> str:
    """Return the written configuration with the administrator's lines in the documented places."""
    command = [shutil.which("caddy") or "caddy", "hash-password", "--plaintext", "secret"]
    digest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (directory / "route-sign-on.caddy").write_text(f"basicauth {{\n\talice {digest}\n}}\n")
    return caddy_config(place.front()).replace("/etc/caddy/mograder.d", str(directory))


SITES = {
    "nginx": (nginx_site, "$remote_user"),
    "caddy": (caddy_site, "{http.auth.user.id}"),
}


@pytest.fixture(params=FRONTS)
async def behind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Behind]:
    write, user = SITES[request.param]
    listening = socket.create_server(("127.0.0.1", 0))
    hub_port, port = listening.getsockname()[1], free_port()
    place = Place(port=port, hub_port=hub_port, user=user, request_mb=20)
    own = tmp_path / "own"
    own.mkdir()
    toml = '[hub]\ninstructors = ["prof"]\n'
    with running(request.param, write(place, own), port, tmp_path / "front"):
        async with running_hub(tmp_path / "course", toml) as hub, served(hub.app, listening):
            yield Behind(hub, place.url)


async def test_publish_and_check_go_through_it(behind: Behind, tmp_path: Path) -> None:
    """With the token alone: programs know no password of the front's."""
    notebook = tmp_path / "B1.py"
    notebook.write_text(NOTEBOOK)

    def publish() -> None:
        token = make_token(SECRET, "prof", Role.INSTRUCTOR)
        with HubClient(behind.url, token, insecure=True) as client:
            client.publish("B1", "assignment", [Upload(notebook.name, notebook)], lambda _: None)

    await asyncio.to_thread(publish)
    assert (behind.hub.course / "hub-release" / "B1" / "B1.py").read_text() == NOTEBOOK
    loaded = load_settings(behind.hub.course, environ={})
    lines = [
        await asyncio.to_thread(examine_front, loaded.settings.hub, behind.url),
        *front_lines(await asyncio.to_thread(look_at_front, behind.url)),
    ]
    assert [line.text for line in lines if line.level is Level.PROBLEM] == []


async def test_a_request_without_a_token_is_asked_for_the_password(behind: Behind) -> None:
    """And nobody is named by a header of their own, beside a token or without.

    B20: ``$remote_user`` is a client's own word unless a password was checked.
    """
    async with httpx.AsyncClient(base_url=behind.url, trust_env=False, timeout=60) as http:
        wrong = (httpx.BasicAuth("alice", "wrong"), httpx.BasicAuth("prof", "x"), None)
        for auth, headers in [*((each, {}) for each in wrong), (None, {"X-Remote-User": "prof"})]:
            for path in ("/assignments", "/edit/user/alice/A1/health"):
                answer = await http.get(path, auth=auth, headers=headers)
                assert answer.status_code == 401, (path, auth, headers)
                assert answer.headers["www-authenticate"].startswith("Basic")
        probe = await http.get("/s/probe", headers={"Origin": "null"})
        assert probe.status_code == 204, "session pages need no sign-in"
        named = await http.get("/assignments", auth=PASSWORD)
        assert named.status_code == 200
        assert named.headers["set-cookie"].startswith("mograder_session=")
    for token in ("x", "prof:0", make_token(SECRET, "mallory") + "0"):
        async with httpx.AsyncClient(base_url=behind.url, trust_env=False, timeout=60) as http:
            headers = {"Authorization": f"Bearer {token}", "X-Remote-User": "prof"}
            answer = await http.get("/assignments", headers=headers)
            assert answer.status_code in (401, 403), token
            assert "set-cookie" not in answer.headers


OPEN = {
    "GET": (
        *("/health", "/ready", "/calendar/alice/x.ics", "/client/5c1f/mograder_hub-1.whl"),
        *("/lti/keys", "/lti/login?iss=x", "/lti/register/x?a=b", "/static/x/style.css"),
    ),
    "POST": ("/lti/login", "/lti/launch", "/lti/pick", "/auth/oidc/backchannel-logout"),
}
"""Asked for by who cannot sign in: other servers, their pages' forms and frames, and programs."""
CLOSED = ("/calendar", "/calendar/a/b/c.ics", "/client", "/ltix/keys", "/auth/oidc/start")


async def test_who_cannot_sign_in_reaches_the_hub(behind: Behind) -> None:
    """And is nobody there, whatever header they send. The hub of this test has no platform."""
    headers = {"X-Remote-User": "prof"}
    async with httpx.AsyncClient(base_url=behind.url, trust_env=False, timeout=60) as http:
        for method, path in [(how, path) for how, paths in OPEN.items() for path in paths]:
            answer = await http.request(method, path, headers=headers)
            assert "content-security-policy" in answer.headers, f"{path} is answered by the front"
            assert answer.status_code in (200, 403, 404, 405), path
            assert "set-cookie" not in answer.headers, path
        for path in CLOSED:
            assert (await http.get(path, headers=headers)).status_code == 401, path
        verified = await http.post("/receipts/verify", json={})
        assert verified.status_code != 401


async def test_a_token_is_its_owner_whatever_else_a_request_says(behind: Behind) -> None:
    headers = {
        "Authorization": f"Bearer {make_token(SECRET, 'alice')}",
        "X-Remote-User": "prof",
    }
    async with httpx.AsyncClient(base_url=behind.url, trust_env=False, timeout=60) as http:
        assert (await http.get("/assignments", headers=headers)).status_code == 200
        assert (await http.get("/audit", headers=headers)).status_code == 403
