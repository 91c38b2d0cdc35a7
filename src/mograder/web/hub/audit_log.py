"""The audit log as a page for instructors, and as JSON."""

from __future__ import annotations

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from mograder.core.errors import InvalidInput
from mograder.web.hub.core.hub_app import CurrentApp
from mograder.web.hub.core.responses import Body, UnixTime
from mograder.web.pages import number_in, page
from mograder.web.route import Access, Route

_PAGE = 50


class AuditEntry(Body):
    """One line of the audit log; ``at`` is Unix time, ``where`` the client's address."""

    number: int
    at: UnixTime
    who: str
    action: str
    what: str
    where: str = Field(validation_alias="origin")
    outcome: str


def log(request: Request, app: CurrentApp) -> Response:
    before = number_in(request, "before") or None
    rows = app.services.state.recent_audit(_PAGE + 1, before=before)
    older = rows[_PAGE - 1].number if len(rows) > _PAGE else 0
    return page(
        request, "log.html", here="log", rows=rows[:_PAGE], older=older, newest=before is None
    )


def audit_log(app: CurrentApp, limit: int = 100, before: int | None = None) -> list[AuditEntry]:
    """Return the entries of the audit log, the newest first; ``before`` is an entry's number."""
    if not 1 <= limit <= 1000 or (before is not None and not 1 <= before < 2**31):
        raise InvalidInput("Ask for 1 to 1000 lines, before the number of one.")
    rows = app.services.state.recent_audit(limit, before=before)
    return [AuditEntry.model_validate(row, from_attributes=True) for row in rows]


ROUTES = (
    Route("GET", "/course/log", log, Access.INSTRUCTOR),
    Route("GET", "/audit", audit_log, Access.INSTRUCTOR, "Course"),
)
