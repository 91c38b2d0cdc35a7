"""The users who may pass each route, from the route table, so that no route goes untested.

A new route without an entry in ``EXPECTED`` fails here (decision 18).
"""

from __future__ import annotations

import re
from enum import StrEnum

import httpx
import pytest

from mograder.auth.roles import Role
from mograder.auth.tokens import make_metrics_token
from mograder.web.hub.routes import ROUTES, Route
from mograder.web.hub.support.access import Access
from mograder.web.marking.routes import MARKING_ROUTES, Demands
from tests.support.hub_app import NOTEBOOK, ORIGIN, SECRET, Hub, hub

__all__ = ["hub"]


class Who(StrEnum):
    """The kinds of people who send requests."""

    NOBODY = "nobody"
    OWNER = "alice"
    FELLOW = "bob"
    STRANGER = "mallory"
    """Signed in, and not on the course's list."""
    INSTRUCTOR = "prof"
    MARKER = "marta"
    """Not on the course's list; the assignment of the examples is open for marking."""


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

EXPECTED: dict[tuple[str, str], dict[Who, Verdict]] = {
    ("GET", "/"): FIRST_PAGE,
    ("GET", "/edit/{a}"): MEMBERS,
    ("GET", "/edit/{a}/"): MEMBERS,
    ("GET", "/run/{lecture}"): MEMBERS,
    ("GET", "/run/{lecture}/"): MEMBERS,
    ("POST", "/download/{a}"): MEMBERS,
    ("GET", "/release/{name}"): INSTRUCTORS,
    ("GET", "/static/{version}/{name}"): OPEN,
    ("GET", "/calendar"): MEMBERS,
    ("POST", "/calendar"): MEMBERS,
    ("GET", "/calendar/{user}/{key}.ics"): OPEN,
    ("GET", "/client"): OPEN,
    ("GET", "/client/{digest}/{name}"): OPEN,
    ("GET", "/login"): OPEN,
    ("POST", "/login"): OPEN,
    ("GET", "/login/link"): OPEN,
    ("POST", "/login/link"): OPEN,
    ("POST", "/logout"): OPEN,
    ("GET", "/assignments"): MEMBERS,
    ("GET", "/events"): MEMBERS,
    ("GET", "/view-as"): INSTRUCTORS,
    ("GET", "/standing/{user}/{a}"): OWNERS,
    ("GET", "/reset/{user}/{a}"): OWNERS,
    ("GET", "/versions/{user}/{a}"): OWNERS,
    ("GET", "/versions/{user}/{a}/{number}"): OWNERS,
    ("GET", "/timeline/{user}/{a}"): OWNERS,
    ("GET", "/timeline/{user}/{a}/{number}"): OWNERS,
    ("GET", "/timeline/{user}/{a}/{number}/changes"): OWNERS,
    ("POST", "/timeline/{user}/{a}/{number}/restore"): ONESELF,
    ("POST", "/timeline/{user}/{a}/{number}/restore/{cell}"): ONESELF,
    ("POST", "/unsaved/{user}/{a}"): ONESELF,
    ("POST", "/unsaved/{user}/{a}/put"): ONESELF,
    ("GET", "/hand-in/{user}/{a}"): OWNERS,
    ("POST", "/hand-in/{user}/{a}"): OWNERS,
    ("GET", "/submissions/{user}/{a}"): OWNERS,
    ("GET", "/submissions/{user}/{a}/{number}"): OWNERS,
    ("GET", "/submissions/{user}/{a}/{number}/file"): OWNERS,
    ("GET", "/submissions/{user}/{a}/{number}/receipt"): OWNERS,
    ("POST", "/submissions/{user}/{a}/{number}/restore"): ONESELF,
    ("POST", "/receipts/verify"): OPEN,
    ("GET", "/look/{user}/{a}"): OWNERS,
    ("GET", "/look/{user}/{a}/{archive}"): OWNERS,
    ("GET", "/validation/{user}/{a}"): OWNERS,
    ("GET", "/marks/{user}/{a}"): OWNERS,
    ("GET", "/marks/{user}/{a}/page"): OWNERS,
    ("POST", "/marks/{user}/{a}/requests"): ONESELF,
    ("GET", "/update/{user}/{a}"): OWNERS,
    ("POST", "/update/{user}/{a}"): OWNERS,
    ("POST", "/update/{user}/{a}/undo"): OWNERS,
    ("GET", "/course/updates/{name}"): INSTRUCTORS,
    ("GET", "/course/updates/{name}/{user}"): INSTRUCTORS,
    ("POST", "/course/cancel-preview/{item}"): INSTRUCTORS,
    ("POST", "/course/undo-update/{item}"): INSTRUCTORS,
    ("GET", "/updates/{item}"): INSTRUCTORS,
    ("POST", "/updates/{item}"): INSTRUCTORS,
    ("DELETE", "/updates/{item}"): INSTRUCTORS,
    ("POST", "/updates/{item}/preview"): INSTRUCTORS,
    ("DELETE", "/updates/{item}/preview"): INSTRUCTORS,
    ("GET", "/course/items"): INSTRUCTORS,
    ("GET", "/course/items/{name}"): INSTRUCTORS,
    ("GET", "/course/items/{name}/{user}"): INSTRUCTORS,
    ("POST", "/course/source/{name}"): INSTRUCTORS,
    ("POST", "/course/cancel-grading/{item}"): INSTRUCTORS,
    ("POST", "/course/publish"): INSTRUCTORS,
    ("GET", "/course/publishing/{name}"): INSTRUCTORS,
    ("GET", "/course/preparing"): INSTRUCTORS,
    ("GET", "/course/sessions"): INSTRUCTORS,
    ("GET", "/course/students"): INSTRUCTORS,
    ("GET", "/course/students/{user}"): INSTRUCTORS,
    ("GET", "/course/gradebook"): INSTRUCTORS,
    ("GET", "/course/gradebook.csv"): INSTRUCTORS,
    ("GET", "/course/gradebook.xlsx"): INSTRUCTORS,
    ("GET", "/course/people"): INSTRUCTORS,
    ("GET", "/course/today"): INSTRUCTORS,
    ("POST", "/course/invite"): INSTRUCTORS,
    ("GET", "/course/problems"): INSTRUCTORS,
    ("GET", "/course/log"): INSTRUCTORS,
    ("GET", "/board"): MARKERS,
    ("GET", "/board/{name}"): MARKERS,
    ("GET", "/board/{name}/news"): MARKERS,
    ("POST", "/board/{name}/help/{user}/take"): MARKERS,
    ("POST", "/board/{name}/help/{user}/close"): MARKERS,
    ("POST", "/board/{name}/help/{user}/together"): MARKERS,
    ("POST", "/board/{name}/messages"): INSTRUCTORS,
    ("POST", "/board/{name}/messages/{number}"): INSTRUCTORS,
    ("GET", "/help/{user}/{a}"): OWNERS,
    ("POST", "/help/{user}/{a}"): ONESELF,
    ("DELETE", "/help/{user}/{a}"): ONESELF,
    ("GET", "/release/{name}/{filename:path}"): MEMBERS,
    ("POST", "/publish/{name}"): INSTRUCTORS,
    ("GET", "/rehearsal/{item}"): INSTRUCTORS,
    ("POST", "/rehearsal/{item}"): INSTRUCTORS,
    ("DELETE", "/rehearsal/{item}"): INSTRUCTORS,
    ("GET", "/warm"): INSTRUCTORS,
    ("POST", "/warm"): INSTRUCTORS,
    ("POST", "/warm-cache"): INSTRUCTORS,
    ("GET", "/source/{name}"): INSTRUCTORS,
    ("PUT", "/source/{name}"): INSTRUCTORS,
    ("POST", "/autograde/{item}"): INSTRUCTORS,
    ("GET", "/autograde/{item}"): INSTRUCTORS,
    ("DELETE", "/autograde/{item}"): INSTRUCTORS,
    ("GET", "/sessions"): MEMBERS,
    ("POST", "/start-edit-deep/{a}"): MEMBERS,
    ("POST", "/start-edit/{user}/{a}"): OWNERS,
    ("POST", "/start-run/{lecture}"): MEMBERS,
    ("POST", "/stop-edit/{user}/{a}"): OWNERS,
    ("POST", "/validate/{user}/{a}"): OWNERS,
    ("POST", "/sync-users"): INSTRUCTORS,
    ("GET", "/dates"): INSTRUCTORS,
    ("POST", "/dates/{name}"): INSTRUCTORS,
    ("GET", "/visibility"): INSTRUCTORS,
    ("POST", "/visibility"): INSTRUCTORS,
    ("POST", "/revoke-token/{user}"): INSTRUCTORS,
    ("GET", "/audit"): INSTRUCTORS,
    ("GET", "/status/{user}/{a}"): OWNERS,
    ("POST", "/upload/{user}/{a}"): OWNERS,
    ("GET", "/export/{user}/{a}"): OWNERS,
    ("POST", "/mark-exported/{user}/{a}"): OWNERS,
    ("POST", "/reset/{user}/{a}"): OWNERS,
    ("POST", "/download-release/{user}/{a}"): OWNERS,
    ("POST", "/submit/{user}/{a}"): OWNERS,
    ("GET", "/archives/{user}/{a}"): OWNERS,
    ("GET", "/archives/{user}/{a}/{archive}"): OWNERS,
    ("POST", "/restore/{user}/{a}/{archive}"): OWNERS,
    ("GET", "/validate-report/{user}/{a}"): OWNERS,
    ("GET", "/health"): OPEN,
    ("GET", "/ready"): OPEN,
    ("GET", "/api/status"): MEMBERS,
    ("GET", "/metrics"): INSTRUCTORS,
    ("GET", "/api/openapi.json"): MEMBERS,
    ("GET", "/api/docs"): MEMBERS,
    **{
        (each.method, each.path): MARKERS if each.demands is Demands.MARKER else INSTRUCTORS
        for each in MARKING_ROUTES
    },
}

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


