"""``/health`` reports that the hub runs, ``/ready`` that students can work."""

from __future__ import annotations

import dataclasses

import httpx

from mograder.web.hub.app import create_app
from tests.support.hub_app import Hub, running
from tests.support.hub_copies import ask


async def _nobody() -> bool:
    return False


async def test_a_hub_that_can_start_sessions_is_ready(hub: Hub) -> None:
    """Nobody has to sign in to ask."""
    answer = await ask(hub, "GET", "/ready", "")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_without_a_supervisor_it_lives_and_is_not_ready(hub: Hub) -> None:
    app = create_app(dataclasses.replace(hub.services, attended=_nobody))
    transport = httpx.ASGITransport(app)
    async with running(app), httpx.AsyncClient(transport=transport, base_url="http://h") as client:
        assert (await client.get("/health")).status_code == 200
        answer = await client.get("/ready")
    assert answer.status_code == 503
    assert "supervisor" in answer.json()["detail"]


async def test_without_a_database_it_lives_and_is_not_ready(hub: Hub) -> None:
    hub.engine.dispose()
    with hub.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE users RENAME TO gone")
    assert (await ask(hub, "GET", "/health", "")).status_code == 200
    assert (await ask(hub, "GET", "/ready", "")).status_code == 503
