"""What marking on the hub works with: the course's gradebook, sources and audit log."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request

from mograder.core.names import ItemName
from mograder.web.hub.support.hub_app import hub_app, identity_of
from mograder.web.hub.support.services import Services
from mograder.web.marking.context import MarkingApp
from mograder.web.marking.gradebook import SharedGradebook


def make_marking(services: Services, book: SharedGradebook) -> MarkingApp:
    """Return the parts of a hub's course that marking needs."""
    sources = services.grading.sources

    def source(assignment: str) -> Path | None:
        name = ItemName.valid(assignment)
        found = None if name is None else sources.find(name)
        return None if found is None else found.notebook

    return MarkingApp(
        loaded=services.loaded,
        clock=services.clock,
        key=services.grading.key,
        book=book.get,
        source=source,
        record=_record,
    )


async def _record(request: Request, action: str, what: str) -> None:
    caller = identity_of(request)
    if caller is not None:
        await hub_app(request).audit.record(request, caller, action, what)
