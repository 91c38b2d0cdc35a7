"""Headers and access through the proxy, with a real session behind it.

security.md, "The session's server is theirs too", "Who is asking"; B78, B123-B125, B130, B134. The
same over a recording server, header by header, is in ``tests/contract/test_proxy.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import (
    SECRET,
    bearer,
    from_proxy,
    instructor,
    student,
    token,
)
from tests.support.marimo import Address, open_editor
from tests.support.shared_hub import TINY, SharedCaches, editor, module_hub, notebook, start

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

MIRROR = "M1-Mirror"
REFLECT = """\
import json
import marimo as mo
request = mo.app_meta().request
seen = {"headers": dict(request.headers), "cookies": dict(request.cookies)}
seen["url"] = str(request.url)
"SEEN" + json.dumps(seen).encode().hex()"""
POLICY = (
    "sandbox allow-scripts allow-forms allow-modals allow-popups "
    "allow-popups-to-escape-sandbox allow-downloads"
)
NAVIGATION = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}
EVIL = "https://evil.example"


@pytest.fixture(scope="module")
def shared(uv_cache: Path, run_directory: Path) -> SharedCaches:
    return SharedCaches(uv_cache, run_directory)


@pytest.fixture(scope="module")
def hub(shared_hub: HubProcess) -> HubProcess:
    put_release(shared_hub.course, MIRROR, notebook(REFLECT), "lecture")
    return shared_hub


@pytest.fixture(scope="module")
def wary(shared: SharedCaches) -> Iterator[HubProcess]:
    """A hub that trusts no proxy at all."""
    settings = {"hub.trusted_proxies": [], "hub.instructors": ["prof"]}
    with module_hub("proxy-hygiene-wary", shared, settings=settings) as hub:
        yield hub


@pytest.fixture
def alice(hub: HubProcess, fresh_name: Callable[[str], str]) -> str:
    """A student with a running editor."""
    name = fresh_name("alice")
    start(hub, name)
    return name


def capability(hub: HubProcess, user: str) -> str:
    """The capability path that a browser's document is based on."""
    with hub.client({**from_proxy(user), **NAVIGATION}) as client:
        page = client.get(f"/edit/user/{user}/{TINY}/").text
    return page.partition("<iframe ")[2].partition(' src="')[2].partition('"')[0]


def sign_in(client: httpx.Client, user: str) -> None:
    """Get the login cookie by pasting a token, as a person without SSO does."""
    answer = client.post("/login", data={"token": token(user), "next": ""})
    assert answer.status_code in {200, 303}, answer.text
    assert "mograder_session" in client.cookies


async def connect_websocket(url: str, headers: Mapping[str, str], origin: str = "") -> int:
    """The status with which a WebSocket is refused; 101 when it opens."""
    try:
        async with connect(
            re.sub("^http", "ws", url),
            additional_headers=dict(headers),
            origin=websockets.Origin(origin) if origin else None,
            proxy=None,
        ):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


async def mirrored(address: Address) -> dict[str, Any]:
    """Return the request that a lecture's own code can read."""
    async with open_editor(address, run=False) as page:
        await page.until(lambda: "SEEN" in str(page.progress.outputs))
        found = re.search(r"SEEN([0-9a-f]+)", str(page.progress.outputs))
    assert found is not None
    seen: dict[str, Any] = json.loads(bytes.fromhex(found[1]))
    return seen


async def test_a_notebook_reads_no_credential_of_the_hubs_in_its_request(
    hub: HubProcess, fresh_name: Callable[[str], str]
) -> None:
    eve = fresh_name("eve")
    with hub.client(from_proxy(eve)) as client:
        client.post(f"/start-run/{MIRROR}").raise_for_status()
        login = client.cookies["mograder_session"]
    sent = {
        **student(eve),
        **from_proxy(eve),
        "Cookie": f"mograder_session={login}; other=1",
        "X-Remote-Groups": "staff",
        "X-Forwarded-For": "10.1.2.3",
        "X-Forwarded-Host": "uni.example",
        "Forwarded": "for=10.1.2.3",
        "Proxy-Authorization": "Basic eA==",
        "Referer": f"{hub.url}/",
        "X-Whatever": "1",
    }
    seen = await mirrored(Address(base_url=f"{hub.url}/run/user/{eve}/{MIRROR}", headers=sent))
    websocket = {"upgrade", "connection", "sec-websocket-version", "sec-websocket-key"}
    assert set(seen["headers"]) <= websocket | {
        "host",
        "accept",
        "accept-encoding",
        "user-agent",
        "sec-websocket-extensions",
    }
    assert seen["headers"]["host"] == "session.invalid"
    assert seen["cookies"] == {}
    told = json.dumps(seen)
    for secret in (SECRET, login, token(eve), "10.1.2.3", "uni.example", str(hub.port)):
        assert secret not in told


