"""The table of all the assignment server's routes.

The same as docs/reference/https-api.md; the first part is 0.3.16's (compatibility-0.3.16.md 4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from mograder.web.server import (
    assignments,
    browser,
    client,
    drafts,
    grades,
    people,
    submissions,
)
from mograder.web.server.access import Access, RequestInfo

Handler = Callable[[RequestInfo], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Row:
    """One route: its method, its path as Starlette writes it, its handler, the access it demands.

    Responses of ``open`` routes may be read by pages of any origin (CORS).
    """

    method: str
    path: str
    handler: Handler
    access: Access
    open: bool = True


ROUTES: tuple[Row, ...] = (
    Row("GET", "/", assignments.health, Access.ANYONE),
    Row("POST", "/register", people.register, Access.ANYONE),
    Row("GET", "/assignments", assignments.list_all, Access.SIGNED_IN),
    Row("GET", "/assignments/{name}/files/{file}", assignments.send_file, Access.SIGNED_IN),
    Row("POST", "/assignments/{name}/submit", submissions.submit, Access.OWNER),
    Row("GET", "/assignments/{name}/status", submissions.status, Access.OWNER),
    Row("GET", "/assignments/{name}/submissions", submissions.list_all, Access.INSTRUCTOR),
    Row("GET", "/assignments/{name}/submissions/{file}", submissions.send, Access.INSTRUCTOR),
    Row("POST", "/assignments/{name}/grades", grades.upload_grades, Access.INSTRUCTOR),
    Row("POST", "/assignments/{name}/feedback", grades.upload_feedback, Access.INSTRUCTOR),
    Row("GET", "/assignments/{name}/feedback/{user}", grades.send_feedback, Access.OWNER, False),
    # Not in 0.3.16
    Row("GET", "/me", people.me, Access.SIGNED_IN),
    Row("POST", "/receipts/verify", submissions.verify_receipt, Access.ANYONE),
    Row("GET", "/people", people.list_all, Access.INSTRUCTOR),
    Row("POST", "/people/{person}/reset", people.reset, Access.INSTRUCTOR),
    Row("POST", "/people/{person}/revoke", people.revoke, Access.INSTRUCTOR),
    Row("GET", "/assignments/{name}/draft", drafts.read, Access.SELF, False),
    Row("PUT", "/assignments/{name}/draft", drafts.replace, Access.SELF, False),
    Row("GET", "/web", browser.index, Access.ANYONE, False),
    Row("GET", "/web/items/{name}", browser.page, Access.ANYONE, False),
    Row("GET", "/web/static/{version}/{file}", browser.static_file, Access.ANYONE, False),
    Row("GET", "/web/files/{path:path}", browser.send_file, Access.ANYONE),
    Row("GET", "/client", client.page, Access.ANYONE, False),
    Row("GET", "/client/{digest}/{file}", client.send_wheel, Access.ANYONE, False),
    Row("GET", "/client/static/{version}/{file}", browser.send_static, Access.ANYONE, False),
)
