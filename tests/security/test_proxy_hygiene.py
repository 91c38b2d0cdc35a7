"""A real notebook reads no secret of a request, and each answer of a session is fenced.

security.md, "The session's server is theirs too"; B78. Who is admitted, and the same over a
recording server, header by header, is in ``tests/contract/test_proxy.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import (
    SECRET,
    from_proxy,
    student,
    token,
)
from tests.support.marimo import Address, open_editor
from tests.support.session_proxy import POLICY
from tests.support.shared_hub import TINY, notebook, start

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

MIRROR = "M1-Mirror"
REFLECT = """\
import json
import marimo as mo
request = mo.app_meta().request
seen = {"headers": dict(request.headers), "cookies": dict(request.cookies)}
seen["url"] = str(request.url)
"SEEN" + json.dumps(seen).encode().hex()"""
NAVIGATION = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


@pytest.fixture(scope="module")
def hub(shared_hub: HubProcess) -> HubProcess:
    put_release(shared_hub.course, MIRROR, notebook(REFLECT), "lecture")
    return shared_hub


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
