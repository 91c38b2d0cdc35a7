"""The doors of signing in by other systems: who passes, and that no identity counts at open ones.

A hub without other systems has none of these doors, and imports nothing for them. The rows come
from the tables of routes: a new open door has to be named here, and every other one is asked by an
outsider, a student and a marker.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from mograder.auth.credentials import Role
from mograder.web.hub.app import OPTIONAL
from mograder.web.route import Access, Route
from tests.support.hub import HubProcess
from tests.support.hub_app import Hub, hub
from tests.support.hub_copies import ask
from tests.support.lti_hub import ORIGIN, LtiHub, lti_hub
from tests.support.lti_platform import lti_platform

__all__ = ["hub"]

ROUTES = tuple(
    route for needed in ("oidc", "lti", "oidc or lti") for route in OPTIONAL[needed]().routes
)
OPEN = {
    ("GET", "/auth/oidc/start"),
    ("GET", "/auth/oidc/back"),
    ("POST", "/auth/oidc/backchannel-logout"),
    ("GET", "/lti/login"),
    ("POST", "/lti/login"),
    ("POST", "/lti/launch"),
    ("POST", "/lti/pick"),
    ("GET", "/lti/keys"),
    ("GET", "/lti/register/{code}"),
    ("POST", "/lti/register/{code}"),
}
POSTED_BY_OTHERS = ("/lti/login", "/lti/launch", "/auth/oidc/backchannel-logout")
PRIVILEGED = [route for route in ROUTES if route.access is not Access.ANYONE]
LOGIN = "mograder_session"

# A port that refuses connections; nothing asks it before a door is passed.
PROVIDER = '[oidc]\nissuer = "http://127.0.0.1:9"\nclient_id = "hub"\nprivate_network = true\n'


@pytest.fixture
async def lti(tmp_path: Path) -> AsyncIterator[LtiHub]:
    """A hub with a provider and a platform."""
    more = f'[marking]\nmarkers = ["marta"]\n{PROVIDER}'
    async with lti_hub(tmp_path / "course", more=more) as rig:
        (rig.hub.course / "marking.json").write_text('["A1"]\n')
        yield rig


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


def _address(route: Route) -> str:
    return re.sub(r"\{[^}]*\}", "A1", route.path)


def _gist(answer: httpx.Response) -> tuple[int, str, str]:
    """What an answer gives, without what differs each time."""
    cookies = [each.partition("=")[0] for each in answer.headers.get_list("set-cookie")]
    return answer.status_code, answer.headers.get("location", "")[:20], " ".join(sorted(cookies))


async def _ask(
    lti: LtiHub, route: Route, user: str = "", role: Role = Role.STUDENT, **more: str
) -> httpx.Response:
    async with lti.hub.client(user, role=role) as client:
        headers = {"Host": ORIGIN.removeprefix("https://"), **more}
        return await client.request(route.method, _address(route), headers=headers)


def test_the_open_doors_are_known() -> None:
    found = {(each.method, each.path) for each in ROUTES if each.access is Access.ANYONE}
    assert found == OPEN


@pytest.mark.parametrize("route", PRIVILEGED, ids=_name)
async def test_every_other_door_is_for_instructors(lti: LtiHub, route: Route) -> None:
    for user in ("", "alice", "marta"):
        answer = await _ask(lti, route, user)
        assert answer.status_code == 403, user
    answer = await _ask(lti, route, "prof", Role.INSTRUCTOR)
    assert answer.status_code not in (401, 403)
    assert answer.status_code < 500


@pytest.mark.parametrize(
    "route", [each for each in ROUTES if each.access is Access.ANYONE], ids=_name
)
async def test_an_open_door_gives_an_instructor_no_more_than_a_stranger(
    lti: LtiHub, route: Route
) -> None:
    stranger = await _ask(lti, route)
    instructor = await _ask(lti, route, "prof", Role.INSTRUCTOR)
    assert stranger.status_code < 500 or route.path == "/auth/oidc/start"
    assert _gist(instructor) == _gist(stranger)
    assert LOGIN not in str(stranger.headers)


@pytest.mark.parametrize("path", POSTED_BY_OTHERS)
async def test_no_identity_counts_on_what_other_systems_post(lti: LtiHub, path: str) -> None:
    """Neither a single sign-on, nor a token, nor a cookie: the answer and the audit name nobody."""
    async with lti.tab() as tab:
        signed = await tab.launch("alice", lti.activity())
        cookie = signed.headers["set-cookie"].partition(";")[0]
    transport = httpx.ASGITransport(lti.hub.app, client=("127.0.0.1", 5000))
    evil = {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "cross-site"}
    before = len(lti.hub.audit())
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=evil) as client:
        for headers in ({"X-Remote-User": "prof"}, {"Cookie": cookie}, {}):
            answer = await client.post(path, headers=headers, data={"state": "x" * 43})
            assert 400 <= answer.status_code < 500
            assert "did not come from a page of this hub" not in answer.text
            assert LOGIN not in answer.headers.get("set-cookie", "")
    assert {each[0] for each in lti.hub.audit()[before:]} <= {""}


async def test_only_those_three_take_posts_of_other_sites(lti: LtiHub) -> None:
    transport = httpx.ASGITransport(lti.hub.app, client=("127.0.0.1", 5000))
    evil = {"X-Remote-User": "prof", "Origin": "https://evil.example.org"}
    changing = [_address(each) for each in ROUTES if each.method != "GET"]
    near = ["/lti/login/", "/lti//launch", "/lti/launch/x", "/LTI/launch", "/auth/oidc/start"]
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=evil) as client:
        for path in {*changing, *near} - set(POSTED_BY_OTHERS):
            answer = await client.post(path)
            assert answer.status_code == 403, path
            assert "did not come from a page of this hub" in answer.text, path


async def test_a_hub_without_other_systems_has_none_of_these_doors(hub: Hub) -> None:
    for route in ROUTES:
        answer = await ask(hub, route.method, _address(route), "prof")
        assert answer.status_code == 404, _name(route)
    assert "/auth/oidc" not in (await ask(hub, "GET", "/login", "prof")).text


NEEDED = ("joserfc", "mograder.auth.jose", "mograder.web.hub.lti.launch")
"""What only other systems need; the provider's modules are named below."""


@pytest.mark.full
def test_a_hub_without_other_systems_imports_nothing_for_them(
    start_hub: Callable[..., HubProcess],
) -> None:
    timed = {"PYTHONPROFILEIMPORTTIME": "1"}
    plain = start_hub(env=timed)
    foreign = re.compile(r"joserfc|\.(auth|clients|store|exchange)\.[\w.]*(oidc|lti)|auth\.jose")
    imported = re.findall(r"import time:.*\|\s+(\S+)\n", plain.log_text())
    assert "mograder.web.hub.app" in imported
    assert [each for each in imported if foreign.search(each)] == []
    with lti_platform() as platform:
        settings = {
            "hub.public_url": "http://127.0.0.1:{port}",
            "lti.platform": [platform.settings()],
        }
        log = start_hub(env=timed, settings=settings).log_text()
    assert all(f" {each}\n" in log for each in NEEDED)
