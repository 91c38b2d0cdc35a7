"""The hub answers as its OpenAPI description says, to any request (decision 28).

No answer is a 500, and each has a status, a media type and a shape that the description has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mograder.auth.credentials import Role
from mograder.sessions.rehearsal import Pace
from mograder.web.hub import rehearsal
from mograder.web.hub.app import OPTIONAL, ROUTES
from mograder.web.route import Route
from tests.support.hub_app import ORIGIN, Hub, built_hub
from tests.support.joined_nodes import connected

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
KNOWN = {
    "a": "A1",
    "user": "alice",
    "name": "A1",
    "item": "A1",
    "lecture": "L01",
    "filename": "A1.py",
    "archive": "A1.bak.20260901T090000.py",
}
pytestmark = pytest.mark.full
DESCRIBED = [route for route in (*ROUTES, *OPTIONAL["nodes"]().routes) if route.chapter]
ANY = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with something of everything, and one loop for all that is asked of it."""
    toml = '[hub]\ninstructors = ["prof"]\n[nodes]\nenabled = true\n'
    with (
        built_hub(tmp_path_factory.mktemp("hub") / "course", toml, "L01") as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(rehearsal, "_PACE", Pace(look=0.01, settle=0.01, news=0.01))
        made.publish("A1", files={"data.csv": b"x"})
        connected(made.engine, "A1")
        yield made


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all requests of this module."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def schema(hub: Hub, runner: asyncio.Runner) -> schemathesis.BaseSchema:
    """The document that the hub serves."""
    served = runner.run(_ask(hub, "alice", {"method": "GET", "url": "/api/openapi.json"}))
    return schemathesis.openapi.from_dict(served.json())


async def _ask(hub: Hub, user: str, sent: Mapping[str, Any]) -> httpx.Response:
    """Send what schemathesis made, which is in the words of another library."""
    data = sent.get("data")
    role = Role.INSTRUCTOR if user == "prof" else Role.STUDENT
    async with hub.client(user, role=role) as client:
        request = client.build_request(
            sent["method"],
            sent["url"],
            params=sent.get("params"),
            headers=sent.get("headers"),
            files=[_part(name, part) for name, part in sent.get("files") or ()] or None,
            json=sent.get("json"),
            **({"content": data} if isinstance(data, bytes | str) else {"data": data}),
        )
        request.read()
        return await client.send(request)


def _part(name: str, part: Any) -> tuple[str, tuple[str | None, bytes]]:
    """One part of a form; what is neither text nor bytes is written as text."""
    filename, content = part[:2] if isinstance(part, tuple) else (None, part)
    data = content if isinstance(content, bytes) else str(content).encode("utf-8", "replace")
    return name, (filename, data)


@pytest.mark.usefixtures("unsaved_in_threads")
@pytest.mark.parametrize(
    ("user", "known"), [("prof", True), ("prof", False), ("alice", True)], ids=str
)
@pytest.mark.parametrize("route", DESCRIBED, ids=lambda route: f"{route.method} {route.path}")
def test_every_answer_is_one_that_the_description_names(
    hub: Hub,
    runner: asyncio.Runner,
    schema: schemathesis.BaseSchema,
    route: Route,
    known: bool,
    user: str,
) -> None:
    fixed = {name: value for name, value in KNOWN.items() if f"{{{name}" in route.path}
    if "revoke" in route.path:
        fixed["user"] = "carol"  # alice goes on
    (hub.course / "allowed_users.txt").unlink(missing_ok=True)
    operation = schema[route.path.replace(":path}", "}")][route.method]
    made = operation.as_strategy(path_parameters=fixed if known and fixed else None)

    @settings(ANY, max_examples=8)
    @given(case=made)
    def ask(case: schemathesis.Case[Any]) -> None:
        sent = case.as_transport_kwargs(base_url=ORIGIN)
        if isinstance(sent.get("json"), dict) and "rehearsal" in route.path:
            sent["json"]["within"] = 0  # else its students come over a minute
            sent["json"].setdefault("students", 2)
        response = runner.run(_ask(hub, user, sent))
        case.validate_response(response, checks=CHECKS)

    ask()
