"""Signing in by a real OpenID provider: names, logins, settings; the hub is in this process."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import tomlkit

from mograder.auth.credentials import make_token
from mograder.core.errors import InvalidInput
from mograder.store.external.external_people import ExternalPeople
from tests.support.hub_app import SECRET, make_hub
from tests.support.oidc_hub import (
    BACK,
    HUB,
    NewRig,
    Rig,
    generous,
    logged_in,
    rig,
    strict,
    viewer,
)
from tests.support.oidc_provider import OpenIdProvider

__all__ = ["generous", "rig", "strict"]

pytestmark = pytest.mark.full


# Signing in


@pytest.mark.parametrize("kind", ["strict", "generous"])
async def test_a_person_signs_in_and_lands_where_they_wanted(
    rig: NewRig, request: pytest.FixtureRequest, kind: str
) -> None:
    made = rig(request.getfixturevalue(kind))
    async with made.browser() as browser:
        page = await browser.get("/login?next=/edit/A1")
        assert 'href="/auth/oidc/start?next=/edit/A1"' in page.text
        assert "Sign in with University" in page.text
        answer = await made.sign_in(browser, target="/edit/A1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/edit/A1")
        assert logged_in(answer)
        assert await viewer(browser, "alice")
        assert not [name for name in browser.cookies if "signin" in name]
    issuer = made.provider.issuer
    assert ("alice", "sign in", f"oidc {issuer}", "ok") in made.hub.audit()
    (person,) = ExternalPeople(made.hub.engine).people()
    assert (person.subject, person.username, person.display_name) == (
        "alice",
        "alice",
        "Alice Ångström",
    )


@pytest.mark.parametrize(
    "client",
    ["hub--ES256", "hub--PS256--client_secret_post", "hub--EdDSA", "hub--RS256--none"],
)
async def test_algorithms_and_authentications_of_the_client(
    rig: NewRig, strict: OpenIdProvider, client: str
) -> None:
    made = rig(strict, client_id=client, secret="none" not in client)
    async with made.browser() as browser:
        assert logged_in(await made.sign_in(browser))


async def test_new_keys_of_the_provider_are_found(rig: NewRig, tmp_path: Path) -> None:
    with OpenIdProvider(tmp_path / "log") as provider:
        provider.serve(HUB)
        made = rig(provider)
        async with made.browser() as browser:
            assert logged_in(await made.sign_in(browser))
            provider.restart_with_new_keys()
            made.hub.clock.advance(61)
            assert logged_in(await made.sign_in(browser))


async def test_a_provider_that_is_down_is_told_and_not_asked_again_at_once(
    rig: NewRig, strict: OpenIdProvider, tmp_path: Path
) -> None:
    with OpenIdProvider(tmp_path / "log") as provider:
        made = rig(provider)
        provider.stop()
        async with made.browser() as browser:
            for _ in range(3):
                answer = await browser.get("/auth/oidc/start")
                assert answer.status_code == 502
                assert "cannot be asked at the moment" in answer.text
            assert (await browser.get("/login")).status_code == 200
            provider.start()
            provider.serve(HUB)
            assert (await browser.get("/auth/oidc/start")).status_code == 502
            made.hub.clock.advance(5)
            assert logged_in(await made.sign_in(browser))


async def test_the_sign_out_page_leads_to_the_providers(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        await made.sign_in(browser)
        page = await browser.get("/login?bye=1")
        assert f'href="{strict.issuer}/session/end?client_id=hub&amp;post_logout' in page.text
        assert f"{strict.issuer}/session/end" not in (await browser.get("/login")).text


# The user name


async def test_claims_by_setting(rig: NewRig, strict: OpenIdProvider) -> None:
    scopes = ["openid", "profile", "eduperson"]
    claim = {"scopes": scopes, "username_claim": "eduperson_principal_name"}
    made = rig(strict, **claim, strip_domain="example.edu")
    async with made.browser() as browser:
        await made.sign_in(browser)
        assert await viewer(browser, "alice")
    whole = rig(strict, **claim)
    async with whole.browser() as browser:
        await whole.sign_in(browser)
        assert await viewer(browser, "alice@example.edu")
    other = rig(strict, **claim, strip_domain="other.edu")
    assert "another organisation" in await other.refused("alice")


async def test_required_claims(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict, scopes=["openid", "profile", "groups"], require={"groups": "numerics"})
    async with made.browser() as browser:
        assert logged_in(await made.sign_in(browser))
    assert "groups" in await made.refused("teach1")
    ungiven = rig(strict, require={"groups": "numerics"})
    assert "groups" in await ungiven.refused("alice")


async def test_a_token_and_the_provider_are_one_person(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        form = {"token": make_token(SECRET, "alice")}
        await browser.post("/login", data=form, headers={"Origin": HUB})
        assert await viewer(browser, "alice")
        before = browser.cookies["__Host-mograder_session"]
        assert logged_in(await made.sign_in(browser)) != before
        assert await viewer(browser, "alice")


# The login


@pytest.mark.parametrize(
    "target", ["https://evil.test/", "/%0d%0aSet-Cookie:x\n", "https://hub.test@evil.test/"]
)
async def test_a_sign_in_leads_to_pages_of_this_hub_only(
    rig: NewRig, strict: OpenIdProvider, target: str
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        answer = await made.sign_in(browser, target=target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


# Settings


async def test_below_a_prefix_the_address_and_the_cookies_have_it(
    tmp_path: Path, strict: OpenIdProvider
) -> None:
    strict.serve(f"{HUB}/live/hub")
    oidc = {"issuer": strict.issuer, "client_id": "hub--RS256--none", "private_network": True}
    given = {"public_url": HUB, "base_url": "/live/hub"}
    hub = make_hub(tmp_path / "course", tomlkit.dumps({"hub": given, "oidc": oidc}))
    hub.clock.advance((datetime.now(UTC) - hub.clock.now()).total_seconds())
    async with Rig(hub, strict).browser() as browser:
        begun = await browser.get("/live/hub/auth/oidc/start?next=/live/hub/edit/A1")
        (cookie,) = begun.headers.get_list("set-cookie")
        assert cookie.startswith("__Secure-mograder_signin_")
        assert "; Path=/live/hub; HttpOnly; " in cookie
        with httpx.Client(trust_env=False, timeout=60) as there:
            way = strict.sign_in(there, begun.headers["location"])
        assert way.startswith(f"{HUB}/live/hub{BACK}?")
        back = way.removeprefix(HUB)
        assert (await browser.get(back, headers={"Host": "evil.test"})).status_code == 421
        answer = await browser.get(back, headers={"Host": "hub.internal:8080"})
        assert answer.headers["location"] == "/live/hub/edit/A1"
    strict.serve(HUB)
    hub.close()


@pytest.mark.parametrize(
    ("hub", "oidc", "words"),
    [
        ({}, {}, "public_url with https"),
        ({"public_url": "http://hub.test"}, {}, "public_url with https"),
        ({"public_url": HUB}, {"client_id": ""}, "client_id is not set"),
        ({"public_url": HUB}, {"scopes": ["profile"]}, "lacks openid"),
        ({"public_url": HUB}, {"issuer": "http://127.0.0.1:9"}, "no https"),
        ({"public_url": HUB}, {"client_secret_file": "none"}, "client_secret_file"),
    ],
)
def test_settings_that_cannot_work_stop_the_start(
    tmp_path: Path, hub: dict[str, object], oidc: dict[str, object], words: str
) -> None:
    given = {"issuer": "https://login.test", "client_id": "hub", **oidc}
    with pytest.raises(InvalidInput, match=words):
        make_hub(tmp_path / "course", tomlkit.dumps({"hub": hub, "oidc": given}))
