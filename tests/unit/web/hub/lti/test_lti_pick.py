"""Picking items in a learning platform's dialogue."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from mograder.auth.lti_claims import PickHandle, make_handle
from tests.support.hub_app import SECRET
from tests.support.lti.tokens import DEEP_LINKING, keys, sign, verified
from tests.support.lti_hub import ORIGIN, POLICY, LtiHub, Tab, lti_hub, refused
from tests.support.page_reader import hidden_field

SOURCE = """import marimo

app = marimo.App()


@app.cell
def _():
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5.5}
    return
"""


@pytest.fixture
async def lti(tmp_path: Path) -> AsyncIterator[LtiHub]:
    source = tmp_path / "course" / "source" / "A1"
    source.mkdir(parents=True)
    (source / "A1.py").write_text(SOURCE)
    async with lti_hub(tmp_path / "course") as rig:
        yield rig


async def asked(tab: Tab, username: str = "teach1") -> httpx.Response:
    """The page for picking, in the platform's frame."""
    form = tab.hub.platform.initiation(username)
    begun = await tab.send("/lti/login", form, "iframe")
    address, fields = tab.hub.platform.authenticate(begun.headers["location"])
    assert address == f"{ORIGIN}/lti/launch"
    return await tab.send("/lti/launch", fields, "iframe")


def handle_of(page: httpx.Response) -> str:
    """The handle in the page's form."""
    assert page.status_code == 200, page.text
    return hidden_field(page.text, "handle")


async def pick(tab: Tab, handle: str, *items: str, origin: str = ORIGIN) -> httpx.Response:
    """Send the form of the page."""
    form = {f"item{number}": name for number, name in enumerate(items, 1)}
    headers = {
        "Origin": origin,
        "Sec-Fetch-Site": "same-origin" if origin == ORIGIN else "cross-site",
        "Sec-Fetch-Dest": "iframe",
        "Accept": "text/html",
    }
    return await tab.browser.post("/lti/pick", data={"handle": handle} | form, headers=headers)


