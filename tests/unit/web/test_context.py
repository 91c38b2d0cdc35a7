"""The origin of a request, determined from uvicorn's scope."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from mograder.core.errors import InvalidInput
from mograder.core.web_origin import SessionUrl, session_url
from mograder.web.context import (
    ContextMiddleware,
    RequestContext,
    client_address,
    context_of,
    is_known_host,
)

Sent = list[MutableMapping[str, Any]]


class Probe:
    """An app that remembers its scope and answers 200."""

    def __init__(self) -> None:
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def pass_through(
    path: str,
    headers: dict[str, str] | list[tuple[bytes, bytes]] | None = None,
    *,
    client: str | None = "127.0.0.1",
    base_url: str = "",
    public_url: str = "",
    sessions: SessionUrl | None = None,
) -> tuple[RequestContext | None, Scope, Sent]:
    pairs = headers if isinstance(headers, list) else _pairs(headers or {})
    probe, sent = Probe(), Sent()
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": (client, 1) if client else None,
        "headers": pairs,
    }

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    middleware = ContextMiddleware(
        probe,
        base_url=base_url,
        public_url=public_url,
        sessions=sessions,
        trusts=lambda peer: peer == "127.0.0.1",
    )
    await middleware(scope, receive, send)
    return (context_of(probe.scope) if probe.scope else None), probe.scope, sent


def _pairs(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    base = {"host": "hub.example"} | headers
    return [(name.lower().encode(), value.encode()) for name, value in base.items()]


async def seen(path: str, headers: dict[str, str] | None = None, **options: Any) -> RequestContext:
    context, _, _ = await pass_through(path, headers, **options)
    assert context is not None
    return context


async def test_a_plain_request_is_what_it_says() -> None:
    context = await seen("/a%20b")
    assert (context.prefix, context.scheme, context.host) == ("", "http", "hub.example")
    assert context.own_origins == {"http://hub.example"}
    assert (context.path, context.raw_path, context.client) == ("/a b", b"/a%20b", "127.0.0.1")
    assert not context.secure


@pytest.mark.parametrize("path", ["/live/hub/x", "/x"])
async def test_the_prefix_works_whether_or_not_the_front_strips_it(path: str) -> None:
    context, scope, _ = await pass_through(path, base_url="/live/hub/")
    assert context is not None
    assert (context.prefix, context.path) == ("/live/hub", "/x")
    assert (scope["root_path"], scope["path"]) == ("/live/hub", "/live/hub/x")
    assert scope["raw_path"] == b"/live/hub/x"


async def test_only_a_trusted_peer_names_prefix_scheme_and_host() -> None:
    told = {
        "X-Forwarded-Prefix": "/live/hub",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "Uni.Example:443",
    }
    trusted = await seen("/x", told)
    stranger = await seen("/x", told, client="10.1.2.3")
    on_socket = await seen("/x", told, client=None)
    assert (trusted.prefix, trusted.secure) == ("/live/hub", True)
    assert trusted.own_origins == {"https://uni.example"}
    for context in (stranger, on_socket):
        assert (context.prefix, context.secure, context.host) == ("", False, "hub.example")


async def test_the_configured_addresses_win_over_what_a_front_says() -> None:
    told = {"X-Forwarded-Prefix": "/other", "X-Forwarded-Host": "evil.example"}
    context = await seen("/x", told, base_url="/hub", public_url="https://hub.example/")
    assert context.prefix == "/hub"
    assert context.own_origins == {"https://hub.example"}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Prefix": "/a/../b"},
        {"X-Forwarded-Prefix": '/a"><script>'},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Proto": "gopher"},
        {"X-Forwarded-Host": "evil example"},
        {"Host": "a/b"},
        [(b"host", b"a"), (b"host", b"b")],
        [(b"host", b"a"), (b"x-forwarded-proto", b"http"), (b"x-forwarded-proto", b"https")],
    ],
)
async def test_malformed_or_repeated_headers_are_refused(headers: Any) -> None:
    context, _, sent = await pass_through("/x", headers)
    assert context is None
    assert sent[0]["status"] == 400


async def test_too_many_headers_are_refused() -> None:
    big = [(b"x", b"y" * 70_000)]
    many = [(b"x", b"y")] * 300
    for headers in (big, many):
        _, _, sent = await pass_through("/x", headers)
        assert sent[0]["status"] == 431


@pytest.mark.parametrize(
    ("host", "cleared"), [(f"{'a' * 32}.example.net", True), ("hub.example.org", False)]
)
async def test_too_many_cookies_at_a_sessions_own_host_are_cleared(
    host: str, cleared: bool
) -> None:
    """A notebook can set them for all sessions' hosts, and no other one would open any more."""
    public = "https://hub.example.org"
    sessions = session_url("https://{session}.example.net", public)
    headers = {"host": host, "cookie": "a" * 70_000}
    _, _, sent = await pass_through("/x", headers, public_url=public, sessions=sessions)
    assert sent[0]["status"] == 431
    assert ((b"clear-site-data", b'"cookies"') in sent[0]["headers"]) is cleared


async def test_the_answer_tells_its_request_id_and_a_fronts_own_is_kept() -> None:
    _, _, sent = await pass_through("/x", {"X-Request-Id": "abc-1"})
    assert (b"x-request-id", b"abc-1") in sent[0]["headers"]
    _, _, sent = await pass_through("/x", {"X-Request-Id": "a b\t"})
    (made,) = [value for name, value in sent[0]["headers"] if name == b"x-request-id"]
    assert len(made) == 16


