"""Signing in without SSO and signing out (security.md, "Who is asking")."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from mograder.auth.credentials import Role, make_code, make_token
from mograder.web.hub.signin.signin import safe_next
from tests.support.hub_app import ORIGIN, SECRET, Hub
from tests.support.hub_copies import ask, read

OURS = {"Origin": ORIGIN}


async def sign_in(client: httpx.AsyncClient, token: str, target: str = "") -> httpx.Response:
    """Paste a token into the page."""
    return await client.post("/login", data={"token": token, "next": target}, headers=OURS)


async def test_a_pasted_token_becomes_the_login_cookie(hub: Hub) -> None:
    async with hub.client(browser=True) as client:
        response = await sign_in(client, f" {make_token(SECRET, 'alice')}\n", "/edit/A1")
        assert (response.status_code, response.headers["location"]) == (303, "/edit/A1")
        cookie = response.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "<strong>alice</strong>" in (await client.get("/")).text
    assert ("alice", "sign in", "", "ok") in hub.audit()


async def test_the_page_tells_each_time_that_a_token_does_not_count_behind_a_front(
    hub: Hub,
) -> None:
    headers = {"X-Remote-User": "alice", "Accept": "text/html"}
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as browser:
        for _ in range(2):  # the second time with the login that the first has set
            text = (await browser.get("/login")).text
            assert "and a token cannot change that" in text
        assert "mograder_session" in browser.cookies


async def test_a_token_of_another_person_than_the_front_names_is_refused(hub: Hub) -> None:
    headers = {"X-Remote-User": "bob", "Accept": "text/html"}
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as browser:
        await browser.get("/login")
        before = browser.cookies["mograder_session"]
        for _ in range(2):
            refused = await sign_in(browser, make_token(SECRET, "carol", Role.INSTRUCTOR))
            assert refused.status_code == 403
            assert "signs you in as <strong>bob</strong>, and this token is another" in refused.text
            assert "set-cookie" not in refused.headers
        assert "<strong>bob</strong>" in (await browser.get("/")).text
        assert browser.cookies["mograder_session"] == before, "the login was not ended"
        own = await sign_in(browser, make_token(SECRET, "bob", Role.INSTRUCTOR))
        assert own.status_code == 303
        assert "/course/items" in (await browser.get("/")).text
    assert ("carol", "sign in", "login: front disagrees", "refused") in hub.audit()
    assert ("carol", "sign in", "", "ok") not in hub.audit()


async def test_every_wrong_token_gets_the_same_answer(hub: Hub) -> None:
    for token in ("", "alice", "alice:" + "0" * 64, "nobody:" + "0" * 64, "x" * 9999):
        async with hub.client(browser=True) as client:
            response = await sign_in(client, token)
        assert response.status_code == 403, token
        assert "This token is not valid here." in response.text
        assert "set-cookie" not in response.headers
        assert "alice" not in response.text


async def test_an_instructors_token_makes_an_instructor(hub: Hub) -> None:
    async with hub.client(browser=True) as client:
        await sign_in(client, make_token(SECRET, "dana", Role.INSTRUCTOR))
        assert "/course/items" in (await client.get("/")).text


async def test_many_wrong_tokens_are_slowed_down_but_a_right_one_works(hub: Hub) -> None:
    async with hub.client(browser=True) as client:
        for _ in range(20):
            assert (await sign_in(client, "alice:00")).status_code == 403
        refused = await sign_in(client, "alice:00")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        right = await sign_in(client, make_token(SECRET, "alice"))
        assert right.status_code == 303
        hub.clock.advance(61)
        assert (await sign_in(client, "alice:00")).status_code == 403, "a minute later"


async def test_another_site_cannot_sign_a_browser_in(hub: Hub) -> None:
    form = {"token": make_token(SECRET, "mallory")}
    async with hub.client(browser=True) as client:
        for origin in ("https://evil.test", "null"):
            response = await client.post("/login", data=form, headers={"Origin": origin})
            assert response.status_code == 403
            assert "set-cookie" not in response.headers


async def test_a_form_that_is_too_large_is_refused(hub: Hub) -> None:
    response = await ask(hub, "POST", "/login", "", data={"token": "x" * 20_000}, headers=OURS)
    assert response.status_code == 413
    assert "16 KB" in response.json()["detail"]


async def test_a_one_time_link_works_once_and_looking_at_it_uses_up_nothing(hub: Hub) -> None:
    made, expires = make_code(), hub.clock.now() + timedelta(minutes=15)
    hub.services.state.add_link(made.hash, "carol", Role.STUDENT, expires)
    code = made.text
    async with hub.client(browser=True) as client:
        for _ in range(2):
            page = await client.get("/login/link", params={"code": code})
            assert "Sign in with this link?" in page.text
        response = await client.post("/login/link", data={"code": code}, headers=OURS)
        assert response.status_code == 303
        assert "<strong>carol</strong>" in (await client.get("/")).text
    async with hub.client(browser=True) as client:
        again = await client.post("/login/link", data={"code": code}, headers=OURS)
        assert again.status_code == 403
        assert "It was used already" in again.text
        assert "set-cookie" not in again.headers


async def test_a_link_for_another_person_than_the_front_names_is_not_used_up(hub: Hub) -> None:
    made, expires = make_code(), hub.clock.now() + timedelta(minutes=15)
    hub.services.state.add_link(made.hash, "carol", Role.STUDENT, expires)
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    data, headers = {"code": made.text}, {**OURS, "Accept": "text/html"}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as browser:
        answers = [
            await browser.post("/login/link", data=data, headers={"X-Remote-User": name})
            for name in ("prof", "prof", "carol")
        ]
    assert [each.status_code for each in answers] == [403, 403, 303]
    assert "A link for somebody else was not used up." in answers[1].text


async def test_a_link_with_a_mangled_code_says_so(hub: Hub) -> None:
    page = await read(hub, "/login/link?code=<script>", "")
    assert "This link does not work" in page
    assert "<script>" not in page


async def test_signing_out_ends_the_login_for_good(hub: Hub) -> None:
    async with hub.client(browser=True) as client:
        await sign_in(client, make_token(SECRET, "alice"))
        stolen = dict(client.cookies)
        response = await client.post("/logout", headers=OURS)
        assert response.headers["location"] == "/login?bye=1"
        assert "Max-Age=0" in response.headers["set-cookie"]
        assert "You have signed out." in (await client.get("/login?bye=1")).text
    async with hub.client() as client:
        client.cookies.update(stolen)
        assert (await client.get("/assignments")).status_code == 403
    assert ("alice", "sign out", "", "ok") in hub.audit()


async def test_signing_in_ends_the_browsers_login_of_before(hub: Hub) -> None:
    """A shared computer: the next person signs in where the one before forgot to sign out."""
    async with hub.client(browser=True) as client, hub.client() as elsewhere:
        await sign_in(client, make_token(SECRET, "alice"))
        elsewhere.cookies.update(dict(client.cookies))
        assert (await elsewhere.get("/assignments")).status_code == 200
        await sign_in(client, make_token(SECRET, "bob"))
        assert "<strong>bob</strong>" in (await client.get("/")).text
        assert (await elsewhere.get("/assignments")).status_code == 403


@pytest.mark.parametrize(
    ("text", "prefix", "safe"),
    [
        ("/edit/A1?x=1#top", "", "/edit/A1?x=1#top"),
        ("/live/hub/edit/A1", "/live/hub", "/live/hub/edit/A1"),
        ("/elsewhere/edit/A1", "/live/hub", ""),
        ("/live/hubris", "/live/hub", ""),
        ("//evil.test/", "", ""),
        ("/\\evil.test/", "", ""),
        ("/\t/evil.test", "", ""),
        ("https://evil.test/", "", ""),
        ("javascript:alert(1)", "", ""),
        ("", "", ""),
        ("/" + "x" * 3000, "", ""),
    ],
)
def test_after_signing_in_one_only_goes_to_a_path_of_this_hub(
    text: str, prefix: str, safe: str
) -> None:
    assert safe_next(text, prefix) == safe


@pytest.mark.parametrize(
    ("site", "removes"), [("", True), ("same-origin", True), ("none", True), ("cross-site", False)]
)
async def test_a_link_on_another_site_removes_no_unsaved_work(
    hub: Hub, site: str, removes: bool
) -> None:
    """Back from a provider's sign-out the page says that one has signed out all the same."""
    headers = {"Sec-Fetch-Site": site} if site else {}
    async with hub.client(browser=True) as client:
        page = (await client.get("/login?bye=1", headers=headers)).text
    assert "You have signed out." in page
    assert ("signed-out.js" in page) is removes