async def test_a_teacher_picks_items_and_the_platform_has_their_links(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        page = await asked(tab)
        for name in ("A1", "A2", "L01"):
            assert f'value="{name}"' in page.text
        sent = await pick(tab, handle_of(page), "A1", "L01")
        assert sent.status_code == 200
        address = re.search(r'action="([^"]+)"', sent.text)
        token = hidden_field(sent.text, "JWT")
        assert address is not None
        assert address[1].startswith(f"{lti.platform.url}/mod/lti/contentitem_return.php")
        assert not [each for each in page.headers if each == "set-cookie"]
        assert "mograder_session" not in str(sent.headers)
    place = address[1].replace("&amp;", "&")
    async with httpx.AsyncClient(trust_env=False) as browser:
        assert (await browser.post(place, data={"JWT": token})).status_code == 200
    assert lti.platform.picked == [
        {
            "type": "ltiResourceLink",
            "title": "A1",
            "custom": {"item": "A1"},
            "lineItem": {
                "label": "A1",
                "scoreMaximum": 15.5,
                "resourceId": "A1",
                "tag": "grade",
            },
        },
        {"type": "ltiResourceLink", "title": "L01", "custom": {"item": "L01"}},
    ]
    assert lti.platform.hub_keys is not None
    claims = verified(token, lti.platform.hub_keys)
    assert claims["iss"] == "client-full"
    assert claims["aud"] == lti.platform.url
    assert claims["exp"] - claims["iat"] == 330
    assert ("", "pick items", f"{lti.platform.url}: A1, L01", "ok") in lti.hub.audit()


async def test_the_pages_can_be_framed_by_the_platform_and_post_there(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        page = await asked(tab)
        sent = await pick(tab, handle_of(page), "A1")
        for answer in (page, sent):
            policy = answer.headers[POLICY]
            assert f"frame-ancestors {lti.platform.url}" in policy
            assert f"form-action 'self' {lti.platform.url};" in policy
            assert "script-src https://hub.example.org/static/;" in policy


async def test_students_do_not_pick(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        page = await asked(tab, "alice")
        assert page.status_code == 403
        assert "Only instructors of the course" in page.text
        assert "handle" not in page.text
        assert f"frame-ancestors {lti.platform.url}" in page.headers[POLICY]
    async with lti.tab() as tab:
        lti.platform.state.change("teach1", roles=("Learner",))
        assert (await asked(tab)).status_code == 403


async def test_the_platforms_own_data_comes_back_as_it_was(lti: LtiHub) -> None:
    data = "".join(f'"{number}\n' for number in range(4000))[:20_000]
    async with lti.tab() as tab:
        form = lti.platform.initiation("teach1")
        begun = await tab.send("/lti/login", form, "iframe")
        _, fields = lti.platform.authenticate(begun.headers["location"])
        told = verified(fields["id_token"], keys("platform"))
        told[f"{DEEP_LINKING}deep_linking_settings"]["data"] = data
        page = await tab.send("/lti/launch", fields | {"id_token": sign(told)}, "iframe")
        sent = await pick(tab, handle_of(page), "A1")
    assert lti.platform.hub_keys is not None
    claims = verified(hidden_field(sent.text, "JWT"), lti.platform.hub_keys)
    assert claims[f"{DEEP_LINKING}data"] == data


async def test_what_hinders_the_page_is_told_in_the_platforms_frame(lti: LtiHub) -> None:
    """A page that the frame may not show would be an empty dialogue."""

    async def come(**changed: str) -> httpx.Response:
        begun = await tab.send("/lti/login", lti.platform.initiation("teach1"), "iframe")
        _, fields = lti.platform.authenticate(begun.headers["location"])
        answer = await tab.send("/lti/launch", {**fields, **changed}, "iframe")
        again = await tab.send("/lti/launch", fields, "iframe")
        return again if answer.status_code == 200 else answer

    async with lti.tab() as tab:
        lti.platform.always("keys", 500)
        down = await come()
        lti.platform.always("keys", None)
        lti.hub.clock.advance(6)
        for answer, words in (
            (down, "cannot be asked at the moment"),
            (await come(id_token="x"), "not valid"),
            (await come(), "was completed already"),
        ):
            assert words in answer.text
            assert f"frame-ancestors {lti.platform.url}" in answer.headers[POLICY], words


async def test_a_browser_that_keeps_no_cookie_is_told_so_in_the_platforms_frame(
    lti: LtiHub,
) -> None:
    async with lti.tab() as tab:
        begun = await tab.send("/lti/login", lti.platform.initiation("teach1"), "iframe")
        _, fields = lti.platform.authenticate(begun.headers["location"])
        tab.browser.cookies.clear()
        answer = await tab.send("/lti/launch", fields, "iframe")
    refused(answer, "another browser")
    assert f"frame-ancestors {lti.platform.url}" in answer.headers[POLICY]


async def test_a_handle_counts_once(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        handle = handle_of(await asked(tab))
        cookies = list(tab.browser.cookies.jar)
        assert (await pick(tab, handle, "A1")).status_code == 200
        assert (await pick(tab, handle, "A1")).status_code == 400
        for cookie in cookies:
            tab.browser.cookies.jar.set_cookie(cookie)
        again = await pick(tab, handle, "A1")
        assert again.status_code == 400
        assert "sent already" in again.text


async def test_a_handle_is_of_its_browser_for_ten_minutes(lti: LtiHub) -> None:
    async with lti.tab() as tab, lti.tab() as other:
        handle = handle_of(await asked(tab))
        await asked(other)
        assert (await pick(other, handle, "A1")).status_code == 400
        body, _, mac = handle.partition(".")
        forged = f"{body[:-4]}AAAA.{mac}"
        assert (await pick(tab, forged, "A1")).status_code == 400
        strange = await pick(tab, "", "A1")
        assert strange.status_code == 400
        assert f"frame-ancestors {lti.platform.url}" in strange.headers[POLICY]
        assert (await pick(tab, handle, "A1", origin="https://evil.example.org")).status_code == 403
        lti.hub.clock.advance(601)
        assert (await pick(tab, handle, "A1")).status_code == 400
        assert lti.count("used_states") == 2  # the launches


async def test_only_published_items_can_be_picked(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        handle = handle_of(await asked(tab))
        for items in ((), ("No such item",), ("A1", "../A2")):
            wrong = await pick(tab, handle, *items)
            assert wrong.status_code == 400, items
            assert f"frame-ancestors {lti.platform.url}" in wrong.headers[POLICY]
        assert (await pick(tab, handle, "A1")).status_code == 200  # the teacher picks again


async def test_a_platform_that_takes_one_link_gets_one(lti: LtiHub) -> None:
    handle = PickHandle("s" * 43, lti.platform.url, "client-full", "1", "11", "x", None, False)
    async with lti.tab() as tab:
        begun = await tab.send("/lti/login", lti.platform.initiation("teach1"), "iframe")
        state = httpx.URL(begun.headers["location"]).params["state"]
        one = make_handle(SECRET, replace(handle, state=state))
        assert (await pick(tab, one, "A1", "A2")).status_code == 400
        assert (await pick(tab, one, "A1")).status_code == 200
