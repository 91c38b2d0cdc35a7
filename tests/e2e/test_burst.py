"""Many starts at once: none is refused, the order is kept, other requests are answered.

How long it takes is measured in ``bench/``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.support.burst import asked_meanwhile, come, displacement
from tests.support.hub import HubProcess
from tests.support.shared_hub import SharedCaches, module_hub, servers_of, stop, until
from tests.support.student_workers import Worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

MANY = 100
AT_ONCE = 4
"""Starts that run concurrently, whose order depends on the machine."""

FAIR = 3 * AT_ONCE
"""Requests on so many connections arrive a little out of order, and so do their sessions."""

_ANSWER_SECONDS = 0.2
_STARTED = re.compile(r"started edit of \S+ for (student-\d+)")


@pytest.fixture(params=["cold", "warm"])
def hub(request: pytest.FixtureRequest, caches: SharedCaches) -> Iterator[HubProcess]:
    settings = {
        "limits.warm_environments": 8 if request.param == "warm" else 0,
        "limits.starts_at_once": AT_ONCE,
    }
    with module_hub(f"burst-{request.param}", caches, settings=settings) as hub:
        if request.param == "warm":
            log = hub.course / ".mograder" / "supervisor.log"
            until(lambda: "is ready" in log.read_text())
        yield hub


async def test_many_who_start_at_once_are_served_in_turn_and_the_hub_answers_meanwhile(
    hub: HubProcess,
) -> None:
    users = [f"student-{number}" for number in range(MANY)]
    async with asked_meanwhile(hub, "onlooker") as others:
        burst = await come(hub, users)
    print(f"{MANY} at once, last after {max(burst.waits.values()):.1f} s; {others.told()}")
    assert burst.refused == {}
    assert sorted(burst.served) == sorted(users)
    assert others.failed == []
    assert others.seconds, "the hub answered others during the burst"
    quick = sorted(others.seconds)[int(len(others.seconds) * 0.99)]
    assert quick < _ANSWER_SECONDS, others.told()
    await _each_has_its_own(hub, users)
    # In the order of the hub's own log; the clients' is disturbed by their own event loop.
    order = _STARTED.findall(hub.log_text())
    assert displacement(burst.asked, order) <= FAIR, order
    await asyncio.gather(*(asyncio.to_thread(stop, hub, user) for user in users))
    assert not any(servers_of(user) for user in users)


async def _each_has_its_own(hub: HubProcess, users: list[str]) -> None:
    """Some of them run a cell; all have one server each."""
    assert all(len(servers_of(user)) == 1 for user in users)
    for user in (users[0], users[len(users) // 2], users[-1]):
        await Worker(hub, user).computes()
