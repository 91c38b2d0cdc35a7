"""The users who may pass each route, from the route table, so that no route goes untested.

A route has the access that its address tells here, or is named in ``FOR_EVERYONE`` or
``FOR_ONESELF`` (decision 18).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path

import httpx
import pytest

from mograder.auth.credentials import Role, make_metrics_token
from mograder.web.hub.app import OPTIONAL
from mograder.web.hub.app import ROUTES as ALWAYS
from mograder.web.route import Access, Route
from tests.support.hub_app import NOTEBOOK, ORIGIN, SECRET, Hub, open_hub
from tests.support.joined_nodes import connected

ROUTES = (*ALWAYS, *OPTIONAL["nodes"]().routes)
"""Those of a hub with machines; of signing in elsewhere there is ``test_external_access.py``."""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with open_hub(tmp_path / "course", "[nodes]\nenabled = true\n") as made:
        connected(made.engine, "A1")
        yield made


class Who(StrEnum):
    """The kinds of people who send requests."""

    NOBODY = "nobody"
    OWNER = "alice"
    FELLOW = "bob"
    STRANGER = "mallory"
    """Signed in, and not on the access list."""
    INSTRUCTOR = "prof"
    MARKER = "marta"
    """Not on the access list; the assignment of the examples is open for marking."""


class Verdict(StrEnum):
    """The access decision; ``PASSED`` for any answer of the route's handler."""

    PASSED = "passed"
    SIGN_IN = "sign in"
    RESTRICTED = "restricted"
    FOREIGN = "another user's"
    UNPRIVILEGED = "instructors only"
    NO_MARKER = "markers only"
    CLOSED = "not open for marking"


def _verdicts(*verdicts: Verdict) -> dict[Who, Verdict]:
    return dict(zip(Who, verdicts, strict=True))


_P, _S, _R = Verdict.PASSED, Verdict.SIGN_IN, Verdict.RESTRICTED
_U, _N = Verdict.UNPRIVILEGED, Verdict.NO_MARKER
OPEN = _verdicts(_P, _P, _P, _P, _P, _P)
MEMBERS = _verdicts(_S, _P, _P, _R, _P, _P)
OWNERS = _verdicts(_S, _P, Verdict.FOREIGN, _R, _P, Verdict.FOREIGN)
INSTRUCTORS = _verdicts(_S, _U, _U, _R, _P, _U)
MARKERS = _verdicts(_S, _N, _N, _R, _P, _P)
ONESELF = {**OWNERS, Who.INSTRUCTOR: Verdict.FOREIGN}
FIRST_PAGE = {**OPEN, Who.STRANGER: _R}

EXPECTED = {
    Access.ANYONE: OPEN,
    Access.GUEST: FIRST_PAGE,
    Access.MEMBER: MEMBERS,
    Access.OWNER: OWNERS,
    Access.SELF: ONESELF,
    Access.MARKER: MARKERS,
    Access.INSTRUCTOR: INSTRUCTORS,
    Access.HELPER: MARKERS,
    Access.VISITOR: OWNERS,
    Access.HELPED: OWNERS,
    Access.METRICS: INSTRUCTORS,
}
"""The people whom each kind of access admits."""

FOR_EVERYONE = {
    "GET /": Access.GUEST,
    "GET /static/{version}/{name}": Access.ANYONE,
    "GET /calendar/{user}/{key}.ics": Access.ANYONE,
    "GET /client": Access.ANYONE,
    "GET /client/{digest}/{name}": Access.ANYONE,
    "GET /login": Access.ANYONE,
    "POST /login": Access.ANYONE,
    "GET /login/link": Access.ANYONE,
    "POST /login/link": Access.ANYONE,
    "POST /logout": Access.ANYONE,
    "POST /receipts/verify": Access.ANYONE,
    "GET /health": Access.ANYONE,
    "GET /ready": Access.ANYONE,
    "GET /edit/{a}": Access.MEMBER,
    "GET /edit/{a}/": Access.MEMBER,
    "GET /run/{lecture}": Access.MEMBER,
    "GET /run/{lecture}/": Access.MEMBER,
    "POST /download/{a}": Access.MEMBER,
    "GET /calendar": Access.MEMBER,
    "POST /calendar": Access.MEMBER,
    "GET /assignments": Access.MEMBER,
    "GET /events": Access.MEMBER,
    "GET /release/{name}/{filename:path}": Access.MEMBER,
    "GET /sessions": Access.MEMBER,
    "POST /start-edit-deep/{a}": Access.MEMBER,
    "POST /start-run/{lecture}": Access.MEMBER,
    "GET /api/status": Access.MEMBER,
    "GET /api/openapi.json": Access.MEMBER,
    "GET /api/docs": Access.MEMBER,
}
"""The routes that are open to strangers or to every member; a new one has to be named here."""

