"""The audit log's writer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mograder.web.hub.core.audit import AuditTrail, Event
from tests.support.hub_app import Hub

EVENT = Event("alice", "access", "GET /x", "192.0.2.7")


async def test_the_same_refusal_is_written_again_after_a_minute(hub: Hub) -> None:
    trail = AuditTrail(hub.services.state, hub.clock)
    await trail.refused(EVENT)
    await trail.refused(EVENT)
    assert len(hub.audit()) == 1
    hub.clock.advance(61)
    await trail.refused(EVENT)
    assert len(hub.audit()) == 2


async def test_the_refusals_of_one_person_are_bounded_and_counted(hub: Hub) -> None:
    trail = AuditTrail(hub.services.state, hub.clock)
    for number in range(3000):
        await trail.refused(replace(EVENT, what=f"GET /made-up/{number}"))
    await trail.refused(replace(EVENT, who="bob"))
    rows = hub.audit()
    assert len([row for row in rows if row[0] == "alice"]) == 20
    assert rows[-1][0] == "bob", "nobody's refusals hide another's"
    hub.clock.advance(61)
    await trail.refused(EVENT)
    assert hub.audit()[-2:] == [
        ("alice", "access", "and 2980 more", "refused"),
        ("alice", "access", "GET /x", "refused"),
    ]
    for number in range(22):
        await trail.refused(replace(EVENT, what=f"GET /made-up/{number}"))
    await trail.close()
    assert hub.audit()[-1][2] == "and 3 more", "told at the end, too"


async def test_the_refusals_of_a_network_are_bounded_and_those_of_many_together(hub: Hub) -> None:
    """One machine with IPv6 has 2^64 addresses."""
    trail = AuditTrail(hub.services.state, hub.clock)
    nameless = replace(EVENT, who="")
    for number in range(100):
        await trail.refused(replace(nameless, where=f"2001:db8::{number:x}"))
    assert len(hub.audit()) == 20
    for number in range(1, 400):
        await trail.refused(replace(nameless, where=f"2001:db8:0:{number:x}::1"))
    assert len(hub.audit()) == 20 + 99 + 20


async def test_a_visit_is_written_once_a_minute(hub: Hub) -> None:
    """A program asks hundreds of times."""
    trail = AuditTrail(hub.services.state, hub.clock)
    for _ in range(3):
        await trail.visited(EVENT)
    hub.clock.advance(61)
    await trail.visited(EVENT)
    assert hub.audit() == [("alice", "access", "GET /x", "ok")] * 2


async def test_what_was_done_is_written_every_time(hub: Hub) -> None:
    trail = AuditTrail(hub.services.state, hub.clock)
    await trail.granted(EVENT)
    await trail.granted(EVENT)
    assert hub.audit() == [("alice", "access", "GET /x", "ok")] * 2


async def test_a_log_that_cannot_be_written_does_not_undo_the_answer(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    with hub.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE audit")
    trail = AuditTrail(hub.services.state, hub.clock)
    await trail.granted(EVENT)
    assert "The audit log could not be written" in caplog.text
    assert "GET /x" in caplog.text