def test_every_answer_of_a_session_is_fenced_in_errors_too(hub: HubProcess, alice: str) -> None:
    base, cap = f"/edit/user/{alice}/{TINY}", capability(hub, alice)
    asked: list[tuple[str, str, dict[str, str], int]] = [
        ("GET", f"{base}/", student(alice), 200),
        ("GET", f"{base}/health", student(alice), 200),
        ("GET", f"{base}/no-such-file.js", student(alice), 404),
        ("POST", f"{base}/api/kernel/save", student(alice), 401),
        ("GET", cap, {"Sec-Fetch-Dest": "iframe"}, 200),
        ("GET", base, student(alice), 307),
        ("GET", f"{base}/", student("mallory"), 403),
        ("GET", f"{base}/", {}, 403),
        ("GET", f"/edit/user/{alice}/Nothing/", student(alice), 404),
        ("GET", f"/run/user/{alice}/Nothing/", student(alice), 404),
        ("GET", f"/edit/user/{alice}/..%2fx/", student(alice), 400),
        ("GET", f"{cap}health", {}, 200),
        ("GET", f"{cap}no-such-file.js", {}, 404),
        ("OPTIONS", f"{cap}health", {}, 204),
        ("GET", "/s/" + "A" * 32 + "/", {}, 404),
    ]
    with hub.client() as client:
        for method, path, headers, status in asked:
            answer = client.request(method, path, headers=headers)
            client.cookies.clear()
            assert answer.status_code == status, (method, path, answer.text)
            _is_fenced(answer, shared=path.startswith("/s/"))
        bar = client.get(f"{base}/", headers={**from_proxy(alice), **NAVIGATION})
    (policy,) = bar.headers.get_list("content-security-policy")
    assert policy.startswith("default-src 'none'; script-src http"), "the hub's own page is closed"
    assert re.search(rf"; frame-src {re.escape(hub.url)}/s/[\w-]{{32}}/\Z", policy)


def _is_fenced(answer: httpx.Response, *, shared: bool) -> None:
    headers = answer.headers
    fence, *more = headers.get_list("content-security-policy")
    assert fence == POLICY
    assert all(each.startswith("frame-ancestors ") for each in more)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers.get("access-control-allow-origin") == ("*" if shared else None)
    assert "access-control-allow-credentials" not in headers
    for never in ("server", "strict-transport-security", "clear-site-data", "x-accel-redirect"):
        assert never not in headers
    cookies = headers.get_list("set-cookie")
    assert all(re.match(r"mograder_session=.*; HttpOnly; SameSite=Lax", each) for each in cookies)
    assert not (shared and cookies)


async def test_a_fellow_student_reaches_nothing_of_a_session(hub: HubProcess, alice: str) -> None:
    base = f"/edit/user/{alice}/{TINY}"
    for who in (student("mallory"), from_proxy("mallory")):
        with hub.client(who) as client:
            for method, path in (
                ("GET", "/"),
                ("GET", "/health"),
                ("POST", "/api/kernel/execute"),
                ("POST", "/api/kernel/save"),
                ("DELETE", "/anything"),
            ):
                answer = client.request(method, base + path)
                assert (answer.status_code, answer.text) == (403, "403 Forbidden")
        assert await connect_websocket(f"{hub.url}{base}/ws?session_id=s_aaaaaa", who) == 403
        with hub.client(who) as client:
            for door in ("start-edit", "stop-edit"):
                refused = client.post(f"/{door}/{alice}/{TINY}")
                assert refused.status_code == 403
                assert refused.json()["detail"] == "Cannot access another user's resources"
    with hub.client(instructor()) as client:
        assert client.get(f"{base}/health").status_code == 200
    assert await connect_websocket(f"{hub.url}{base}/ws?session_id=s_aaaaaa", student(alice)) == 101


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1"])
async def test_another_origin_changes_nothing_and_opens_no_socket(
    hub: HubProcess, alice: str, origin: str
) -> None:
    """``null`` is the origin of every session page, so it is never ours outside ``/s/``."""
    base = f"/edit/user/{alice}/{TINY}"
    with hub.client() as client:
        sign_in(client, alice)
        cookie = {"Cookie": f"mograder_session={client.cookies['mograder_session']}"}
        for path in (
            f"/start-edit-deep/{TINY}",
            f"/stop-edit/{alice}/{TINY}",
            f"/publish/{TINY}",
            "/logout",
            f"{base}/api/kernel/execute",
        ):
            answer = client.post(path, headers={"Origin": origin})
            assert answer.status_code == 403, path
        assert client.get(f"{base}/", headers={"Origin": origin}).status_code == 403
        assert [row["assignment"] for row in client.get("/sessions").json()] == [TINY]
        own = client.post(f"/start-edit-deep/{TINY}", headers={"Origin": hub.url})
        assert own.status_code == 200, "our own pages may"
    for who in (cookie, from_proxy(alice)):
        assert (
            await connect_websocket(f"{hub.url}{base}/ws?session_id=s_aaaaaa", who, origin) == 403
        )
    # Programs with a token are no browsers: nothing can make them send it.
    with hub.client({**student(alice), "Origin": origin}) as program:
        assert program.get("/sessions").status_code == 200