FOR_ONESELF = {
    "POST /submissions/{user}/{a}/{number}/restore": Access.SELF,
    "POST /timeline/{user}/{a}/{number}/restore": Access.SELF,
    "POST /timeline/{user}/{a}/{number}/restore/{cell}": Access.SELF,
    "POST /unsaved/{user}/{a}": Access.SELF,
    "POST /unsaved/{user}/{a}/put": Access.SELF,
    "POST /standing/{user}/{a}": Access.SELF,
    "POST /help/{user}/{a}": Access.SELF,
    "DELETE /help/{user}/{a}": Access.SELF,
    "POST /marks/{user}/{a}/requests": Access.SELF,
    "GET /look/{user}/{a}": Access.VISITOR,
    "GET /look/{user}/{a}/-/outputs": Access.VISITOR,
    "GET /standing/{user}/{a}": Access.HELPED,
}
"""The routes of a person that are not just for that person and instructors.

Were ``HISTORY`` wider, its routes would stand here; those that restore stay as they are, since they
overwrite work.
"""

FOR_INSTRUCTORS = (
    *("/course/", "/publish/", "/updates/", "/source/", "/autograde/", "/rehearsal/", "/warm"),
    *("/sync-users", "/dates", "/visibility", "/revoke-token/", "/audit", "/view-as"),
    *("/marking/{a}/open", "/marking/{a}/share", "/marking/{a}/late", "/marking/{a}/release"),
    *("/marking/{a}/statistics", "/marking/{a}/similarity"),
    *("/release/{name}", "/board/{name}/messages", "/nodes"),
    "/submissions/{user}/{a}/{number}/pick",
)
FOR_STAFF = {"/marking": Access.MARKER, "/board": Access.HELPER, "/metrics": Access.METRICS}
"""The access below an address, where it is not for instructors."""

_VALUES = {
    "{a}": "A1",
    "{lecture}": "L01",
    "{user}": "alice",
    "{student}": "alice",
    "{number}": "1",
    "{cell}": "0",
    "{name}": "A1",
    "{item}": "A1",
    "{version}": "v",
    "{digest}": "0123456789abcdef",
    "{key}": "0" * 64,
    "{archive}": "A1.bak.20260901T090000.py",
    "{filename:path}": "A1.py",
}


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


OF_ASSIGNMENTS = [
    route for route in ROUTES if route.path.startswith("/marking") and "{a}" in route.path
]


def _address(route: Route) -> str:
    path = route.path
    for placeholder, value in _VALUES.items():
        path = path.replace(placeholder, value)
    if path.startswith("/marking"):
        path = re.sub(r"\{[a-z_]+\}", "1", path)  # a question's key, or a number
    assert "{" not in path, f"no example value for a part of {route.path}"
    return path


def _verdict(response: httpx.Response) -> Verdict:
    if response.status_code != 403:
        return Verdict.PASSED
    if "This assignment is not open for marking." in response.text:
        return Verdict.CLOSED
    texts = {
        "403 Forbidden": Verdict.SIGN_IN,
        '{"detail":"Cannot access another user\'s resources"}': Verdict.FOREIGN,
        '{"detail":"You do not help there. Take the request on the board first."}': Verdict.FOREIGN,
        '{"detail":"Instructor access required"}': Verdict.UNPRIVILEGED,
        '{"detail":"Marker access required"}': Verdict.NO_MARKER,
    }
    if "<h1>Access Restricted</h1>" in response.text:
        return Verdict.RESTRICTED
    return texts.get(response.text, Verdict.PASSED)


