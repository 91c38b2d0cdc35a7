"""A hub in this process whose people sign in by a real OpenID provider, and their browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
import tomlkit
from sqlalchemy import func, select

from mograder.clients.http import trusted_authorities
from mograder.store.database.database import reading
from mograder.store.external.external_people import external_people, used_states
from tests.support.hub_app import Hub, make_hub
from tests.support.oidc_provider import SECRET as CLIENT_SECRET
from tests.support.oidc_provider import OpenIdProvider

HUB = "https://hub.test"
BACK = "/auth/oidc/back"
LOGOUT = "/auth/oidc/backchannel-logout"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    """A provider whose id_token holds the subject only."""
    with OpenIdProvider(tmp_path_factory.mktemp("strict") / "log") as provider:
        provider.serve(HUB)
        yield provider


@pytest.fixture(scope="module")
def generous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    """A provider whose id_token holds all claims."""
    log = tmp_path_factory.mktemp("generous") / "log"
    with OpenIdProvider(log, conform=False) as provider:
        provider.serve(HUB)
        yield provider


@dataclass
class Rig:
    """A hub with its provider, and browsers that are signed in at it."""

    hub: Hub
    provider: OpenIdProvider
    at_provider: list[httpx.Client] = field(default_factory=list)

    @asynccontextmanager
    async def browser(self, client: str = "192.0.2.7") -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.hub.app, client=(client, 5000))
        headers = {"Accept": "text/html,application/xhtml+xml"}
        async with httpx.AsyncClient(transport=transport, base_url=HUB, headers=headers) as browser:
            yield browser

    async def begin(self, browser: httpx.AsyncClient, target: str = "") -> str:
        """Begin a sign-in; return where the hub sends the browser."""
        answer = await browser.get("/auth/oidc/start", params={"next": target} if target else {})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def answer(self, address: str, account: str = "alice") -> str:
        """Sign in at the provider; return the path and query that it sends the browser to."""
        self.at_provider.append(
            httpx.Client(trust_env=False, timeout=60, verify=trusted_authorities())
        )
        way = self.provider.sign_in(self.at_provider[-1], address, account)
        assert way.startswith(f"{HUB}{BACK}?")
        return way.removeprefix(HUB)

    async def sign_in(
        self, browser: httpx.AsyncClient, account: str = "alice", target: str = ""
    ) -> httpx.Response:
        return await browser.get(self.answer(await self.begin(browser, target), account))

    async def refused(self, account: str) -> str:
        """Return the page that refuses an account, which must set no login."""
        async with self.browser() as browser:
            answer = await self.sign_in(browser, account)
        assert answer.status_code == 403
        assert not logged_in(answer)
        return " ".join(answer.text.split())

    def rows(self) -> tuple[int, int]:
        """Return how many used states and links of people are stored."""
        with reading(self.hub.engine) as connection:
            tables = (used_states, external_people)
            counts = [
                connection.execute(select(func.count()).select_from(each)).scalar_one()
                for each in tables
            ]
        return counts[0], counts[1]


NewRig = Callable[..., Rig]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[NewRig]:
    """Make hubs: ``rig(provider, client_id="hub--ES256", strip_domain="example.edu")``."""
    made: list[Rig] = []

    def new(provider: OpenIdProvider, *, secret: bool = True, **oidc: object) -> Rig:
        course = tmp_path / f"course-{len(made)}"
        course.mkdir()
        (course / "client-secret").write_text(f"{CLIENT_SECRET}\n")
        given = {
            "issuer": provider.issuer,
            "client_id": "hub",
            "name": "University",
            "private_network": True,
            **({"client_secret_file": "client-secret"} if secret else {}),
            **oidc,
        }
        hub = {"public_url": HUB, "instructors": ["teach1"]}
        settings = tomlkit.dumps({"title": "Numerics", "hub": hub, "oidc": given})
        made.append(Rig(make_hub(course, settings), provider))
        fresh = made[-1].hub
        fresh.publish("A1")
        fresh.clock.advance((datetime.now(UTC) - fresh.clock.now()).total_seconds())
        return made[-1]

    yield new
    for each in made:
        for browser in each.at_provider:
            browser.close()
        each.hub.close()


def logged_in(answer: httpx.Response) -> str:
    """Return the login cookie that an answer sets, "" if it sets none."""
    for cookie in answer.headers.get_list("set-cookie"):
        if cookie.startswith("__Host-mograder_session="):
            assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400; Secure")
            return cookie.partition(";")[0].partition("=")[2]
    return ""


def changed(way: str, **fields: str) -> str:
    """Return the way back with other fields; an empty one is left out."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(way).query).items()}
    query.update(fields)
    return f"{BACK}?{urlencode({name: value for name, value in query.items() if value})}"


async def viewer(browser: httpx.AsyncClient, name: str) -> bool:
    return f"<strong>{name}</strong>" in (await browser.get("/")).text
