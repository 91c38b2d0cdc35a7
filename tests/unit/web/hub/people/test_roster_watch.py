"""The end of the sessions of people who are taken off the list."""

from __future__ import annotations

import httpx

from mograder.auth.roles import Role
from tests.support.hub_app import Hub, hub

__all__ = ["hub"]


async def test_markers_and_instructors_keep_their_sessions_without_being_listed(hub: Hub) -> None:
    for user in ("alice", "bob", "marta", "prof"):
        hub.start(user, "A1")
    async with hub.client("prof", role=Role.INSTRUCTOR) as client:
        answer = await client.post("/sync-users", json={"users": ["alice"]})
    assert answer.status_code == httpx.codes.OK
    assert {key.user for key in hub.pool.running} == {"alice", "marta", "prof"}


async def test_a_marker_sees_no_other_persons_session_or_copy(hub: Hub) -> None:
    hub.start("alice", "A1")
    async with hub.client("marta") as client:
        assert (await client.get("/sessions")).json() == []
        assert (await client.get("/status/alice/A1")).status_code == httpx.codes.FORBIDDEN
