"""Access to the grader: the one-time link, the proxy's header, and the preview as a marker."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from mograder.core.errors import InvalidInput
from mograder.web.grader import proxy_rules
from tests.support.grader_app import (
    LOCAL,
    LOOPBACK,
    PROXY,
    PUBLIC,
    STRANGER,
    local_grader,
    proxied_grader,
)

OK, SEEN, REFUSED = httpx.codes.OK, httpx.codes.SEE_OTHER, httpx.codes.FORBIDDEN
SWITCH = "/marking/A1/open"


@pytest.fixture(autouse=True)
def assignment(tmp_path: Path) -> None:
    """Have the course know the assignment of ``SWITCH``."""
    (tmp_path / "submitted" / "A1").mkdir(parents=True)


async def _status(client: httpx.AsyncClient, method: str = "GET", path: str = "/marking") -> int:
    async with client:
        data = {"open": "1"} if method == "POST" else None
        return (await client.request(method, path, data=data)).status_code


async def test_the_link_lets_one_browser_in_as_an_instructor(tmp_path: Path) -> None:
    async with local_grader(tmp_path) as grader:
        assert grader.browser is not None
        async with grader.from_peer(LOOPBACK) as client:
            assert (await client.get("/marking")).status_code == REFUSED
            assert (await client.post(SWITCH, data={"open": "1"})).status_code == REFUSED
            entered = await client.get(grader.browser.new_link())
            assert (entered.status_code, entered.headers["location"]) == (SEEN, "/")
            first = await client.get("/")
            assert (first.status_code, first.headers["location"]) == (SEEN, "/marking")
            assert "anna" in (await client.get("/marking")).text
            assert (await client.post(SWITCH, data={"open": "1"})).status_code == SEEN
        assert await _status(grader.from_peer(LOOPBACK)) == REFUSED  # a browser without the cookie


async def test_a_refused_browser_is_told_which_command_has_the_link(tmp_path: Path) -> None:
    async with local_grader(tmp_path) as grader, grader.from_peer(LOOPBACK) as client:
        answer = await client.get("/marking", headers={"Accept": "text/html"})
    assert answer.status_code == REFUSED
    assert "mograder grader" in answer.text
    assert "mograder student" not in answer.text


@pytest.mark.parametrize(
    ("instructors", "markers", "user", "pages", "switch"),
    [
        ("", "", "eve", OK, SEEN),
        ("prof", "marta", "prof", OK, SEEN),
        ("prof", "marta", "marta", OK, REFUSED),
        ("prof", "marta", "eve", REFUSED, REFUSED),
        ("", "marta", "eve", REFUSED, REFUSED),
        ("prof", "", "eve", REFUSED, REFUSED),
        ("prof", "prof", "prof", OK, SEEN),
        ("prof", "j\u00fcrgen", "j\u00fcrgen", OK, REFUSED),
    ],
)
async def test_the_proxys_header_gives_the_role_by_the_lists(
    tmp_path: Path, instructors: str, markers: str, user: str, pages: int, switch: int
) -> None:
    async with proxied_grader(tmp_path, instructors, markers) as grader:
        assert await _status(grader.through_proxy(user)) == pages
        assert await _status(grader.through_proxy(user), "POST", SWITCH) == switch


@pytest.mark.parametrize("user", ["", "prof"])
async def test_no_other_address_may_name_a_user_or_be_one(tmp_path: Path, user: str) -> None:
    async with proxied_grader(tmp_path, "prof") as grader:
        answer = await grader.from_peer(STRANGER, PUBLIC, user).get("/marking")
        assert (answer.status_code, answer.text) == (REFUSED, "403 Forbidden")
        assert await _status(grader.from_peer(PROXY, PUBLIC)) == REFUSED  # it names no user


async def test_this_machine_without_a_proxy_is_an_instructors(tmp_path: Path) -> None:
    async with proxied_grader(tmp_path, "prof") as grader:
        for peer in (LOOPBACK, "::1", "::ffff:127.0.0.1"):
            assert await _status(grader.from_peer(peer), "POST", SWITCH) == SEEN


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.7"},
        {"Forwarded": "for=192.0.2.7"},
        {"X-Real-IP": "192.0.2.7"},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:2718"},
        {"X-Remote-User": "prof"},
    ],
)
async def test_a_proxy_on_this_machine_is_not_taken_for_a_person(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with proxied_grader(tmp_path, "prof") as grader, grader.from_peer(LOOPBACK) as client:
        assert (await client.get("/marking", headers=headers)).status_code == REFUSED


async def test_a_proxy_on_this_machine_may_name_users_if_it_is_trusted(tmp_path: Path) -> None:
    async with proxied_grader(tmp_path, "prof", "marta", local_proxy=True) as grader:
        assert await _status(grader.from_peer(LOOPBACK, PUBLIC, "prof"), "POST", SWITCH) == SEEN
        assert await _status(grader.from_peer(LOOPBACK, PUBLIC, "marta"), "POST", SWITCH) == REFUSED
        assert await _status(grader.from_peer(LOOPBACK, PUBLIC, "eve")) == REFUSED
        unnamed = await _status(grader.from_peer(LOOPBACK), "POST", SWITCH)
        assert unnamed == REFUSED, "a proxy may pass on a visitor without a name"
        rebound = grader.from_peer(LOOPBACK, "http://evil.example:2718", "prof")
        assert await _status(rebound) == REFUSED, "a page that leads its own name here"


async def test_a_repeated_or_malformed_user_is_refused(tmp_path: Path) -> None:
    async with proxied_grader(tmp_path) as grader, grader.from_peer(PROXY, PUBLIC) as client:
        twice = [("X-Remote-User", "prof"), ("X-Remote-User", "eve")]
        assert (await client.get("/marking", headers=twice)).status_code == 400
        for name in (b"../eve", b"eve\xff", "eve\u00a0".encode()):
            answer = await client.get("/marking", headers={b"X-Remote-User": name})
            assert answer.status_code == 400


@pytest.mark.parametrize("origin", ["https://evil.example", "null", LOCAL])
async def test_no_other_site_makes_a_browser_change_anything(tmp_path: Path, origin: str) -> None:
    async with proxied_grader(tmp_path, "prof") as grader, grader.through_proxy("prof") as client:
        answer = await client.post(SWITCH, data={"open": "1"}, headers={"Origin": origin})
        assert answer.status_code == REFUSED
    assert not (tmp_path / "marking.json").exists()


async def test_an_instructor_looks_as_a_marker_for_eight_hours(tmp_path: Path) -> None:
    async with proxied_grader(tmp_path, "prof") as grader, grader.through_proxy("prof") as client:
        switched = await client.get("/_view_as?role=marker")
        assert (switched.status_code, switched.headers["location"]) == (SEEN, "./")
        cookie = switched.headers["set-cookie"]
        assert cookie == "mograder_view_as=marker; Max-Age=28800; HttpOnly; SameSite=Lax"
        client.cookies.set("mograder_view_as", "marker")
        assert (await client.post(SWITCH, data={"open": "1"})).status_code == REFUSED
        assert "_view_as?role=" in (await client.get("/marking")).text
        back = await client.get("/_view_as?role=")
        assert back.status_code == SEEN
        assert "Max-Age=0" in back.headers["set-cookie"]
        assert (await client.get("/_view_as?role=student")).status_code == 400


async def test_a_marker_gains_nothing_by_the_cookie_of_the_preview(tmp_path: Path) -> None:
    async with (
        proxied_grader(tmp_path, "prof", "marta") as grader,
        grader.through_proxy("marta") as client,
    ):
        assert (await client.get("/_view_as?role=marker")).status_code == REFUSED
        for value in ("instructor", "", "marker|2026-01-01"):
            client.cookies.set("mograder_view_as", value)
            assert (await client.post(SWITCH, data={"open": "1"})).status_code == REFUSED


def test_a_list_with_a_mistake_names_it() -> None:
    with pytest.raises(InvalidInput, match="somewhere") as failure:
        proxy_rules([], [], ["somewhere"], local_proxy=False)
    assert "--trusted-proxies" in failure.value.hint
    with pytest.raises(InvalidInput, match="no/one"):
        proxy_rules(["no/one"], [], [], local_proxy=False)
