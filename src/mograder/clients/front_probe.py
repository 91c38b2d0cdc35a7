"""Probe how a web server in front of a hub handles requests (`hub check --url`).

If a front passes on a client's own ``X-Remote-User``, any client can sign in as any user. Only a
request through the front itself shows this (security.md). Both probes raise
:class:`~mograder.core.errors.InvalidInput` for an address that is not valid, and
:class:`~mograder.core.errors.RemoteFailed` if the hub cannot be reached or its certificate is not
accepted.
"""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal

import httpx
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from mograder.clients.http import Server, make_client
from mograder.clients.server_url import parse_hub_url
from mograder.core.errors import NotFound
from mograder.core.systemd import WAITS_ANSWER
from mograder.core.web_origin import is_loopback

_LIST = "assignments"
"""The hub answers this only to a signed-in user (compatibility-0.3.16.md 2.3)."""
_SECONDS, _SHORT_SECONDS = 20.0, 3.0
_PASSED = 0
"""No status: the handshake itself was answered."""


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    policy: str
    nosniff: bool
    location: str


@dataclass(frozen=True, slots=True)
class FrontSeen:
    """The answers: ``own`` to a request for a page of the hub, ``session`` to one below ``/s/``.

    ``websocket`` is the status with which a WebSocket was refused, ``websocket_trouble`` the error
    if there was no such answer.
    """

    origin: str
    static: str
    own: Answered
    session: Answered
    websocket: int
    websocket_trouble: str = ""


def look_at_front(
    url: str,
    *,
    transport: httpx.BaseTransport | None = None,
    trust: ssl.SSLContext | None = None,
) -> FrontSeen:
    """Request a page, a session path and a WebSocket (whose TLS is ``trust``) there."""
    base = parse_hub_url(url, insecure=True)
    parsed = httpx.URL(base)
    origin = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
    hub = Server("the hub", base, "Check the address, and that the hub is running.")
    with hub.errors(), make_client(base, read=_SECONDS, transport=transport) as client:
        own = _answered(client.get(f"{base}/health"))
        session = _answered(client.get(f"{base}/s/{secrets.token_urlsafe(24)}/health"))
    status, trouble = _try_websocket(base, trust)
    return FrontSeen(origin, f"{base}/static/", own, session, status, trouble)


def hub_at(url: str) -> Literal["", "at work", "waits"]:
    """Return what a hub at an address of this machine does, "" if none answers there."""
    try:
        with make_client(url, read=_SHORT_SECONDS) as client:
            answer = client.get(f"{url}/health")
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and answer.text == WAITS_ANSWER:
            return "waits"
        well = answer.status_code == httpx.codes.OK and answer.json() == {"status": "ok"}
        return "at work" if well else ""
    except (httpx.HTTPError, ValueError):
        return ""


def _answered(response: httpx.Response) -> Answered:
    headers = response.headers
    return Answered(
        status=response.status_code,
        policy=headers.get("content-security-policy", ""),
        nosniff=headers.get("x-content-type-options", "").lower() == "nosniff",
        location=headers.get("location", "")[:200],
    )


def _try_websocket(base: str, trust: ssl.SSLContext | None) -> tuple[int, str]:
    """Request a WebSocket at /health, which has none, so the hub refuses if the request reaches it.

    A front that drops the upgrade gets the normal page at /health.
    """
    address = "ws" + base.removeprefix("http") + "/health"
    proxy: Literal[True] | None = None if is_loopback(httpx.URL(base).host) else True
    try:
        secured = trust if address.startswith("wss:") else None
        with connect(
            address, ssl=secured, open_timeout=_SECONDS, close_timeout=_SECONDS, proxy=proxy
        ):
            return _PASSED, ""
    except InvalidStatus as error:
        return error.response.status_code, ""
    except (InvalidHandshake, WebSocketException, OSError, TimeoutError) as error:
        return _PASSED, str(error) or type(error).__name__


class Spoof(Enum):
    """Whether the hub believed the header."""

    REFUSED = auto()
    BELIEVED = auto()
    OPEN = auto()
    """The hub accepts all requests, with or without the header."""


def try_spoof(
    url: str, header: str, user: str, *, transport: httpx.BaseTransport | None = None
) -> Spoof:
    """Send a request without the header and one with ``user`` in it, and compare the answers.

    A hub refuses a known user who is not on the course's list with a page, and a client without a
    name with plain text; so a page means that the header was believed.
    """
    base = parse_hub_url(url, insecure=True)
    hub = Server("the hub", base, "Check the address, and that the hub is running.")
    with hub.errors(), make_client(base, read=_SECONDS, transport=transport) as client:
        answer = client.get(f"{base}/health")
        redirected = answer.is_redirect or answer.status_code in (401, 403)
        if answer.status_code != httpx.codes.OK and not redirected:
            raise NotFound(
                f"There is no hub at {base}: it answered {answer.status_code}.",
                hint="Give the address that browsers use, with the path prefix if there is one.",
            )
        anonymous = client.get(f"{base}/{_LIST}")
        named = client.get(f"{base}/{_LIST}", headers={header.encode(): user.encode()})
    if anonymous.status_code == httpx.codes.OK:
        return Spoof.OPEN
    if named.status_code == httpx.codes.OK:
        return Spoof.BELIEVED
    page = named.status_code == httpx.codes.FORBIDDEN and _form(named) != _form(anonymous)
    return Spoof.BELIEVED if page else Spoof.REFUSED


def _form(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("content-type", "").partition(";")[0]
