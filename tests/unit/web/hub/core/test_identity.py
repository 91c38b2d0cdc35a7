"""From a scope to an identity, and the cookie that a fresh login takes home."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.types import Scope

from mograder.auth.identity import Method
from mograder.web.context import RequestContext
from mograder.web.hub.core.access import identify, login_headers
from tests.support.hub_app import ORIGIN, SECRET, Hub
from tests.support.session_proxy import a_hub, bearer, cookie


def scope(headers: dict[str, str], *, scheme: str = "http", prefix: str = "") -> Scope:
    return {
        "type": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "mograder.context": RequestContext(
            prefix, scheme, "h", frozenset(), "127.0.0.1", "id", "/", b"/", known_host=True
        ),
    }


def test_the_cookie_that_counts_depends_on_scheme_and_prefix(tmp_path: Path) -> None:
    made, plain = a_hub(tmp_path).services.authenticator, cookie("alice")
    assert identify(scope(plain), made) is not None
    assert identify(scope(plain, scheme="https"), made) is None
    host = {"Cookie": plain["Cookie"].replace("mograder_session", "__Host-mograder_session")}
    assert identify(scope(host, scheme="https"), made) is not None
    assert identify(scope(host, scheme="https", prefix="/hub"), made) is None


@pytest.mark.parametrize(
    ("scheme", "prefix", "start", "end"),
    [
        ("http", "", "mograder_session=", "; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400"),
        ("http", "/hub", "mograder_session=", "; Path=/hub; HttpOnly; SameSite=Lax; Max-Age=86400"),
        ("https", "", "__Host-mograder_session=", "; Secure"),
        ("https", "/hub", "__Secure-mograder_session=", "; Secure"),
    ],
)
def test_a_login_by_header_gets_a_cookie_and_a_bearer_none(
    tmp_path: Path, scheme: str, prefix: str, start: str, end: str
) -> None:
    made = a_hub(tmp_path).services.authenticator
    came = scope({"X-Remote-User": "alice"}, scheme=scheme, prefix=prefix)
    identity = identify(came, made)
    assert identity is not None
    assert identity.method is Method.HEADER
    ((name, value),) = login_headers(identity, came["mograder.context"], SECRET)
    assert name == b"set-cookie"
    assert value.decode().startswith(start)
    assert value.decode().endswith(end)
    by_token = identify(scope(bearer("alice")), made)
    assert by_token is not None
    assert login_headers(by_token, came["mograder.context"], SECRET) == []
    assert login_headers(None, came["mograder.context"], SECRET) == []


TAB = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
PICTURE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 200),
        (TAB, 200),
        ({**PICTURE, "Sec-Fetch-Site": "same-origin"}, 200),
        ({**PICTURE, "Sec-Fetch-Site": "none"}, 200),
        ({"X-Remote-User": "", **PICTURE, **bearer("alice")}, 200),
        (PICTURE, 403),
        ({**PICTURE, "Sec-Fetch-Site": "same-site"}, 403),
        ({**TAB, "Sec-Fetch-Dest": "iframe"}, 403),
        ({**PICTURE, "Sec-Fetch-Dest": "empty", "Origin": "null"}, 403),
    ],
)
async def test_what_another_sites_page_loads_counts_as_nobodys_request(
    hub: Hub, sent: dict[str, str], status: int
) -> None:
    """A front that signs people in adds their name to all that their browser sends."""
    front = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    named = {"X-Remote-User": "alice", **sent}
    async with httpx.AsyncClient(transport=front, base_url=ORIGIN, headers=named) as client:
        answer = await client.get("/assignments")
        assert answer.status_code == status
        assert status == 200 or "set-cookie" not in answer.headers
        assert (await client.get("/health")).status_code == 200
    assert status == 200 or not hub.audit(), "nobody has signed in"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 403),
        # The mere presence of a bearer header exempts nothing: what counts is who it identified.
        ({"Authorization": "Bearer x"}, 403),
        ({"X-Remote-User": "", **bearer("alice")}, 200),
    ],
)
async def test_another_site_can_change_nothing_but_a_token_is_no_browsers(
    hub: Hub, sent: dict[str, str], status: int
) -> None:
    front = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    named = {"X-Remote-User": "alice", "Origin": "https://evil.example", **sent}
    async with httpx.AsyncClient(transport=front, base_url=ORIGIN, headers=named) as client:
        assert (await client.post("/download/A1")).status_code == status
