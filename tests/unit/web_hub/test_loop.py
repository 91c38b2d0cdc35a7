"""No request costs a thread that has nothing to wait for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant

from mograder.web.hub.access import GUARDS
from mograder.web.hub.routes import ROUTES, Door


def _calls(dependant: Dependant) -> Iterator[Callable[..., object]]:
    for each in dependant.dependencies:
        assert each.call is not None
        yield each.call
        yield from _calls(each)


@pytest.mark.parametrize("door", ROUTES, ids=lambda door: f"{door.method} {door.path}")
def test_what_a_route_asks_for_runs_on_the_loop(door: Door) -> None:
    """FastAPI has a thread do what is not async: two switches, for a look into the request."""
    guard = get_dependant(path=door.path, call=GUARDS[door.access])
    handler = get_dependant(path=door.path, call=door.handler)
    calls = [door.handler, GUARDS[door.access], *_calls(guard), *_calls(handler)]
    assert [each for each in calls if not inspect.iscoroutinefunction(each)] == []
