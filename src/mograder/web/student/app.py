"""The dashboard's web application: the table of its routes, and its middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from mograder.web.app import AppMiddleware, exception_handlers
from mograder.web.browser_access import HEADERS
from mograder.web.context import ContextMiddleware
from mograder.web.student import actions, views
from mograder.web.student.student_app import StudentApp, answer_problem

_LOOK = (
    ("/health", views.health),
    ("/static/{version}/{name}", views.static_file),
    ("/open", views.use_link),
    ("/", views.home),
    ("/sign-in", views.sign_in_page),
    ("/editor/{folder}", views.editor),
    ("/validation/{folder}", views.validation),
    ("/replace/{folder}", views.replace),
    ("/late/{folder}", views.late),
    ("/newer/{folder}", views.newer),
    ("/receipt/{folder}", views.receipt),
    ("/receipt/{folder}/file", views.receipt_file),
    ("/feedback/{folder}", views.feedback),
    ("/feedback/{folder}/{number:int}", views.document),
    ("/feedback/{folder}/{number:int}/file", views.document_file),
)
_DO = (
    ("/sign-in/{way}", actions.sign_in),
    ("/logout", actions.sign_out),
    ("/sync", actions.sync),
    ("/fetch/{folder}", actions.fetch),
    ("/take/{folder}", actions.take),
    ("/edit/{folder}", actions.edit),
    ("/stop/{folder}", actions.stop),
    ("/validate/{folder}", actions.validate),
    ("/submit/{folder}", actions.submit),
    ("/send/{folder}", actions.send),
    ("/give-up/{folder}", actions.give_up),
)


def create_app(app: StudentApp) -> ASGIApp:
    """Build the dashboard: context, the check of the browser, then the routes."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await app.connection.resume()
        if app.connection.user:
            app.connection.first_look = app.work.begin(partial(actions.look, app)).task
        yield
        await app.work.close()
        await app.runner.close()
        await app.connection.close()

    routes = [Route(path, handler, methods=["GET"]) for path, handler in _LOOK]
    routes += [Route(path, handler, methods=["POST"]) for path, handler in _DO]
    api = Starlette(
        routes=routes, lifespan=lifespan, exception_handlers=exception_handlers(answer_problem)
    )
    return ContextMiddleware(AppMiddleware(api, app, app.access.admit, HEADERS))
