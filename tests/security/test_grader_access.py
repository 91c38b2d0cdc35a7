"""Every route of marking in the grader behind a proxy, from the table of routes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import httpx

from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.route import Access, Route
from tests.support.grader_app import PUBLIC, STRANGER, Grader, proxied_grader


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


async def _answer(grader: Grader, route: Route, user: str) -> httpx.Response:
    path = re.sub(r"\{[a-z_]+\}", "1", route.path.replace("{a}", "A1"))
    client = grader.through_proxy(user) if user else grader.from_peer(STRANGER, PUBLIC)
    async with client:
        return await client.request(route.method, path)


def _knocks() -> Iterator[tuple[Route, str, str, bool]]:
    """Each route, the assignment that is open, who asks for one of A1, and whether they may."""
    for route, who in itertools.product(MARKING_ROUTES, ("", "eve", "marta", "prof")):
        marks = who == "marta" and route.access is not Access.INSTRUCTOR
        yield route, "A1", who, who == "prof" or marks
        if "{a}" in route.path:
            yield route, "A2", who, who == "prof"


async def test_every_route_of_marking_admits_its_people_only(tmp_path: Path) -> None:
    wrong = []
    async with proxied_grader(tmp_path, "prof", "marta other") as grader:
        for route, opened, who, admitted in _knocks():
            (tmp_path / "marking.json").write_text(f'["{opened}"]')
            status = (await _answer(grader, route, who)).status_code
            if status >= 500 or (status != 403) != admitted:
                wrong.append(f"{_name(route)} by {who!r} with {opened} open: {status}")
    assert not wrong, "\n".join(wrong)
