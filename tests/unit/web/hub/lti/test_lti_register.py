"""The page at which a learning platform registers itself, against the fake platform."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from mograder.auth.credentials import make_code
from mograder.core.sections.settings_model import LtiPlatform, LtiSettings
from mograder.store.external.lti_platforms import UNREGISTERED, Platforms, Registrations
from tests.support.hub_app import Hub, running_hub
from tests.support.lti_platform import LtiPlatform as FakePlatform
from tests.support.lti_platform import lti_platform

HUB = "https://hub.test"


@pytest.fixture
def platform() -> Iterator[FakePlatform]:
    with lti_platform() as platform:
        yield platform


@pytest.fixture
async def hub(tmp_path: Path, platform: FakePlatform) -> AsyncIterator[Hub]:
    """A hub with one platform in its settings, which is not the one that registers."""
    toml = (
        f'title = "Numerics"\n[hub]\npublic_url = "{HUB}"\n'
        '[[lti.platform]]\nissuer = "https://other.example.org"\nclient_id = "c"\n'
    )
    platform.serve(HUB)
    async with running_hub(tmp_path / "course", toml) as made:
        yield made


def expected(platform: FakePlatform, **more: object) -> LtiPlatform:
    values = {
        "issuer": platform.url,
        "client_id": UNREGISTERED,
        "courses": ("4",),
        "private_network": True,
        **more,
    }
    return LtiPlatform.model_validate(values)


def invite(hub: Hub, platform: FakePlatform, **more: object) -> str:
    """Store an address, and return its path."""
    code, now = make_code(), hub.clock.now()
    Registrations(hub.engine).add(code.hash, expected(platform, **more), now)
    return f"/lti/register/{code.text}"


def parts(platform: FakePlatform, path: str) -> tuple[str, dict[str, str]]:
    """Return what the platform adds to an address."""
    url = httpx.URL(platform.registration_address(path))
    return str(url.copy_with(query=None)), dict(url.params)


async def opened(hub: Hub, platform: FakePlatform, path: str) -> httpx.Response:
    async with hub.client(browser=True) as browser:
        return await browser.get(path, params=parts(platform, path)[1])


async def pressed(hub: Hub, path: str, form: dict[str, str]) -> httpx.Response:
    headers = {"Origin": HUB, "Sec-Fetch-Site": "same-origin"}
    async with hub.client(browser=True) as browser:
        return await browser.post(path, data=form, headers=headers)


def stored(hub: Hub) -> tuple[LtiPlatform, ...]:
    return tuple(each.platform for each in Platforms(hub.engine, LtiSettings()).registered())


async def test_the_page_asks_fetches_nothing_and_can_be_framed_by_this_platform_only(
    hub: Hub, platform: FakePlatform
) -> None:
    path = invite(hub, platform, roster="allow", scores="released", teachers="all")
    page = await opened(hub, platform, path)
    assert page.status_code == 200
    assert platform.asked == []
    for said in (
        platform.url,
        "Register",
        "nobody else may come in, besides staff and those on the hub&#39;s access list",
        "when an instructor releases them",
        "non-editing teachers, too",
    ):
        assert said in page.text
    (frames,) = re.findall(r"frame-ancestors ([^;]*)", page.headers["content-security-policy"])
    assert frames == platform.url
    assert "form-action 'self'" in page.headers["content-security-policy"]
    assert "set-cookie" not in page.headers
    again = await opened(hub, platform, path)
    assert again.status_code == 200


async def test_the_button_registers_and_the_platform_is_there_at_once(
    hub: Hub, platform: FakePlatform
) -> None:
    path = invite(hub, platform, scores="released")
    page = await opened(hub, platform, path)
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
    form = {name: unescape(value) for name, value in fields.items()}
    assert form == parts(platform, path)[1] | {"registration_token": form["registration_token"]}
    done = await pressed(hub, path, form)
    assert done.status_code == 200
    assert f'data-platform="{platform.url}"' in done.text
    assert "lti-close.js" in done.text
    assert f"frame-ancestors {platform.url}" in done.headers["content-security-policy"]
    (told,) = platform.registered
    assert told["jwks_uri"] == f"{HUB}/lti/keys"
    assert told["client_name"] == "Numerics"
    (found,) = stored(hub)
    assert (found.client_id, found.deployments) == ("client-dynamic", ("4",))
    assert (found.courses, found.scores) == (("4",), "released")
    assert found.auth_url == f"{platform.url}/mod/lti/auth.php"
    assert ("", "register platform", f"{platform.url} client-dynamic", "ok") in hub.audit()
    assert form["registration_token"] not in done.text
    assert (await pressed(hub, path, form)).status_code == 404
    assert len(platform.registered) == 1


async def test_a_platform_that_refuses_uses_the_address_up_and_the_page_says_so(
    hub: Hub, platform: FakePlatform
) -> None:
    path = invite(hub, platform)
    form = parts(platform, path)[1] | {"registration_token": "no.good.token"}
    failed = await pressed(hub, path, form)
    assert failed.status_code == 502
    assert "did not register" in failed.text
    assert "no.good.token" not in failed.text
    assert f"frame-ancestors {platform.url}" in failed.headers["content-security-policy"]
    assert stored(hub) == ()
    assert ("", "register platform", platform.url, "refused") in hub.audit()
    assert (await opened(hub, platform, path)).status_code == 404


async def test_an_address_ends_after_an_hour(hub: Hub, platform: FakePlatform) -> None:
    path = invite(hub, platform)
    hub.clock.advance(timedelta(hours=1).total_seconds())
    late = await opened(hub, platform, path)
    assert late.status_code == 404
    assert "frame-ancestors 'none'" in late.headers["content-security-policy"]
    assert (await pressed(hub, path, parts(platform, path)[1])).status_code == 404
    assert platform.asked == []


async def test_an_unknown_code_is_no_address(hub: Hub, platform: FakePlatform) -> None:
    invite(hub, platform)
    for code in ("x" * 43, "x", "..", "%00" * 43, "é" * 43):
        assert (await opened(hub, platform, f"/lti/register/{code}")).status_code == 404, code


async def test_the_configuration_of_another_platform_is_not_fetched(
    hub: Hub, platform: FakePlatform
) -> None:
    path = invite(hub, platform)
    for configuration in (
        "",
        "https://evil.example.org/mod/lti/openid-configuration.php",
        "http://127.0.0.1:1/x",
        "http://127.0.0.1@evil.example.org/",
        "file:///etc/passwd",
    ):
        form = {"openid_configuration": configuration, "registration_token": "a.b.c"}
        async with hub.client(browser=True) as browser:
            page = await browser.get(path, params=form)
        assert page.status_code == 400, configuration
        assert "Register</button>" not in page.text
        assert (await pressed(hub, path, form)).status_code == 400
    assert platform.asked == []
    assert stored(hub) == ()


async def test_a_parameter_that_is_there_twice_is_refused(hub: Hub, platform: FakePlatform) -> None:
    path = invite(hub, platform)
    pairs = [*parts(platform, path)[1].items(), ("openid_configuration", "https://evil.test/")]
    async with hub.client(browser=True) as browser:
        page = await browser.get(f"{path}?{urlencode(pairs)}")
    assert page.status_code == 400
    assert (await pressed(hub, path, parts(platform, path)[1])).status_code == 200