async def test_the_access_log_tells_no_capability_and_no_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "mograder.access"):
        await pass_through("/s/" + "a" * 32 + "/api/x")
        await pass_through("/edit/A1")
        await pass_through("/lti/register/" + "a" * 43)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "INFO", "INFO"]
    assert "aaaa" not in caplog.text
    assert "GET /s/***/api/x 200" in caplog.text
    assert "GET /lti/register/*** 200" in caplog.text


async def test_the_access_log_tells_only_the_beginning_of_a_long_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "mograder.access"):
        await pass_through("/static/x/" + "a" * 64_000)
    assert "GET /static/x/aaa" in caplog.text
    assert len(caplog.text) < 1000


@pytest.mark.parametrize(
    ("base_url", "public_url"),
    [
        *(("live", ""), ("/a b", ""), ("/../x", ""), ("/" + "a" * 300, "")),
        *(("", "hub.example"), ("", "ftp://hub"), ("", "https://a/b c"), ("", "https://u@h")),
    ],
)
def test_a_malformed_address_is_refused_at_start(base_url: str, public_url: str) -> None:
    with pytest.raises(InvalidInput):
        ContextMiddleware(Probe(), base_url=base_url, public_url=public_url, trusts=lambda _: False)


PUBLIC = "hub.example.org"
SESSIONS = session_url("https://{session}.example.net", f"https://{PUBLIC}")


@pytest.mark.parametrize(
    ("host", "configured", "unconfigured"),
    [
        # This machine, addresses and names that nobody can register.
        ("127.0.0.1:8080", True, True),
        ("[::1]:8080", True, True),
        ("localhost:8080", True, True),
        ("abc.localhost", True, True),
        ("10.0.0.7", True, True),
        ("hub:8080", True, True),
        ("hub-1.internal:8080", True, True),
        ("lab-pc.local:8080", True, True),
        ("", True, True),
        # The public name and the sessions' names; without a port a front has been sent them.
        ("hub.example.org", True, True),
        ("HUB.example.org.:8443", True, False),
        ("abc.example.net", True, True),
        # A page that leads its own name here names the port of the hub.
        ("evil.example:8080", False, False),
        ("evil.example:9000", False, False),
        ("127.0.0.1.evil.example:8080", False, False),
        ("localhost.evil.example:8080", False, False),
        ("evil.example", False, True),
    ],
)
def test_the_names_that_no_page_of_another_site_can_have(
    host: str, configured: bool, unconfigured: bool
) -> None:
    assert is_known_host(host, 8080, PUBLIC, SESSIONS) is configured
    assert is_known_host(host, 8080) is unconfigured


def test_on_port_80_a_name_may_be_any_sites() -> None:
    assert not is_known_host("evil.example", 80)
    assert is_known_host("evil.example", 80, "evil.example")
    assert is_known_host("localhost", 80)


async def test_a_hub_with_a_public_name_answers_under_no_other() -> None:
    public = "https://hub.example.org"
    _, _, sent = await pass_through("/x", {"host": "evil.example:8080"}, public_url=public)
    assert sent[0]["status"] == 421
    assert b"https://hub.example.org" in sent[1]["body"]
    forged = {"host": "evil.example:8080", "X-Forwarded-Host": "hub.example.org"}
    _, _, sent = await pass_through("/x", forged, public_url=public)
    assert sent[0]["status"] == 421
    for path in ("/health", "/ready"):
        context = await seen(path, {"host": "evil.example:8080"}, public_url=public)
        assert not context.known_host
    token = {"host": "hub.physics.example:8080", "Authorization": "Bearer abc"}
    context = await seen("/publish/A1", token, public_url=public)
    assert not context.known_host  # so that the trusted header does not count


@pytest.mark.parametrize(
    ("headers", "peer", "address"),
    [
        ({}, "127.0.0.1", "127.0.0.1"),
        ({"x-forwarded-for": "192.0.2.7"}, "127.0.0.1", "192.0.2.7"),
        ({"x-real-ip": "192.0.2.7"}, "127.0.0.1", "192.0.2.7"),
        ({"x-forwarded-for": "2001:db8::7"}, "127.0.0.1", "2001:db8::7"),
        ({"x-forwarded-for": "[2001:db8::7]:443, 127.0.0.1"}, "127.0.0.1", "2001:db8::7"),
        ({"x-forwarded-for": "192.0.2.7:5000"}, "127.0.0.1", "192.0.2.7"),
        # What the client itself sent stands before what the fronts added.
        ({"x-forwarded-for": "203.0.113.9, 192.0.2.7, 127.0.0.2"}, "127.0.0.1", "192.0.2.7"),
        ({"x-forwarded-for": "203.0.113.9, nonsense"}, "127.0.0.1", "127.0.0.1"),
        ({"x-forwarded-for": "fe80::1%<b>"}, "127.0.0.1", "127.0.0.1"),
        # One of them is the client's own.
        ({"x-forwarded-for": "203.0.113.9", "x-real-ip": "192.0.2.7"}, "127.0.0.1", "127.0.0.1"),
        ({"x-forwarded-for": "192.0.2.7", "x-real-ip": "192.0.2.7"}, "127.0.0.1", "192.0.2.7"),
        ({"x-forwarded-for": "192.0.2.7", "x-real-ip": "127.0.0.2"}, "127.0.0.1", "192.0.2.7"),
        ({"x-forwarded-for": "203.0.113.9"}, "192.0.2.7", "192.0.2.7"),
        ({"x-forwarded-for": "203.0.113.9"}, None, ""),
    ],
)
def test_the_clients_address_is_what_a_trusted_front_reports(
    headers: dict[str, str], peer: str | None, address: str
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    trusted = {"127.0.0.1", "127.0.0.2"}
    assert client_address(raw, peer, lambda each: each in trusted) == address
