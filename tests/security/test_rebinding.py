"""Pages that lead their own name to the hub's machine (DNS rebinding), and fronts' reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mograder.auth.credentials import Role, make_token
from tests.support.hub_app import SECRET, Hub, make_hub, running

PUBLIC = "https://hub.example.org"
PORT = 8080
INSTRUCTOR_ROUTES = (("GET", "/audit"), ("POST", "/sync-users"), ("POST", "/revoke-token/alice"))


@pytest.fixture(params=["", PUBLIC], ids=["without public_url", "with public_url"])
def local(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hub]:
    """A hub that trusts this machine, with and without a name of its own."""
    toml = f'[hub]\ninstructors = ["prof"]\npublic_url = "{request.param}"\n'
    hub = make_hub(tmp_path / "course", toml)
    yield hub
    hub.close()


def page(hub: Hub, host: str, **headers: str) -> httpx.AsyncClient:
    """A page's requests to this machine under a name; a script may add any of these headers."""
    sent = {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin", **headers}
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=sent)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"X-Forwarded-Host": "hub.example.org", "X-Forwarded-Proto": "https"},
        {"X-Forwarded-For": "192.0.2.7", "X-Real-IP": "192.0.2.7"},
        {"Authorization": "Bearer made-up"},
    ],
    ids=["plain", "as a front", "with an address", "with a token"],
)
async def test_a_page_under_a_name_of_its_own_names_no_user(
    local: Hub, told: dict[str, str]
) -> None:
    async with running(local.app), page(local, f"evil.example:{PORT}", **told) as client:
        for method, path in INSTRUCTOR_ROUTES:
            named = {"X-Remote-User": "prof"}
            answer = await client.request(method, path, headers=named, json={"usernames": []})
            assert answer.status_code in (400, 403, 421), (path, answer.text)
            assert "set-cookie" not in answer.headers
    assert not (local.course / "allowed_users.txt").exists()


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", "hub.example.org"])
async def test_a_person_at_the_hubs_own_names_comes_in(local: Hub, host: str) -> None:
    named = {"X-Remote-User": "prof"}
    async with running(local.app), page(local, host, **named) as client:
        assert (await client.get("/audit")).status_code == 200
        assert (await client.post("/revoke-token/alice")).status_code != 403


async def test_a_program_with_a_token_may_use_any_name(local: Hub) -> None:
    transport = httpx.ASGITransport(local.app, client=("127.0.0.1", 5000))
    headers = {"Authorization": f"Bearer {make_token(SECRET, 'prof', Role.INSTRUCTOR)}"}
    url = f"http://hub.physics.example:{PORT}"
    async with (
        running(local.app),
        httpx.AsyncClient(transport=transport, base_url=url, headers=headers) as client,
    ):
        assert (await client.get("/audit")).status_code == 200


async def test_dev_mode_lets_nobody_in_under_another_sites_name(tmp_path: Path) -> None:
    hub = make_hub(tmp_path / "course", '[hub]\ninstructors = ["prof"]\n', dev=True)
    async with running(hub.app):
        async with page(hub, f"evil.example:{PORT}") as client:
            for named in ({}, {"X-Remote-User": "prof"}):
                assert (await client.get("/assignments", headers=named)).status_code == 400
        async with page(hub, f"127.0.0.1:{PORT}") as client:
            assert (await client.get("/assignments")).status_code == 200
    hub.close()


async def test_a_class_behind_one_front_is_not_throttled_as_one(local: Hub) -> None:
    """Its failed sign-ins are counted and recorded by the address that the front reports."""
    async with running(local.app), page(local, f"127.0.0.1:{PORT}") as client:

        async def fail(address: str) -> int:
            told = {"X-Forwarded-For": address, "Accept": "text/html"}
            answer = await client.post("/login", data={"token": "wrong"}, headers=told)
            return answer.status_code

        assert {await fail("192.0.2.1") for _ in range(25)} == {403, 429}
        assert await fail("192.0.2.2") == 403
    rows = local.services.state.recent_audit(30)
    assert {row.origin for row in rows if row.action == "sign in"} == {"192.0.2.1", "192.0.2.2"}
