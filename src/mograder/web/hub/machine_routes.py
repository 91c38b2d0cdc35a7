"""The routes of the machines that run sessions; only hubs with ``[nodes] listen`` import them."""

from __future__ import annotations

from mograder.web.hub.handlers import machines
from mograder.web.hub.routes import Route
from mograder.web.hub.support import models
from mograder.web.hub.support.access import Access

_CHANGING = (404, 503)

MACHINE_ROUTES: tuple[Route, ...] = (
    Route("GET", machines.PAGE, machines.machines_page, Access.INSTRUCTOR),
    Route("GET", "/nodes", machines.list_nodes, Access.INSTRUCTOR, "Nodes", list[models.NodeEntry]),
    Route(
        "POST",
        "/nodes/{name}/drain",
        machines.drain,
        Access.INSTRUCTOR,
        "Nodes",
        models.NodeChanged,
        _CHANGING,
    ),
    Route(
        "POST",
        "/nodes/{name}/undrain",
        machines.undrain,
        Access.INSTRUCTOR,
        "Nodes",
        models.NodeChanged,
        _CHANGING,
    ),
    Route(
        "POST",
        "/nodes/{name}/remove",
        machines.remove,
        Access.INSTRUCTOR,
        "Nodes",
        models.NodeChanged,
        _CHANGING,
    ),
)
