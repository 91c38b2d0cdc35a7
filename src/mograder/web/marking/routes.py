"""The table of the routes of marking.

Each row: method, path, handler, and the role that it demands. A handler takes the parameters of its
path, ``request``, ``marking: CurrentMarking`` and ``marker: CurrentMarker``. The path parameter
``a`` is an assignment: a marker is refused where it is not open for marking.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from mograder.web.marking import overview


class Demands(StrEnum):
    """The role that a route of marking demands; each also admits instructors."""

    MARKER = "marker"
    INSTRUCTOR = "instructor"


@dataclass(frozen=True, slots=True)
class MarkingRoute:
    """One route; its path begins with ``/marking``."""

    method: str
    path: str
    handler: Callable[..., object]
    demands: Demands = Demands.MARKER


MARKING_ROUTES: tuple[MarkingRoute, ...] = (
    MarkingRoute("GET", "/marking", overview.course),
    MarkingRoute("POST", "/marking/{a}/open", overview.open_or_close, Demands.INSTRUCTOR),
)
