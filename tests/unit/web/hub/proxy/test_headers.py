"""Which headers pass, and where redirects lead; pure."""

from __future__ import annotations

import pytest
from starlette.types import Message, Scope

from mograder.sandbox.protocol import Mode
from mograder.web.hub.proxy.headers import (
    content_length,
    location_header,
    public_location,
    response_headers,
    session_headers,
    upstream_headers,
)
from tests.support.hub_app import Hub

BASE = "/edit/user/alice/A1"


def test_an_address_of_any_bytes_becomes_a_redirect() -> None:
    """A browser encodes them; a program may send what no header may have."""
    assert location_header("/edit/A1/?q=\xe9\r\n\x7f%C3") == (
        b"location",
        b"/edit/A1/?q=%E9%0D%0A%7F%C3",
    )


async def test_a_query_that_is_not_ascii_is_redirected_as_any_other(hub: Hub) -> None:
    hub.start("alice", "L01", Mode.RUN)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = {"host": "hub.test", "x-remote-user": "alice", "accept": "text/html"}
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": "/run/user/alice/L01/",
        "raw_path": b"/run/user/alice/L01/",
        "query_string": b"q=\xe9",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 5000),
    }
    await hub.app(scope, receive, send)
    assert sent[0]["status"] == 303
    told = dict(sent[0]["headers"])
    assert told[b"location"] == b"/run/user/alice/L01/?show-code=true&q=%E9"


@pytest.mark.parametrize(
    ("location", "public"),
    [
        (f"http://session.invalid{BASE}/", "/hub/s/cap/"),
        (f"{BASE}/x?y#z", "/hub/s/cap/x?y#z"),
        (BASE, "/hub/s/cap"),
        ("next", "next"),
        ("?a=b", "?a=b"),
        ("a..b/.c/...", "a..b/.c/..."),
        (f"{BASE}/x/../../../../revoke-token/alice", None),
        (f"http://session.invalid{BASE}/%2E%2e/x", None),
        ("../../../../revoke-token/alice", None),
        ("a/.%2e", None),
        ("./x", None),
        ("https://evil.example/", None),
        ("//evil.example/", None),
        ("/edit/user/bob/A1/", None),
        (f"{BASE}x/", None),
        ("\\\\evil.example", None),
        ("javascript:alert(1)", None),
        ("https:evil", None),
        ("http://[", None),
        ("/a\r\nset-cookie: x", None),
    ],
)
def test_redirects_become_the_hubs_own_or_nothing(location: str, public: str | None) -> None:
    assert public_location(location, BASE, "/hub/s/cap") == public


def test_a_redirect_may_encode_less_of_a_name_than_the_hub() -> None:
    base, less = "/edit/user/ann%40x.edu/1%20%26%202", "/edit/user/ann@x.edu/1%20&%202"
    assert public_location(f"{less}/", base, "/s/cap") == "/s/cap/"
    assert public_location("/edit%2Fuser/ann@x.edu/1 & 2/x", base, "/s/cap") is None


def test_what_connection_names_is_hop_by_hop() -> None:
    headers = [(b"connection", b"close, X-Odd"), (b"x-odd", b"1"), (b"x-kept", b"2")]
    assert response_headers(headers) == [(b"x-kept", b"2")]


def test_names_and_values_that_no_server_may_send_are_dropped() -> None:
    headers = [
        (b"x y", b"1"),
        (b"x-a", b"1\x00"),
        (b"x-b", b"a\r\nset-cookie: b"),
        (b"x-c", b"\xe9"),
    ]
    assert response_headers(headers) == [(b"x-c", b"\xe9")]


@pytest.mark.parametrize(
    ("headers", "status", "length"),
    [
        ([(b"content-length", b"5")], 200, 5),
        ([(b"content-length", b"5")], 304, None),
        ([(b"content-length", b"5"), (b"content-length", b"5")], 200, None),
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], 200, None),
        ([(b"content-length", b"+5")], 200, None),
        ([(b"content-length", b"9" * 30)], 200, None),
        ([], 200, None),
    ],
)
def test_a_length_is_told_only_when_it_is_certain(
    headers: list[tuple[bytes, bytes]], status: int, length: int | None
) -> None:
    assert content_length(headers, status) == length


def test_a_page_to_write_into_is_asked_for_whole_and_plain() -> None:
    headers = [(b"accept-encoding", b"br"), (b"range", b"bytes=0-"), (b"if-none-match", b'"1"')]
    assert dict(upstream_headers(headers, whole=True)) == {
        "Host": "session.invalid",
        "Accept-Encoding": "identity",
    }
    assert len(upstream_headers(headers, whole=False)) == 4


def test_the_policy_never_allows_the_hubs_own_origin() -> None:
    policy = dict(session_headers(sandbox=True, shared=False))[b"content-security-policy"]
    assert policy.startswith(b"sandbox allow-scripts")
    assert b"same-origin" not in policy
