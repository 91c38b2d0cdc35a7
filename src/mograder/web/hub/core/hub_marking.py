"""The parts of the hub for marking: the course's gradebook, sources and audit log."""

from __future__ import annotations

from fastapi import Request

from mograder.web.hub.core.hub_app import hub_app, identity_of
from mograder.web.hub.core.services import Services
from mograder.web.marking.context import MarkingApp
from mograder.web.marking.gradebook import SharedGradebook
from mograder.web.marking.opening import make_marking


def hub_marking(services: Services, book: SharedGradebook) -> MarkingApp:
    """Return the parts of a hub's course that marking needs."""
    return make_marking(
        services.loaded,
        services.clock,
        services.grading.key,
        book=book,
        sources=services.grading.sources,
        record=_record,
        reports=services.reports,
    )


async def _record(request: Request, action: str, what: str) -> None:
    caller, app = identity_of(request), hub_app(request)
    app.numbers.note()
    if caller is not None:
        await app.audit.record(request, caller, action, what)
    if app.lti is not None:  # marks may have been released
        app.lti.passes.wake()