def _refused(route: Route) -> list[Who]:
    verdicts = EXPECTED.get((route.method, route.path), {})
    return [who for who, verdict in verdicts.items() if verdict is not Verdict.PASSED]


OF_ASSIGNMENTS = [
    route for route in ROUTES if route.path.startswith("/marking") and "{a}" in route.path
]
REFUSING = [route for route in ROUTES if _refused(route)]


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
        '{"detail":"Instructor access required"}': Verdict.UNPRIVILEGED,
        '{"detail":"Instructors only"}': Verdict.UNPRIVILEGED,
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


def test_the_matrix_names_exactly_the_routes_of_the_table() -> None:
    assert {(route.method, route.path) for route in ROUTES} == set(EXPECTED)


def _open_the_course(hub: Hub, opened: str | None = '["A1"]\n') -> None:
    """Write who may come and what is open for marking, as it was before any request."""
    (hub.course / "allowed_users.txt").write_text("alice\nbob\n")
    (hub.course / "marking.json").unlink(missing_ok=True)
    if opened is not None:
        (hub.course / "marking.json").write_text(opened)


@pytest.mark.parametrize("who", Who, ids=str)
async def test_every_door_lets_pass_whom_it_should_and_nobody_else(hub: Hub, who: Who) -> None:
    """One person knocks at all doors of one hub; all wrong answers are told at once."""
    wrong = []
    for route in ROUTES:
        _open_the_course(hub)
        answer = await _knock(hub, route, who)
        told, expected = _verdict(answer), EXPECTED.get((route.method, route.path), {}).get(who)
        if told is not expected or answer.status_code >= 500:
            wrong.append(f"{_name(route)}: {answer.status_code} {told}, not {expected}")
    assert not wrong, "\n".join(wrong)


