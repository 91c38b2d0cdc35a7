"""No request costs a thread that has nothing to wait for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant

from mograder.web.hub.core.access import GUARDS
from mograder.web.hub.features import ROUTES
from mograder.web.route import Route


def _calls(dependant: Dependant) -> Iterator[Callable[..., object]]:
    for each in dependant.dependencies:
        assert each.call is not None
        yield each.call
        yield from _calls(each)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_what_a_route_asks_for_runs_on_the_loop(route: Route) -> None:
    """FastAPI has a thread do what is not async: two switches, for a look into the request.

    A handler may be a plain function: one that reads files or the database is in a thread anyway.
    """
    guard = get_dependant(path=route.path, call=GUARDS[route.access])
    handler = get_dependant(path=route.path, call=route.handler)
    calls = [GUARDS[route.access], *_calls(guard), *_calls(handler)]
    assert [each for each in calls if not inspect.iscoroutinefunction(each)] == []
