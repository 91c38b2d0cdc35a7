"""Signing in and out by a real OpenID provider, in Chromium, and what an open editor makes of it.

The provider is at ``127.0.0.1`` and the hub at ``localhost``, two sites for a browser, and
third-party cookies are blocked.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.support.browser import notebook
from tests.support.hub import HubProcess
from tests.support.oidc_provider import SECRET, OpenIdProvider, sign_in_on, sign_out_on
from tests.support.shared_hub import TINY, SharedCaches, module_hub
from tests.support.two_sites import strict_profile

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

Place = tuple[HubProcess, OpenIdProvider, str]
"""A hub, its provider, and the hub's public address."""


@pytest.fixture(scope="module")
def place(caches: SharedCaches, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A hub that signs people in by a provider."""
    made = tmp_path_factory.mktemp("provider")
    secret = made / "client-secret"
    secret.write_text(SECRET)
    with OpenIdProvider(made / "provider.log") as provider:
        settings = {
            "hub.public_url": "http://localhost:{port}",
            **provider.settings(client_secret_file=str(secret), private_network=True),
        }
        with module_hub("oidc", caches, settings=settings) as hub:
            url = f"http://localhost:{hub.port}"
            provider.serve(url)
            yield hub, provider, url


async def signed_in(context: BrowserContext, url: str) -> Page:
    """Sign in from the hub's page by the provider; return the tab."""
    page = await context.new_page()
    await page.goto(f"{url}/login")
    await page.get_by_role("link", name="Sign in with University").click()
    await sign_in_on(page)
    await expect(page.get_by_text("Signed in as alice")).to_be_visible()
    return page


async def test_in_by_the_provider_and_out_here_and_there(
    place: Place, tmp_path: Path, artifacts: Path
) -> None:
    _, provider, url = place
    async with strict_profile(tmp_path / "alice") as context:
        page = await signed_in(context, url)
        await page.get_by_role("button", name="Sign out").click()
        there = page.get_by_role("link", name="Sign out there too")
        await expect(there).to_be_visible()
        await page.screenshot(path=artifacts / "signed-out.png", full_page=True)
        await page.goto(f"{url}/")
        await expect(page.get_by_text("Signed in as alice")).to_have_count(0)
        # The provider still knows the person, and asks nothing.
        await page.goto(f"{url}/auth/oidc/start")
        await expect(page.get_by_text("Signed in as alice")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await there.click()
        await sign_out_on(page)
        await page.goto(f"{url}/auth/oidc/start")
        await expect(page.locator("input[name=login]")).to_be_visible()
        assert page.url.startswith(provider.issuer)


async def test_a_sign_out_at_the_provider_closes_the_open_editor(
    place: Place, tmp_path: Path, artifacts: Path
) -> None:
    _, provider, url = place
    async with strict_profile(tmp_path / "alice") as context:
        await signed_in(context, url)
        editor = await context.new_page()
        await editor.goto(f"{url}/edit/{TINY}")
        await editor.wait_for_url(f"**/edit/user/alice/{TINY}/**")
        frame = await notebook(editor)
        await expect(frame.locator(".cm-content").first).to_be_visible()
        other = await context.new_page()
        await other.goto(f"{provider.issuer}/session/end")
        await sign_out_on(other)
        assert "backchannel.success" in provider.log_text()
        await editor.bring_to_front()
        await expect(editor.get_by_text("This page is no longer signed in.")).to_be_visible()
        await editor.screenshot(path=artifacts / "editor.png")
        await editor.reload()
        await expect(editor.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()