async def test_who_is_refused_changes_nothing(hub: Hub) -> None:
    _open_the_course(hub)
    hub.start("alice", "A1")

    def state() -> tuple[object, ...]:
        running, started, asked = hub.pool.running, hub.pool.started, hub.batch.asked
        return {*hub.course.rglob("*.py")}, {*running}, [*started], [*asked]

    changed: list[str] = []
    before = state()
    for route in REFUSING:
        for who in _refused(route):
            await _knock(hub, route, who)
            after = state()
            if after != before:
                changed.append(f"{_name(route)} by {who}")
            before = after
    assert not changed, "\n".join(changed)


@pytest.mark.parametrize("opened", ['["A2"]', "[]", '{"A1": true}', "not JSON", "", None])
async def test_a_marker_is_refused_for_an_assignment_that_is_not_open(
    hub: Hub, opened: str | None
) -> None:
    wrong = []
    for route in OF_ASSIGNMENTS:
        closed = Verdict.CLOSED if EXPECTED[route.method, route.path] is MARKERS else _U
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
        for route in [each for each in ROUTES if each.access not in (Access.ANYONE, Access.GUEST)]:
            response = await client.request(
                route.method, _address(route), headers={"X-Remote-User": "prof"}
            )
            assert (response.status_code, response.text) == (403, "403 Forbidden"), _name(route)


async def test_a_metrics_token_reads_the_metrics_and_is_nobody_elsewhere(hub: Hub) -> None:
    """Under an instructor's name too: its name gives it nothing."""
    headers = {"Authorization": f"Bearer {make_metrics_token(SECRET, 'prof')}"}
    wrong = []
    for route in ROUTES:
        async with hub.client() as client:
            answer = await client.request(route.method, _address(route), headers=headers)
        async with hub.client() as client:
            nobody = await client.request(route.method, _address(route))
        if route.path == "/metrics":
            assert answer.status_code == 200
            assert "mograder_sessions" in answer.text
        elif (answer.status_code, _verdict(answer)) != (nobody.status_code, _verdict(nobody)):
            wrong.append(f"{_name(route)}: {answer.status_code}, not {nobody.status_code}")
        if answer.headers.get("set-cookie") != nobody.headers.get("set-cookie"):
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
