"""Signing out at a real OpenID provider, which tells the hub by the back channel."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import httpx
import pytest

from mograder.core.errors import Busy
from tests.support.hub_app import running
from tests.support.oidc_hub import (
    HUB,
    LOGOUT,
    NewRig,
    Rig,
    generous,
    rig,
    strict,
    viewer,
)
from tests.support.oidc_provider import OpenIdProvider

__all__ = ["generous", "rig", "strict"]

pytestmark = pytest.mark.full


# Signing out at the provider


class Heard(http.server.ThreadingHTTPServer):
    """A server in a hub's place that keeps the logout tokens a provider sends."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.arrived = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805
                body = handler.rfile.read(int(handler.headers["content-length"])).decode()
                self.tokens += parse_qs(body)["logout_token"]
                handler.send_response(200)
                handler.end_headers()
                self.arrived.set()

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Heard() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_signing_out_at_the_provider_ends_the_logins_of_that_session(
    rig: NewRig, strict: OpenIdProvider, heard: Heard
) -> None:
    strict.serve(heard.url, HUB)
    made = rig(strict)
    capabilities = made.hub.services.capabilities
    async with made.browser() as browser, made.browser() as elsewhere, running(made.hub.app):
        await made.sign_in(browser)
        await made.sign_in(elsewhere)
        made.hub.start("alice", "A1", server=made.hub.course / "socket")
        session = next(iter(made.hub.pool.all()))
        cookie = browser.cookies["__Host-mograder_session"]
        login = made.hub.services.authenticator.identify(
            [(b"cookie", f"c={cookie}".encode())], None, cookie="c", host_known=True
        )
        assert login is not None
        cap = capabilities.resolve(
            capabilities.issue(capabilities.visit(session.id, "alice", login))
        )
        assert cap is not None
        closed = asyncio.Event()
        capabilities.on_revoke(cap, closed.set)
        await asyncio.to_thread(strict.sign_out, made.at_provider[0])
        assert await asyncio.to_thread(heard.arrived.wait, 60)
        (token,) = heard.tokens
        first = await browser.post(LOGOUT, data={"logout_token": token})
        assert (first.status_code, first.headers["cache-control"]) == (200, "no-store")
        await asyncio.wait_for(closed.wait(), 60)
        assert not await viewer(browser, "alice")
        assert await viewer(elsewhere, "alice")
        again = await browser.post(LOGOUT, data={"logout_token": token})
        assert again.status_code == 400
    strict.serve(HUB)
    what = f"{strict.issuer}: 1 logins"
    assert ("", "sign out by the provider", what, "ok") in made.hub.audit()


@asynccontextmanager
async def signed_out_there(
    rig: NewRig, strict: OpenIdProvider, heard: Heard
) -> AsyncIterator[tuple[Rig, httpx.AsyncClient, str]]:
    """Sign in, and out at the provider; yield the token of its message, which no hub got."""
    strict.serve(heard.url, HUB)
    made = rig(strict)
    async with made.browser() as browser:
        await made.sign_in(browser)
        await asyncio.to_thread(strict.sign_out, made.at_provider[0])
        assert await asyncio.to_thread(heard.arrived.wait, 60)
        yield made, browser, heard.tokens[0]
    strict.serve(HUB)


async def test_the_back_channel_needs_no_origin_and_knows_no_identity(
    rig: NewRig, strict: OpenIdProvider, heard: Heard
) -> None:
    async with signed_out_there(rig, strict, heard) as (made, browser, token):
        for form in (
            {},
            {"logout_token": ""},
            {"logout_token": token[:-6]},
            {"logout_token": [token, token]},
            {"logout_token": "x" * 200_000},
        ):
            answer = await browser.post(LOGOUT, data=form)
            assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})
            assert answer.headers["cache-control"] == "no-store"
        assert await viewer(browser, "alice")
        made.hub.clock.advance(181)
        assert (await browser.post(LOGOUT, data={"logout_token": token})).status_code == 400
        made.hub.clock.advance(-181)
        sent = {"Sec-Fetch-Mode": "cors", "X-Remote-User": "prof"}
        good = await browser.post(LOGOUT, data={"logout_token": token}, headers=sent)
        assert good.status_code == 200
        assert not await viewer(browser, "alice")


async def test_a_sign_out_that_failed_halfway_counts_when_it_is_sent_again(
    rig: NewRig, strict: OpenIdProvider, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Busy("The database is busy.")

    async with signed_out_there(rig, strict, heard) as (made, browser, token):
        message = {"logout_token": token}
        with monkeypatch.context() as fault:
            fault.setattr(made.hub.services.state, "revoke_login", fail)
            assert (await browser.post(LOGOUT, data=message)).status_code == 503
        assert await viewer(browser, "alice")
        assert (await browser.post(LOGOUT, data=message)).status_code == 200
        assert not await viewer(browser, "alice")
