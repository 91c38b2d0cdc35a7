"""Apache as the front of docs/how-to/single-sign-on.md: access and user names (B20, B51).

The how-to's block with a password file in the place of the OpenID provider, which cannot run here.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.contract.test_single_sign_on import how_to
from tests.support.fronts import two_ports
from tests.support.hub import outside
from tests.support.process import ServerProcess, accepts
from tests.support.proxy_session import A1, RunningProxy, open_proxy
from tests.support.session_proxy import DOCUMENT, bearer

pytestmark = pytest.mark.long

_MODULES = (
    *("mpm_event", "unixd", "authn_core", "authn_file", "auth_basic", "authz_core", "authz_user"),
    *("headers", "proxy", "proxy_http", "proxy_wstunnel"),
)
_PLACES = (Path("/usr/lib/apache2/modules"), Path("/usr/lib64/httpd/modules"))
_PEOPLE = "alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nbob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"
"""Their password is ``secret``."""

_SIGN_IN = """AuthType Basic
AuthName course
AuthBasicProvider file
AuthUserFile {people}"""


def configuration(place: Path, port: int, hub_port: int) -> str:
    """The how-to's block on a port of this test."""
    block = how_to("apache", "AuthType openid-connect")
    for pattern, instead in (
        (r"<VirtualHost \*:443>", f"<VirtualHost 127.0.0.1:{port}>"),
        (r"(?m)^ *(SSL|OIDC).*$", ""),
        (r"AuthType openid-connect", _SIGN_IN.format(people=place / "people")),
        (r"127\.0\.0\.1:8080", f"127.0.0.1:{hub_port}"),
        (r"X-Forwarded-Proto https", "X-Forwarded-Proto http"),
    ):
        block, count = re.subn(pattern, instead, block)
        assert count, pattern
    modules = next(each for each in _PLACES if each.is_dir())
    # What is built in says so and is passed over.
    loads = [
        f"LoadModule {name}_module {modules}/mod_{name}.so"
        for name in _MODULES
        if (modules / f"mod_{name}.so").exists()
    ]
    head = [
        f"ServerRoot {place}",
        f"PidFile {place}/pid",
        f"DefaultRuntimeDir {place}",
        "ServerName hub.example.org",
        "ErrorLog /dev/stderr",
        "User www-data\nGroup www-data" if os.geteuid() == 0 else "",
        f"Listen 127.0.0.1:{port}",
    ]
    return "\n".join([*loads, *head, block])


@contextmanager
def apache(place: Path, port: int, hub_port: int) -> Iterator[ServerProcess]:
    """Run Apache with it."""
    place.mkdir(mode=0o755)
    (place / "people").write_text(_PEOPLE)
    (place / "people").chmod(0o644)
    (place / "site.conf").write_text(configuration(place, port, hub_port))
    server = ServerProcess("apache2", place / "log")
    try:
        command = ["/usr/sbin/apache2", "-DFOREGROUND", "-f", str(place / "site.conf")]
        server.launch(command, outside(), place)
        server.wait_until(lambda: accepts(port), 20)
        yield server
    finally:
        server.stop()


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    for above in (tmp_path, *tmp_path.parents[:3]):
        above.chmod(above.stat().st_mode | 0o011)
    port, hub_port = two_ports()
    with apache(tmp_path / "front", port, hub_port):
        async with open_proxy(port=hub_port, url=f"http://127.0.0.1:{port}") as opened:
            yield opened


async def test_b51_who_signed_in_there_is_signed_in_here(proxied: RunningProxy) -> None:
    """B51: the front names alice; her session's page needs no sign-in, and a socket opens."""
    alice = httpx.BasicAuth("alice", "secret")
    page = await proxied.http.get(A1 + "/", headers=DOCUMENT, auth=alice)
    assert page.status_code == 200, page.text
    base = re.search(r'src="(/s/[\w-]+/)"', page.text)
    assert base
    proxied.http.cookies.clear()
    said = await proxied.http.get(base[1] + "x", headers={"Origin": "null"})
    assert said.json()["path"] == A1 + "/x"
    odd = await proxied.http.get(base[1] + "a%2Fb%20c?d=%2F", headers={"Origin": "null"})
    assert odd.json()["path"] == A1 + "/a%2Fb%20c", "as the browser sent it"
    url = str(proxied.http.base_url).replace("http", "ws", 1).rstrip("/") + base[1] + "ws"
    async with connect(url, origin="null", proxy=None) as line:  # type: ignore[arg-type]
        await line.send("ping")
        assert await line.recv() is not None
    bob = httpx.BasicAuth("bob", "secret")
    assert (await proxied.http.get(A1 + "/", headers=DOCUMENT, auth=bob)).status_code == 403


async def test_nobody_comes_in_by_a_header_of_their_own(proxied: RunningProxy) -> None:
    """security.md, "Who is asking": a front that passes on a client's own header lets anyone in."""
    forged = {"X-Remote-User": "alice", "x-remote-user": "alice"}
    for path in (A1 + "/health", "/assignments", "/S/../assignments"):
        assert (await proxied.http.get(path, headers=forged)).status_code in (401, 403, 404)
    # Without a sign-in, the header is not trusted either.
    assert (await proxied.http.get("/s/x/../../assignments", headers=forged)).status_code >= 400
    named = await proxied.http.get("/s/" + "x" * 32 + "/health", headers=forged)
    assert named.status_code >= 400
    assert not proxied.upstream.seen


async def test_a_program_comes_in_by_its_token_alone(proxied: RunningProxy) -> None:
    """It acts as the token's owner, whatever name it sends.

    Without a token the front asks for a sign-in.
    """
    headers = {**bearer("alice"), "X-Remote-User": "bob"}
    own = await proxied.http.get(A1 + "/health", headers=headers)
    assert own.status_code == 200, own.text
    for wrong in ({"Authorization": "bearer alice:0"}, bearer("bob")):
        answer = await proxied.http.get(A1 + "/health", headers={**wrong, "X-Remote-User": "alice"})
        assert answer.status_code in (401, 403)
        assert "basic" not in answer.headers.get("www-authenticate", "").lower(), "the hub's answer"
        assert "set-cookie" not in answer.headers
    asked = await proxied.http.get(A1 + "/health", headers={"X-Remote-User": "alice"})
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic")
