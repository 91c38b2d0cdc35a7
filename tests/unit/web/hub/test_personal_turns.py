"""One person's slow requests do not hold the threads that everybody's need (security.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity, Method
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import CopyOf, SessionKey
from mograder.sessions.student_copies import Copies
from mograder.web.error_responses import NDJSON
from mograder.web.hub.app import MOST_WAITING, REQUESTS_AT_ONCE, PersonalTurns
from mograder.web.hub.core.access import IDENTITY
from tests.support.hub_app import Hub
from tests.support.hub_copies import ask, begin
from tests.support.supervisors import until

MANY = 3 * REQUESTS_AT_ONCE
BEGUN: Message = {"type": "http.response.start", "status": 200, "headers": []}
PROGRESS = {"Accept": NDJSON}
"""Asks for a response that begins at once, while the job goes on."""


class Slow:
    """Routes whose requests wait before their responses, and those of ``/events`` after it."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.open = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.arrived.append(scope["path"])
        if scope["path"] == "/events":
            await send(BEGUN)
        await self.open.wait()


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    assert message == BEGUN


def _request(
    turns: PersonalTurns, user: str | None, path: str, send: Send = _send
) -> asyncio.Task[None]:
    role = Role.INSTRUCTOR if user == "ines" else Role.STUDENT
    who = user and Identity(user, role, Method.COOKIE, "", None)
    scope: Scope = {"type": "http", "path": path, "headers": [], IDENTITY: who}
    return asyncio.create_task(turns(scope, _receive, send))


async def test_the_requests_of_one_person_wait_for_each_other_in_their_order() -> None:
    slow = Slow()
    turns = PersonalTurns(slow)
    paths: Iterator[str] = (f"/{number}" for number in range(MANY))
    tasks = [_request(turns, "ada", path) for path in paths]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert slow.arrived == [f"/{number}" for number in range(REQUESTS_AT_ONCE)]
    tasks += [_request(turns, user, f"/{user}") for user in ("bob", None, *["ines"] * MANY)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = ["/bob", "/None", *["/ines"] * MANY]
    assert slow.arrived[REQUESTS_AT_ONCE:] == others, "nobody else waits"
    slow.open.set()
    await asyncio.gather(*tasks)
    waited = [f"/{number}" for number in range(REQUESTS_AT_ONCE, MANY)]
    assert slow.arrived[REQUESTS_AT_ONCE + len(others) :] == waited


async def test_a_request_whose_response_has_begun_counts_no_more() -> None:
    """Every page has an event stream open, in each of a person's tabs."""
    slow = Slow()
    turns = PersonalTurns(slow)
    tasks = [_request(turns, "ada", "/events") for _ in range(MANY)]
    tasks.append(_request(turns, "ada", "/page"))
    for _ in range(MANY):
        await asyncio.sleep(0)
    assert slow.arrived == ["/events"] * MANY + ["/page"]
    slow.open.set()
    await asyncio.gather(*tasks)


async def test_a_request_that_is_given_up_while_it_waits_leaves_its_place() -> None:
    slow = Slow()
    turns = PersonalTurns(slow)
    tasks = [_request(turns, "ada", "/page") for _ in range(MANY)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    slow.arrived.clear()
    slow.open.set()
    await asyncio.gather(*(_request(turns, "ada", "/page") for _ in range(MANY)))
    assert len(slow.arrived) == MANY


async def test_a_request_is_refused_where_an_absurd_number_of_one_person_wait() -> None:
    slow = Slow()
    turns = PersonalTurns(slow)
    many = REQUESTS_AT_ONCE + MOST_WAITING
    tasks = [_request(turns, "ada", "/page") for _ in range(many)]
    await asyncio.sleep(0)
    answer: list[Message] = []

    async def hear(message: Message) -> None:
        answer.append(message)

    await _request(turns, "ada", "/more", hear)
    assert answer[0]["status"] == 429
    assert b"requests of yours are waiting already." in answer[1]["body"]
    slow.open.set()
    await asyncio.gather(*tasks, _request(turns, "bob", "/page"))
    assert slow.arrived == ["/page"] * (many + 1)


async def test_a_students_job_counts_until_it_ends_though_its_response_has_begun(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job goes on when its client has closed the connection."""
    begun: list[str] = []
    may_end = asyncio.Event()

    async def renew(_: Copies, copy: CopyOf, *more: object, only_replace: bool) -> None:
        begun.append(copy.user)
        await may_end.wait()

    await begin(hub)
    monkeypatch.setattr(Copies, "renew", renew)

    def many(user: str) -> list[asyncio.Task[int]]:
        return [asyncio.create_task(_reset(hub, user)) for _ in range(MANY)]

    own = many("alice")
    await until(lambda: len(begun) >= REQUESTS_AT_ONCE)
    others = many("prof")
    await until(lambda: begun.count("prof") == MANY)
    assert begun.count("alice") == REQUESTS_AT_ONCE, "more would have begun before the others"
    may_end.set()
    assert {*await asyncio.gather(*own, *others)} == {200}
    assert len(begun) == 2 * MANY


async def _reset(hub: Hub, user: str) -> int:
    return (await ask(hub, "POST", f"/reset/{user}/A1", user, headers=PROGRESS)).status_code


async def test_a_start_that_waits_in_line_holds_no_turn(hub: Hub) -> None:
    hub.pool.hold = asyncio.Event()
    path, key = "/start-run/L01", SessionKey("alice", "L01", Mode.RUN)
    starts = [asyncio.create_task(ask(hub, "POST", path, headers=PROGRESS)) for _ in range(MANY)]
    await until(lambda: hub.pool.starting[key] == MANY)
    hub.pool.hold.set()
    assert {each.status_code for each in await asyncio.gather(*starts)} == {200}