def _takes_files(route: Route) -> bool:
    return "publish" in route.path or ("source" in route.path and route.method != "GET")


async def _knock(hub: Hub, route: Route, who: Who) -> httpx.Response:
    user = "" if who is Who.NOBODY else who.value
    role = Role.INSTRUCTOR if who is Who.INSTRUCTOR else Role.STUDENT
    files = [("files", ("A1.py", NOTEBOOK.encode()))] if _takes_files(route) else None
    async with hub.client(user, role=role) as client:
        return await client.request(route.method, _address(route), files=files)


def _demanded(route: Route) -> Access:
    """The access that a route must have."""
    named = {**FOR_EVERYONE, **FOR_ONESELF}.get(_name(route))
    if named is not None:
        return named
    if route.path.startswith(FOR_INSTRUCTORS):
        return Access.INSTRUCTOR
    found = [access for prefix, access in FOR_STAFF.items() if route.path.startswith(prefix)]
    return found[0] if found else Access.OWNER


def test_each_route_has_the_access_that_is_written_here() -> None:
    assert [_name(each) for each in ROUTES if each.access is not _demanded(each)] == []
    assert {*FOR_EVERYONE, *FOR_ONESELF} <= {_name(each) for each in ROUTES}
    personal = (Access.OWNER, Access.SELF, Access.VISITOR, Access.HELPED)
    unnamed = [each for each in ROUTES if each.access in personal and "{user}" not in each.path]
    assert unnamed == []


def _open_the_course(hub: Hub, opened: str | None = '["A1"]\n') -> None:
    """Write who may come and what is open for marking, as it was before any request."""
    (hub.course / "allowed_users.txt").write_text("alice\nbob\n")
    (hub.course / "marking.json").unlink(missing_ok=True)
    if opened is not None:
        (hub.course / "marking.json").write_text(opened)


def _state(hub: Hub) -> tuple[object, ...]:
    """Return what a request may change."""
    running, started, asked = hub.pool.running, hub.pool.started, hub.batch.asked
    return {*hub.course.rglob("*.py")}, {*running}, [*started], [*asked]


