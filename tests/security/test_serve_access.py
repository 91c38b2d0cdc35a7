"""The users who may pass each route of the assignment server, from its table (B146, B147).

A new route without an entry in ``EXPECTED`` fails here.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from mograder.auth.credentials import CREDENTIAL_ROLES, Role, make_token
from mograder.web.server.app import ROUTES, Row, create_app
from tests.support.assignment_app import Course, course

__all__ = ["course"]

SIGN_IN = (401, "Authentication required")
FOREIGN = (403, "Token user does not match request user")
UNPRIVILEGED = (403, "Instructor access required")
Refusal = tuple[int, str] | None

PEOPLE = ("nobody", "alice", "bob", "prof")
OPEN: tuple[Refusal, ...] = (None, None, None, None)
MEMBERS: tuple[Refusal, ...] = (SIGN_IN, None, None, None)
OWNERS: tuple[Refusal, ...] = (SIGN_IN, None, FOREIGN, None)
SELF: tuple[Refusal, ...] = (SIGN_IN, None, FOREIGN, FOREIGN)
INSTRUCTORS: tuple[Refusal, ...] = (SIGN_IN, UNPRIVILEGED, UNPRIVILEGED, None)

EXPECTED: Mapping[tuple[str, str], tuple[Refusal, ...]] = {
    ("GET", "/"): OPEN,
    ("POST", "/register"): OPEN,
    ("GET", "/assignments"): MEMBERS,
    ("GET", "/assignments/{name}/files/{file}"): MEMBERS,
    ("POST", "/assignments/{name}/submit"): OWNERS,
    ("GET", "/assignments/{name}/status"): OWNERS,
    ("GET", "/assignments/{name}/submissions"): INSTRUCTORS,
    ("GET", "/assignments/{name}/submissions/{file}"): INSTRUCTORS,
    ("POST", "/assignments/{name}/grades"): INSTRUCTORS,
    ("POST", "/assignments/{name}/feedback"): INSTRUCTORS,
    ("GET", "/assignments/{name}/feedback/{user}"): OWNERS,
    ("GET", "/me"): MEMBERS,
    ("POST", "/receipts/verify"): OPEN,
    ("GET", "/people"): INSTRUCTORS,
    ("POST", "/people/{person}/reset"): INSTRUCTORS,
    ("POST", "/people/{person}/revoke"): INSTRUCTORS,
    ("GET", "/assignments/{name}/draft"): SELF,
    ("PUT", "/assignments/{name}/draft"): SELF,
    ("GET", "/web"): OPEN,
    ("GET", "/web/items/{name}"): OPEN,
    ("GET", "/web/static/{version}/{file}"): OPEN,
    ("GET", "/client"): OPEN,
    ("GET", "/client/{digest}/{file}"): OPEN,
    ("GET", "/client/static/{version}/{file}"): OPEN,
    ("GET", "/web/files/{path:path}"): OPEN,
}
NAMES = {
    "name": "hw1",
    "file": "homework.py",
    "user": "alice",
    "person": "carol",
    "version": "1",
    "digest": "0123456789abcdef",
    "path": "a",
}
REFUSALS = {SIGN_IN, FOREIGN, UNPRIVILEGED}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_b146_b147_every_route_admits_whom_the_table_says(course: Course, route: Row) -> None:
    expected = EXPECTED[route.method, route.path]
    path = route.path.replace(":path}", "}").format(**NAMES) + "?user=alice"
    for who, refusal in zip(PEOPLE, expected, strict=True):
        user = None if who == "nobody" else who
        answer = await course.ask(route.method, path, user)
        told = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        error = told.get("error", "") if isinstance(told, dict) else ""
        seen = (answer.status_code, error)
        assert (seen if seen in REFUSALS else None) == refusal, (who, answer.text)


def test_no_route_is_left_out() -> None:
    assert {(route.method, route.path) for route in ROUTES} == set(EXPECTED)


@pytest.mark.parametrize("role", CREDENTIAL_ROLES)
async def test_a_token_of_another_secret_is_nobodys(course: Course, role: Role) -> None:
    for name in ("alice", "__instructor__"):
        if name == "alice" or role is Role.INSTRUCTOR:
            token = make_token("0" * 64, name, role)
            headers = {"Authorization": f"Bearer {token}"}
            assert (await course.ask("GET", "/me", headers=headers)).status_code == 401


async def test_two_tokens_in_one_request_are_refused(course: Course) -> None:
    transport = httpx.ASGITransport(app=create_app(course.services))
    pair = [("Authorization", f"Bearer {course.token(name)}") for name in ("alice", "prof")]
    async with httpx.AsyncClient(transport=transport, base_url="http://course.test") as client:
        answer = await client.get("/people", headers=pair)
    assert answer.status_code == 400


async def test_a_student_learns_nothing_of_others_by_asking_oddly(course: Course) -> None:
    await course.submit("bob", b"secret")
    odd = (
        "/assignments/hw1/status?user=alice&user=bob",
        "/assignments/hw1/status?user=bob%00",
        "/assignments/hw1/feedback/..%2f..%2fgrades.json",
        "/assignments/..%2fsubmitted/files/hw1",
        "/assignments/submitted/files/hw1",
        "/assignments/%2e%2e/files/.mograder-secret",
        "/assignments/hw1/files/%2e%2e%2f%2e%2e%2f.mograder-secret",
        "//assignments//hw1//submissions",
    )
    for path in odd:
        answer = await course.ask("GET", path, "alice")
        assert answer.status_code in (400, 403, 404), path
        assert "secret" not in answer.text
