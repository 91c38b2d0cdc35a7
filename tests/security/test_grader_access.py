"""Every route of marking in the grader behind a proxy, from the table of routes."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from mograder.web.marking.routes import MARKING_ROUTES, Demands, MarkingRoute
from tests.support.grader_app import PUBLIC, STRANGER, Grader, proxied_grader


def _name(route: MarkingRoute) -> str:
    return f"{route.method} {route.path}"


async def _answer(grader: Grader, route: MarkingRoute, user: str) -> httpx.Response:
    path = re.sub(r"\{[a-z_]+\}", "1", route.path.replace("{a}", "A1"))
    client = grader.through_proxy(user) if user else grader.from_peer(STRANGER, PUBLIC)
    async with client:
        return await client.request(route.method, path)


@pytest.mark.parametrize("route", MARKING_ROUTES, ids=_name)
async def test_every_route_of_marking_admits_its_people_only(
    tmp_path: Path, route: MarkingRoute
) -> None:
    (tmp_path / "marking.json").write_text('["A1"]')
    async with proxied_grader(tmp_path, "prof", "marta other") as grader:
        answers = {who: await _answer(grader, route, who) for who in ("", "eve", "marta", "prof")}
        refused = {who for who, answer in answers.items() if answer.status_code == 403}
        assert {who for who, answer in answers.items() if answer.status_code >= 500} == set()
        assert refused == {"", "eve"} | (
            {"marta"} if route.demands is Demands.INSTRUCTOR else set()
        )
        if "{a}" in route.path:
            (tmp_path / "marking.json").write_text('["A2"]')
            assert (await _answer(grader, route, "marta")).status_code == 403
            assert (await _answer(grader, route, "prof")).status_code != 403
