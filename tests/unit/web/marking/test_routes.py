"""The table of the routes of marking."""

from __future__ import annotations

import re

import pytest

from mograder.core.names import ItemName
from mograder.web.marking.routes import MARKING_ROUTES
from mograder.web.route import Route


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{[a-z_]+\}", "[^/]+", path))


@pytest.mark.parametrize("route", MARKING_ROUTES, ids=lambda each: f"{each.method} {each.path}")
def test_no_earlier_route_takes_the_requests_of_a_later_one(route: Route) -> None:
    """An assignment may be named as a word of a path, such as "requests", "late" or "api"."""
    same = [each for each in MARKING_ROUTES if each.method == route.method]
    words = {part for each in MARKING_ROUTES for part in each.path.split("/")}
    names = sorted(each for each in words | {"x"} if ItemName.valid(each))
    assert {"api", "late", "release", "requests"} <= set(names)
    for name in names:
        address = re.sub(r"\{[a-z_]+\}", "x", route.path.replace("{a}", name))
        first = next(each for each in same if _pattern(each.path).fullmatch(address))
        assert first is route, address


@pytest.mark.parametrize("route", MARKING_ROUTES, ids=lambda each: f"{each.method} {each.path}")
def test_an_assignment_is_named_by_the_parameter_that_the_guard_reads(route: Route) -> None:
    parts = re.findall(r"\{([a-z_]+)\}", route.path)
    assert route.path.split("/")[1] == "marking"
    assert not parts or parts[0] == "a"
