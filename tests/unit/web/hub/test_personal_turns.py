"""One person's slow requests do not hold the threads that everybody's need (security.md)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from starlette.types import Message, Receive, Scope, Send

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity, Method
from mograder.web.hub.app import REQUESTS_AT_ONCE, PersonalTurns
from mograder.web.hub.core.parts import IDENTITY

MANY = 3 * REQUESTS_AT_ONCE
BEGUN: Message = {"type": "http.response.start", "status": 200, "headers": []}


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


def _request(turns: PersonalTurns, user: str | None, path: str) -> asyncio.Task[None]:
    role = Role.INSTRUCTOR if user == "ines" else Role.STUDENT
    who = user and Identity(user, role, Method.COOKIE, "", None)
    scope = {"type": "http", "path": path, IDENTITY: who}
    return asyncio.create_task(turns(scope, _receive, _send))


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
