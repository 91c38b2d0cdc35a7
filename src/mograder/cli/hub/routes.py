"""``mograder hub routes``: every address that a hub answers, and the access that it demands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from mograder.cli.shared.result import Result, json_option
from mograder.web.hub.app import OPTIONAL, ROUTES
from mograder.web.route import Access, Route

_TABLES = {
    "": ROUTES,
    **{needed: make().routes for needed, make in OPTIONAL.items()},
}
"""The routes by the systems of which a hub needs one to have them; all hubs have those of ""."""

_ACCESS = max(len(f"{Access.INSTRUCTOR}, with {needed}") for needed in _TABLES)


@click.command("routes")
@json_option
def routes() -> Result:
    """List all addresses of a hub: method, path, access and handler.

    The access is anyone, guest (anyone who is not kept out by the access list), member (signed
    in), owner (the user in the path, and instructors), self (that user only), visitor (as owner,
    and the helper of that user), helped (as visitor, and markers whose page asks whether their help
    has ended), helper and marker (markers and instructors; marker only for what
    is open for marking), instructor, or metrics (instructors, and a metrics token). Some routes
    are there only with OpenID Connect, a learning platform or nodes. The paths of sessions are not
    in the table.
    """
    rows = [(needed, route) for needed, table in _TABLES.items() for route in table]
    told = [
        {
            "method": route.method,
            "path": route.path,
            "access": route.access.value,
            "needs": needed,
            "handler": _name(route),
        }
        for needed, route in rows
    ]
    return Result(told, _lines(rows))


def _lines(rows: Sequence[tuple[str, Route]]) -> Iterator[str]:
    widest = max(len(route.path) for _, route in rows)
    for needed, route in rows:
        access = f"{route.access}, with {needed}" if needed else str(route.access)
        short = _name(route).removeprefix("mograder.web.")
        yield f"{route.method:6} {route.path:{widest}} {access:{_ACCESS}} {short}"


def _name(route: Route) -> str:
    return f"{route.handler.__module__}.{route.handler.__qualname__}"
