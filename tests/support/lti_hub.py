"""A hub in one process that a fake learning platform launches, and a browser's tab between them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from mograder.auth.credentials import Login, read_cookie
from mograder.auth.jose import PrivateKey
from mograder.store.external.external_tables import lti_keys
from mograder.store.releases.releases import ItemKind
from tests.support.hub_app import SECRET, Hub, make_hub, running
from tests.support.lti.state import Activity
from tests.support.lti.tokens import LTI
from tests.support.lti_platform import LtiPlatform, lti_platform

ORIGIN = "https://hub.example.org"
LOGIN = "__Host-mograder_session"
POLICY = "content-security-policy"


@dataclass
class Tab:
    """A tab of a person's browser, at the hub and at the platform."""

    hub: LtiHub
    browser: httpx.AsyncClient

    async def begin(
        self, username: str, activity: Activity | None = None, **changed: str
    ) -> httpx.Response:
        """Go to the activity; return the hub's redirect to the platform, or what it says else."""
        form = self.hub.platform.initiation(username, activity) | changed
        answer = await self.send(f"{self.hub.prefix}/lti/login", form)
        if answer.headers.get("location", "").startswith("/"):
            return await self.browser.get(answer.headers["location"], headers=self.hub.marks())
        return answer

    async def launch(
        self,
        username: str,
        activity: Activity | None = None,
        destination: str = "document",
        changed: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        """Go through a whole launch; ``changed`` are members of the token, None takes one away."""
        begun = await self.begin(username, activity)
        address, fields = self.hub.platform.authenticate(begun.headers["location"])
        assert address == f"{ORIGIN}{self.hub.prefix}/lti/launch"
        if changed and activity is not None:
            nonce = httpx.URL(begun.headers["location"]).params["nonce"]
            fields["id_token"] = self.hub.platform.token(username, activity, nonce, **changed)
        return await self.send(f"{self.hub.prefix}/lti/launch", fields, destination)

    async def send(
        self, path: str, form: dict[str, str] | bytes, destination: str = "document"
    ) -> httpx.Response:
        """Post a form from one of the platform's pages."""
        content = {"content": form} if isinstance(form, bytes) else {"data": form}
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        headers = self.hub.marks(destination) | kind
        return await self.browser.post(path, headers=headers, **content)


@dataclass
class LtiHub:
    """The hub and the platforms of a test."""

    hub: Hub
    platform: LtiPlatform
    others: list[LtiPlatform] = field(default_factory=list)
    prefix: str = ""

    def marks(self, destination: str = "document") -> dict[str, str]:
        """The headers of a browser that comes from the platform."""
        return self.platform.browser_headers(destination) | {"Accept": "text/html"}

    @asynccontextmanager
    async def tab(self) -> AsyncIterator[Tab]:
        """A browser without cookies."""
        transport = httpx.ASGITransport(self.hub.app, client=("192.0.2.7", 5000))
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as browser:
            yield Tab(self, browser)

    async def sign_in(self, username: str) -> str:
        """Launch the first page for a person in a tab; return where the answer leads."""
        async with self.tab() as tab:
            return (await tab.launch(username, self.activity())).headers["location"]

    def activity(self, item: str = "") -> Activity:
        """An activity of the hub's course that asks for an item."""
        return self.platform.state.add_activity(f"To {item or 'all'}", item)

    def count(self, table: str) -> int:
        """The number of rows of a table of the hub's database."""
        with self.hub.engine.connect() as connection:
            found: Any = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
        return int(found)


def toml_of(*platforms: dict[str, object], more: str = "") -> str:
    """The settings of a hub with platforms; ``more`` are lines before their tables."""
    text = f'title = "Numerics"\n[hub]\npublic_url = "{ORIGIN}"\ninstructors = ["prof"]\n{more}\n'
    for each in platforms:
        text += "[[lti.platform]]\n"
        text += "".join(f"{name} = {json.dumps(value)}\n" for name, value in each.items())
    return text


@cache
def own_key() -> PrivateKey:
    """Return the hub's key of all tests, since making one takes long."""
    return PrivateKey.new()


@cache
def _sealed_key() -> str:
    """Return the same text for all hubs, which read it once."""
    return own_key().sealed(SECRET)


def keep_own_key(hub: Hub) -> None:
    """Give a new hub :func:`own_key`, before it makes one."""
    key = {"kid": own_key().kid, "private_key": _sealed_key()}
    row = insert(lti_keys).values(**key, created_at=hub.clock.now())
    with hub.engine.begin() as connection:
        connection.execute(row)


@contextmanager
def platform_at(prefix: str = "") -> Iterator[LtiPlatform]:
    """A platform whose tool is the hub of this module, with the clock of a hub that comes later."""
    with lti_platform(clock=lambda: 0.0) as platform:
        platform.serve(f"{ORIGIN}{prefix}")
        yield platform


@asynccontextmanager
async def lti_hub(
    course: Path, *, prefix: str = "", platforms: int = 1, more: str = "", **settings: object
) -> AsyncIterator[LtiHub]:
    """A hub with items A1, A2 (assignments) and L01 (a lecture), and platforms that launch it.

    ``more`` are tables of its settings before those of the platforms.
    """
    more = f'base_url = "{prefix}"\n{more}' if prefix else more
    with platform_at(prefix) as first, platform_at(prefix) as second:
        served = [first, second][:platforms]
        made = make_hub(
            course,
            toml_of(*(each.settings("client-full", **settings) for each in served), more=more),
        )
        for each in served:
            each.clock = lambda: made.clock.now().timestamp()
        keep_own_key(made)
        made.publish("A1")
        made.publish("A2")
        made.publish("L01", ItemKind.LECTURE)
        async with running(made.app):
            rig = LtiHub(made, first, served[1:], prefix)
            async with rig.tab() as tab:
                first.hub_keys = (await tab.browser.get(f"{prefix}/lti/keys")).json()
            yield rig
        made.close()


@pytest.fixture
async def lti(tmp_path: Path) -> AsyncIterator[LtiHub]:
    """A hub that one platform launches."""
    async with lti_hub(tmp_path / "course") as rig:
        yield rig


def login_of(lti: LtiHub, answer: httpx.Response) -> Login:
    login = read_cookie(SECRET, answer.cookies[LOGIN], lti.hub.clock.now())
    assert login is not None
    return login


def refused(answer: httpx.Response, words: str, status: int = 403) -> None:
    """A refusal says why, and sets no login."""
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert LOGIN not in answer.headers.get("set-cookie", "")


async def named(rig: LtiHub, username: str, told: str, **changed: object) -> httpx.Response:
    """A launch of a person whose platform tells another user name."""
    async with rig.tab() as tab:
        ext = {f"{LTI}ext": {"user_username": told}}
        return await tab.launch(username, rig.activity(), changed=ext | changed)


async def answered(tab: Tab, username: str) -> dict[str, str]:
    """The form that the platform would post to the hub at the end of a launch in this tab."""
    begun = await tab.begin(username, tab.hub.activity())
    return tab.hub.platform.authenticate(begun.headers["location"])[1]
