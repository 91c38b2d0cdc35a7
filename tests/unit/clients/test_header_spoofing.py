"""The check for forged headers, through fronts of every kind (security.md)."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from mograder.clients.front_probe import Spoof, try_spoof
from mograder.core.errors import InvalidInput, NotFound, RemoteFailed

Answer = Callable[[str | None], httpx.Response]
PLAIN = {"content-type": "text/plain; charset=utf-8"}


def hub(user: str | None) -> httpx.Response:
    """A hub that trusts the header; only prof is on its list."""
    if user is None:
        return httpx.Response(403, text="403 Forbidden", headers=PLAIN)
    if user in ("prof", "jürgen"):
        return httpx.Response(200, json=[])
    return httpx.Response(403, html="<p>You are not enrolled</p>")


FRONTS: dict[str, tuple[Answer, Spoof]] = {
    "deletes it": (lambda _: hub(None), Spoof.REFUSED),
    "passes it on": (hub, Spoof.BELIEVED),
    "signs in by itself": (
        lambda _: httpx.Response(302, headers={"location": "/sso", "set-cookie": "nonce=1"}),
        Spoof.REFUSED,
    ),
    "is a hub in development mode": (lambda _: httpx.Response(200, json=[]), Spoof.OPEN),
    "overwrites it by its own user": (lambda _: hub("prof"), Spoof.OPEN),
}


def attempt(answer: Answer, user: str, health: int = 200) -> Spoof:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/health"):
            return httpx.Response(health)
        named = [value for name, value in request.headers.raw if name.lower() == b"x-remote-user"]
        return answer(named[0].decode() if named else None)

    transport = httpx.MockTransport(respond)
    return try_spoof("https://hub.test/live", "X-Remote-User", user, transport=transport)


@pytest.mark.parametrize("user", ["prof", "jürgen", "mallory"])
@pytest.mark.parametrize("front", sorted(FRONTS))
def test_a_front_is_judged_by_what_it_lets_through(front: str, user: str) -> None:
    answer, expected = FRONTS[front]
    assert attempt(answer, user) is expected


def test_what_is_no_hub_is_said_to_be_none() -> None:
    with pytest.raises(NotFound, match="answered 404"):
        attempt(hub, "prof", health=404)


def test_what_cannot_be_reached_is_said_to_be_so() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(RemoteFailed, match="refused"):
        try_spoof("https://hub.test", "X-Remote-User", "a", transport=httpx.MockTransport(refuse))


@pytest.mark.parametrize("url", ["hub", "https://\udcff"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        try_spoof(url, "X-Remote-User", "a")
