"""The routes of machines: who passes, and that a refusal changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from mograder.auth.tokens import make_metrics_token
from mograder.store.hub.nodes import Nodes
from mograder.web.hub.machines.machines import ROUTES as MACHINE_ROUTES
from mograder.web.route import Access, Route
from tests.support.hub_app import ORIGIN, SECRET, Hub, make_hub, running
from tests.support.hub_copies import ask
from tests.support.joined_nodes import connected

SETTINGS = """title = "Numerics"
[hub]
instructors = ["prof"]
[marking]
markers = ["marta"]
[nodes]
enabled = true
"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    made = make_hub(tmp_path / "course", SETTINGS)
    made.publish("A1")
    (made.course / "allowed_users.txt").write_text("alice\n")
    (made.course / "marking.json").write_text('["A1"]\n')
    connected(made.engine, "n1")
    async with running(made.app):
        yield made
    made.close()


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


def _address(route: Route) -> str:
    return route.path.replace("{name}", "n1")


def test_every_route_demands_an_instructor() -> None:
    assert {each.access for each in MACHINE_ROUTES} == {Access.INSTRUCTOR}


@pytest.mark.parametrize("route", MACHINE_ROUTES, ids=_name)
async def test_an_outsider_a_student_and_a_marker_are_refused(hub: Hub, route: Route) -> None:
    before = Nodes(hub.engine).all()
    for user in ("", "alice", "mallory", "marta"):
        answer = await ask(hub, route.method, _address(route), user)
        assert answer.status_code == 403, user
        assert "n1" not in answer.text, user
    assert Nodes(hub.engine).all() == before
    assert {each[3] for each in hub.audit()} <= {"refused"}
    assert (await ask(hub, route.method, _address(route), "prof")).status_code == 200


@pytest.mark.parametrize("route", MACHINE_ROUTES, ids=_name)
async def test_a_token_for_metrics_reads_no_nodes(hub: Hub, route: Route) -> None:
    headers = {"Authorization": f"Bearer {make_metrics_token(SECRET, 'prometheus', 0)}"}
    await ask(hub, "GET", "/nodes", "prof")  # so that the hub has read its nodes
    async with hub.client() as client:
        answer = await client.request(route.method, _address(route), headers=headers)
        assert answer.status_code == 403
        assert (
            'mograder_node_up{node="n1"} 1' in (await client.get("/metrics", headers=headers)).text
        )


@pytest.mark.parametrize("action", ["drain", "undrain", "remove"])
async def test_another_sites_form_changes_no_node(hub: Hub, action: str) -> None:
    """With the identity of SSO, which a browser sends along."""
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    before = Nodes(hub.engine).all()
    for origin, status in ((f"{ORIGIN}.evil.test", 403), (ORIGIN, 200)):
        headers = {"X-Remote-User": "prof", "Origin": origin}
        async with httpx.AsyncClient(
            transport=transport, base_url=ORIGIN, headers=headers
        ) as client:
            assert (await client.post(f"/nodes/n1/{action}")).status_code == status
            if status == 403:
                assert Nodes(hub.engine).all() == before