@pytest.mark.usefixtures("unsaved_in_threads")
@pytest.mark.parametrize("who", Who, ids=str)
async def test_every_door_lets_pass_whom_it_should_and_nobody_else(hub: Hub, who: Who) -> None:
    """One person knocks at all doors of one hub; all wrong answers are told at once.

    Who is refused changes nothing.
    """
    wrong = []
    for route in ROUTES:
        _open_the_course(hub)
        hub.start("alice", "A1")
        before, expected = _state(hub), EXPECTED[route.access][who]
        answer = await _knock(hub, route, who)
        told = _verdict(answer)
        if told is not expected or answer.status_code >= 500:
            wrong.append(f"{_name(route)}: {answer.status_code} {told}, not {expected}")
        if expected is not Verdict.PASSED and _state(hub) != before:
            wrong.append(f"{_name(route)}: it changed something")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "opened",
    [
        '["A2"]',
        *(
            pytest.param(text, marks=pytest.mark.full)
            for text in ("[]", '{"A1": true}', "not JSON", "", None)
        ),
    ],
)
async def test_a_marker_is_refused_for_an_assignment_that_is_not_open(
    hub: Hub, opened: str | None
) -> None:
    wrong = []
    for route in OF_ASSIGNMENTS:
        closed = Verdict.CLOSED if route.access is Access.MARKER else _U
        for who, expected in ((Who.MARKER, closed), (Who.INSTRUCTOR, Verdict.PASSED)):
            _open_the_course(hub, opened)
            told = _verdict(await _knock(hub, route, who))
            if told is not expected:
                wrong.append(f"{_name(route)}: {who} {told}, not {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("origin", ["https://evil.test", "null", f"{ORIGIN}.evil.test"])
async def test_no_other_site_makes_a_browser_change_anything(hub: Hub, origin: str) -> None:
    """With the identity of SSO, which a browser sends along whoever asks it to (security.md)."""
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    headers = {"X-Remote-User": "prof", "Origin": origin}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
        for route in [route for route in ROUTES if route.method != "GET"]:
            response = await client.request(route.method, _address(route))
            assert response.status_code == 403, _name(route)
            detail = response.json()["detail"]
            assert detail.startswith("This request did not come from a page of this hub")
            assert hub.pool.started == [], _name(route)


async def test_the_trusted_header_counts_from_trusted_addresses_only(hub: Hub) -> None:
    async with hub.client() as client:
        narrow = [each for each in ROUTES if each.access not in (Access.ANYONE, Access.GUEST)]
        doors = [(each.method, _address(each)) for each in narrow]
        hub.start("alice", "A1")
        for method, path in [*doors, ("GET", "/edit/user/alice/A1/x")]:
            response = await client.request(method, path, headers={"X-Remote-User": "prof"})
            assert (response.status_code, response.text) == (403, "403 Forbidden"), path


async def test_a_metrics_token_reads_the_metrics_and_is_nobody_elsewhere(hub: Hub) -> None:
    """Under an instructor's name too: its name gives it nothing."""
    headers = {"Authorization": f"Bearer {make_metrics_token(SECRET, 'prof')}"}
    wrong = []
    for route in ROUTES:
        async with hub.client() as client:
            answer = await client.request(route.method, _address(route), headers=headers)
        if route.path == "/metrics":
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert "mograder_sessions" in answer.text
        elif _verdict(answer) is not (expected := EXPECTED[route.access][Who.NOBODY]):
            wrong.append(f"{_name(route)}: {answer.status_code}, not {expected}")
        elif expected is Verdict.PASSED:
            async with hub.client() as client:
                nobody = await client.request(route.method, _address(route))
            told = [each.headers.get("set-cookie") for each in (answer, nobody)]
            if (answer.status_code, told[0]) != (nobody.status_code, told[1]):
                wrong.append(f"{_name(route)}: {answer.status_code} {told[0]}, not as nobody")
        elif "set-cookie" in answer.headers:
            wrong.append(f"{_name(route)}: a cookie")
    assert not wrong, "\n".join(wrong)


async def test_a_metrics_token_ends_when_it_is_revoked_and_signs_nobody_in(hub: Hub) -> None:
    token = make_metrics_token(SECRET, "prometheus")
    async with hub.client() as client:
        signed_in = await client.post("/login", data={"token": token}, headers={"Origin": ORIGIN})
        assert "set-cookie" not in signed_in.headers
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await client.get("/metrics", headers=bearer)).status_code == 200
        async with hub.client("prof", role=Role.INSTRUCTOR) as prof:
            assert (await prof.post("/revoke-token/prometheus")).status_code == 200
        assert (await client.get("/metrics", headers=bearer)).status_code == 403
        again = make_metrics_token(SECRET, "prometheus", 1)
        bearer = {"Authorization": f"Bearer {again}"}
        assert (await client.get("/metrics", headers=bearer)).status_code == 200


async def test_a_repeated_identity_is_refused_at_every_door(hub: Hub) -> None:
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    headers = [("X-Remote-User", "prof"), ("X-Remote-User", "alice")]
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
        for route in ROUTES:
            response = await client.request(route.method, _address(route))
            assert response.status_code == 400


async def test_sso_sets_the_login_cookie_on_errors_too(hub: Hub) -> None:
    """compatibility-0.3.16.md 2.1: the cookie is set on the response of that same request."""
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    headers = {"X-Remote-User": "alice"}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
        for path in ("/assignments", "/nope"):
            response = await client.get(path)
            assert response.headers["set-cookie"].startswith("mograder_session=")
            client.cookies.clear()
    async with hub.client("alice") as client:
        assert "set-cookie" not in (await client.get("/assignments")).headers


async def test_an_encoded_slash_does_not_lead_around_the_session_proxy(hub: Hub) -> None:
    async with hub.client("bob") as client:
        for path in ("/edit%2Fuser/alice/A1/", "/edit/user%2Falice/A1", "/edit/%75ser/alice/A1/"):
            response = await client.get(path)
            assert response.status_code in (400, 403, 404)
