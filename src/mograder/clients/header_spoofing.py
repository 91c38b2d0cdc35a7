"""Test whether a forged header lets a client into a hub at its public address (security.md).

If a front passes on a client's own ``X-Remote-User``, any client can sign in as any user. Only a
request through the front itself shows this.
"""

from __future__ import annotations

from enum import Enum, auto

import httpx

from mograder.clients.http import Server, make_client
from mograder.clients.server_url import parse_hub_url
from mograder.core.errors import NotFound

_SECONDS = 20.0
_LIST = "assignments"
"""The hub answers this only to a signed-in user (compatibility-0.3.16.md 2.3)."""


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

    Raises:
        InvalidInput: The URL is not valid.
        NotFound: There is no hub at that address.
        RemoteFailed: The hub cannot be reached.
    """
    base = parse_hub_url(url, insecure=True)
    hub = Server("the hub", base, "Check the address, and that the hub is running.")
    with hub.errors(), make_client(base, read=_SECONDS, transport=transport) as client:
        _demand_hub(client, base)
        anonymous = client.get(f"{base}/{_LIST}")
        named = client.get(f"{base}/{_LIST}", headers={header: user})
    if anonymous.status_code == httpx.codes.OK:
        return Spoof.OPEN
    return Spoof.BELIEVED if _is_inside(named, anonymous) else Spoof.REFUSED


def _demand_hub(client: httpx.Client, base: str) -> None:
    answer = client.get(f"{base}/health")
    redirected = answer.is_redirect or answer.status_code in (401, 403)
    if answer.status_code != httpx.codes.OK and not redirected:
        raise NotFound(
            f"There is no hub at {base}: it answered {answer.status_code}.",
            hint="Give the address that browsers use, with the path prefix if there is one.",
        )


def _is_inside(named: httpx.Response, anonymous: httpx.Response) -> bool:
    """Return whether the hub believed the name: it answers, or refuses with an HTML page."""
    if named.status_code == httpx.codes.OK:
        return True
    return named.status_code == httpx.codes.FORBIDDEN and _form(named) != _form(anonymous)


def _form(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("content-type", "").partition(";")[0]
