"""No request costs a thread that has nothing to wait for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant

from mograder.web.hub.app import ROUTES
from mograder.web.hub.core.access import GUARDS
from mograder.web.route import Route


def _calls(dependant: Dependant) -> Iterator[Callable[..., object]]:
    for each in dependant.dependencies:
        assert each.call is not None
        yield each.call
        yield from _calls(each)


def _asked(route: Route) -> Iterator[Callable[..., object]]:
    guard = GUARDS[route.access]
    yield guard
    yield from _calls(get_dependant(path=route.path, call=guard))
    yield from _calls(get_dependant(path=route.path, call=route.handler))


def test_what_routes_ask_for_runs_on_the_loop() -> None:
    """FastAPI has a thread do what is not async: two switches, for a look into the request.

    A handler may be a plain function: one that reads files or the database is in a thread anyway.
    """
    wrong = [
        f"{route.method} {route.path}: {each}"
        for route in ROUTES
        for each in _asked(route)
        if not inspect.iscoroutinefunction(each)
    ]
    assert wrong == []