async def test_under_a_capability_the_opaque_origin_alone_opens_a_socket(
    hub: HubProcess, alice: str
) -> None:
    socket = f"{hub.url}{capability(hub, alice)}ws?session_id=s_bbbbbb"
    assert await connect_websocket(socket, {}, EVIL) == 403
    assert await connect_websocket(socket, {}, "null") == 101
    stranger = socket.replace("/s/", "/s/x")
    assert await connect_websocket(stranger, {}, "null") == 403


def test_a_name_from_a_peer_that_is_not_trusted_is_nobodys(wary: HubProcess) -> None:
    start(wary, "alice")
    for name in ("alice", "prof", "__instructor__"):
        with wary.client(from_proxy(name)) as client:
            for method, path in (
                ("GET", "/assignments"),
                ("GET", "/sessions"),
                ("POST", f"/start-edit-deep/{TINY}"),
                ("POST", f"/publish/{TINY}"),
                ("GET", f"/edit/user/alice/{TINY}/"),
                ("POST", f"/edit/user/alice/{TINY}/api/kernel/execute"),
            ):
                answer = client.request(method, path)
                assert (answer.status_code, answer.text) == (403, "403 Forbidden"), path
            assert "mograder_session" not in client.cookies
    with wary.client({**from_proxy("prof"), **student("alice")}) as client:
        rows = client.get("/sessions").json()
        assert {row["username"] for row in rows} == {"alice"}, "the token decides, not the header"


async def test_a_socket_with_a_name_from_a_peer_that_is_not_trusted_is_refused(
    wary: HubProcess,
) -> None:
    start(wary, "alice")
    socket = f"{wary.url}/edit/user/alice/{TINY}/ws?session_id=s_cccccc"
    assert await connect_websocket(socket, from_proxy("alice")) == 403
    assert await connect_websocket(socket, from_proxy("prof")) == 403
    assert await connect_websocket(socket, student("alice")) == 101


def test_reserved_names_never_come_by_header(hub: HubProcess, alice: str) -> None:
    for name in ("__instructor__", "../alice", ".alice", "a/b", ""):
        with hub.client({"X-Remote-User": name}) as client:
            answer = client.get("/sessions")
        assert answer.status_code in {400, 403}, name
        assert "mograder_session" not in answer.cookies


def test_what_a_stranger_says_about_the_front_is_not_believed(wary: HubProcess) -> None:
    start(wary, "alice")
    claims = {
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "127.0.0.1",
    }
    with wary.client(claims) as client:
        signed = client.post("/login", data={"token": token("alice"), "next": ""})
        assert signed.headers["location"] == "/"
        assert "Secure" not in signed.headers["set-cookie"]
        assert "Path=/;" in signed.headers["set-cookie"]
        slash = client.get(f"/edit/user/alice/{TINY}")
        assert slash.headers["location"] == f"/edit/user/alice/{TINY}/"
        page = client.get(f"/edit/user/alice/{TINY}/", headers=NAVIGATION)
        assert ' src="/s/' in page.text
        for origin in ("https://evil.example", "http://evil.example"):
            answer = client.post(f"/start-edit-deep/{TINY}", headers={"Origin": origin})
            assert answer.status_code == 403
        assert client.get("/sessions", headers={"Forwarded": "for=[::1]"}).status_code == 200
        wrong = bearer("alice:" + "0" * 64)
        assert client.get("/assignments", headers=wrong).status_code == 403, "no cookie beside it"


async def test_a_bearer_that_is_wrong_opens_nothing_whatever_else_comes_with_it(
    hub: HubProcess, alice: str
) -> None:
    forged = [token(alice, "guess"), f"{alice}:", "x" * 5000, token("__instructor__", "guess")]
    with hub.client() as client:
        sign_in(client, alice)
        assert client.get(f"/edit/user/{alice}/{TINY}/health").status_code == 200
        for text in forged:
            answer = client.get(f"/edit/user/{alice}/{TINY}/health", headers=bearer(text))
            assert (answer.status_code, answer.text) == (403, "403 Forbidden"), text[:40]
    socket = editor(hub, alice).base_url + "/ws?session_id=s_dddddd"
    assert await connect_websocket(socket, bearer(forged[0])) == 403
