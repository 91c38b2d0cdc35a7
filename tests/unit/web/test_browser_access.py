"""Access to the dashboard: one browser by each link, no other page of this machine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from mograder.web.browser_access import BrowserAccess
from tests.support.clock import ManualClock
from tests.support.dashboard_app import PORT, URL, dashboard

FORBIDDEN, MISDIRECTED = httpx.codes.FORBIDDEN, httpx.codes.MISDIRECTED_REQUEST


async def test_a_link_lets_one_browser_in_and_the_terminal_gets_the_next(tmp_path: Path) -> None:
    told: list[str] = []
    async with dashboard(tmp_path / "w") as shown, shown.stranger() as stranger:
        shown.app.access.tell = told.append
        link = shown.app.access.new_link()
        first = await stranger.get(link)
        cookie = first.headers["set-cookie"]
        assert first.status_code == httpx.codes.SEE_OTHER
        assert f"mograder_student_{PORT}=" in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        async with shown.stranger() as another:
            again = await another.get(link)
            assert again.status_code == FORBIDDEN
            assert "set-cookie" not in again.headers
            assert (await another.get("/sign-in")).status_code == FORBIDDEN
            [following] = told
            assert (await another.get(following)).status_code == httpx.codes.SEE_OTHER
            assert (await another.get("/sign-in")).status_code == httpx.codes.OK
        assert (await stranger.get("/sign-in")).status_code == httpx.codes.OK


def test_a_link_that_nobody_used_works_for_a_quarter_of_an_hour() -> None:
    clock = ManualClock()
    access = BrowserAccess(PORT, clock)
    told: list[str] = []
    access.tell = told.append
    code = access.new_link().partition("=")[2]
    clock.advance(timedelta(minutes=15, seconds=1).total_seconds())
    assert access.use(code) is None
    assert access.use(told[-1].partition("=")[2]) is not None


@pytest.mark.parametrize("code", ["", "x", "x" * 300, "é" * 43])
def test_a_wrong_code_gets_nothing_and_uses_up_nothing(code: str) -> None:
    access = BrowserAccess(PORT, ManualClock())
    right = access.new_link().partition("=")[2]
    assert access.use(code) is None
    assert access.use(right) is not None


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1:1", "127.0.0.1", "localhost"]
)
async def test_a_name_that_is_not_ours_gets_nothing(tmp_path: Path, host: str) -> None:
    """DNS rebinding: the attacker's own name leads to this machine, and the cookie is not asked."""
    async with dashboard(tmp_path / "w", everybody=True) as shown:
        for path in ("/", "/health", "/sign-in"):
            answer = await shown.client.get(path, headers={"host": host})
            assert answer.status_code == MISDIRECTED, path
        assert (await shown.client.get("/sign-in")).status_code == httpx.codes.OK


@pytest.mark.parametrize(
    "marks",
    [
        {"origin": "http://127.0.0.1:8888"},
        {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "null", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "same-site"},
        {"origin": f"https://127.0.0.1:{PORT}"},
    ],
)
async def test_another_page_cannot_press_a_button_though_the_cookie_goes_along(
    tmp_path: Path, marks: dict[str, str]
) -> None:
    async with dashboard(tmp_path / "w") as shown:
        for path in ("/sync", "/logout", "/submit/A1", "/edit/A1", "/sign-in/token"):
            answer = await shown.client.post(path, headers=marks)
            assert answer.status_code == FORBIDDEN, path
        own = {"origin": URL, "sec-fetch-site": "same-origin"}
        assert (await shown.client.post("/logout", headers=own)).status_code == 303


async def test_without_the_link_nothing_but_health_and_styles_is_there(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "w") as shown, shown.stranger() as stranger:
        assert (await stranger.get("/health")).json() == {"status": "ok"}
        for path in ("/", "/sign-in", "/feedback/A1/0", "/receipt/A1/file", "/nothing"):
            answer = await stranger.get(path)
            assert answer.status_code == FORBIDDEN, path
            assert "not let in yet" in answer.text
        answer = await stranger.post("/sync", headers={"accept": "application/json"})
        assert answer.status_code == FORBIDDEN
        assert answer.json()["detail"]


async def test_no_token_asks_for_no_link_but_still_for_our_own_pages(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "w", everybody=True) as shown:
        assert (await shown.client.get("/sign-in")).status_code == httpx.codes.OK
        foreign = {"origin": "http://evil.example"}
        assert (await shown.client.post("/sync", headers=foreign)).status_code == FORBIDDEN


async def test_every_answer_carries_the_headers_that_close_a_page_in(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "w") as shown:
        for path in ("/sign-in", "/nothing", "/health"):
            headers = (await shown.client.get(path)).headers
            assert headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert headers["cache-control"] == "no-store"
