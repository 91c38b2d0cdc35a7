"""The handlers of the dashboard's buttons: each is a form whose POST redirects to a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mograder.clients.course_server import Transport, WouldReplaceOnTime
from mograder.core.errors import MograderError, NotAuthenticated, NotFound
from mograder.exchange.student.course import Submitted
from mograder.exchange.student.drafts import NewerElsewhere
from mograder.store.copies.student_folder import Notebook
from mograder.web.background import Report
from mograder.web.error_responses import Wants, status_of, wanted
from mograder.web.pages import go_to, with_outcome
from mograder.web.request_body import read_form
from mograder.web.student.student_app import StudentApp, deliver, student_app
from mograder.web.student.views import AssignmentRow, requested_row, sign_in_form


async def sign_in(request: Request) -> Response:
    """Sign in by one of the connector's forms, then sync with the server."""
    app = student_app(request)
    fields = await read_form(request)
    try:
        await app.connection.sign_in(request.path_params["way"], fields)
    except MograderError as error:
        return sign_in_form(
            request,
            status_of(error),
            message=error.message,
            # For these it names a command; the page has its forms.
            hint="" if isinstance(error, NotAuthenticated) else error.hint,
            user=fields.get("user", "")[:100],
            typed=fields.get("server", "")[:500],
        )
    return await deliver(request, partial(look, app))


async def sign_out(request: Request) -> Response:
    """Forget the login; the work in the folder stays."""
    await student_app(request).connection.sign_out()
    return go_to(request, "/sign-in")


async def sync(request: Request) -> Response:
    """Send submissions that are waiting, then sync with the server."""
    app = student_app(request)

    async def job(report: Report) -> str:
        def send(transport: Transport) -> tuple[Submitted, ...]:
            return app.course.send_all(transport, report)

        await app.connection.use(send)
        return await look(app, report)

    return await deliver(request, job)


async def look(app: StudentApp, report: Report) -> str:
    """Sync with the server; an error is shown on the page. Raises: NotAuthenticated."""
    server, number = app.connection.connector.server, app.connection.connector.course_id
    try:
        await app.connection.use(
            lambda transport: app.course.sync(transport, server, report, number)
        )
    except NotAuthenticated:
        raise
    except MograderError as error:
        app.connection.trouble = str(error)
    return "/"


async def fetch(request: Request) -> Response:
    """Download an assignment into its folder; an edited file is kept next to the new one."""
    app, line = student_app(request), await requested_row(request)

    async def job(report: Report) -> str:
        def bring(transport: Transport) -> bool:
            fetched = app.course.fetch(transport, line.folder, report)
            return any(each.kept for each in fetched)

        kept = await app.connection.use(bring)
        return with_outcome("/", "replaced" if kept else "downloaded", line.name)

    return await deliver(request, job)


async def take(request: Request) -> Response:
    """Put newer work from elsewhere into the notebook's place; an edited one is kept beside it."""
    app, line = student_app(request), await requested_row(request)

    async def job(report: Report) -> str:
        # An editor that is open would save its text over what is taken.
        await app.runner.editors.stop(line.folder)

        def bring(transport: Transport) -> bool:
            return bool(app.course.take(transport, line.folder, report).kept)

        kept = await app.connection.use(bring)
        return with_outcome("/", "taken-kept" if kept else "taken", line.name)

    return await deliver(request, job)


async def edit(request: Request) -> Response:
    return await _run_notebook(request, student_app(request).runner.edit, "editor")


async def stop(request: Request) -> Response:
    """Stop an editor; saved changes are kept."""
    app, line = student_app(request), await requested_row(request)
    await app.runner.editors.stop(line.folder)
    if wanted(request) is Wants.PAGE:
        return go_to(request, with_outcome("/", "stopped", line.name))
    return JSONResponse({"status": "ok"})


async def validate(request: Request) -> Response:
    return await _run_notebook(request, student_app(request).runner.validate, "validation")


async def _run_notebook(
    request: Request, work: Callable[[Notebook, Report], Awaitable[object]], page: str
) -> Response:
    line = await requested_row(request)
    notebook = line.notebook
    if notebook is None:
        raise NotFound("There is no notebook yet.", hint="Download the assignment first.")

    async def job(report: Report) -> str:
        await work(notebook, report)
        return f"/{page}/{quote(line.folder, safe='')}"

    return await deliver(request, job)


async def submit(request: Request) -> Response:
    """Submit the notebook as last saved; if the server cannot be reached, keep it for later."""
    return await _hand_in(request, student_app(request).course.submit, waits=True)


async def send(request: Request) -> Response:
    return await _hand_in(request, student_app(request).course.send, waits=False)


async def _hand_in(request: Request, work: Callable[..., Submitted], *, waits: bool) -> Response:
    """Send a submission; ``waits``: without a login it is kept for later."""
    app, line = student_app(request), await requested_row(request)
    fields = await read_form(request)
    late, over = fields.get("late") == "yes", fields.get("over", "")

    async def job(report: Report) -> str:
        send_it = partial(work, folder=line.folder, progress=report, late=late, agreed=over)
        try:
            return await _handed_over(app, line, send_it)
        except NotAuthenticated:
            if not waits:
                raise
            return _after(app, await to_thread.run_sync(send_it, None), line.name)

    return await deliver(request, job)


async def _handed_over(
    app: StudentApp, line: AssignmentRow, work: Callable[[Transport], Submitted]
) -> str:
    """Send a submission; redirect to a question if it would replace what the student may want.

    Raises: NotAuthenticated without a login; with a void one, the submission is queued.
    """
    try:
        return _after(app, await app.connection.use(work), line.name)
    except WouldReplaceOnTime:
        return f"/late/{quote(line.folder, safe='')}"
    except NewerElsewhere:
        return f"/newer/{quote(line.folder, safe='')}"
    except NotAuthenticated:
        if not app.connection.signed_out:
            raise
        return with_outcome("/", "waits", line.name)


async def give_up(request: Request) -> Response:
    """Cancel the submission that is waiting; its file is set aside."""
    app, line = student_app(request), await requested_row(request)
    await to_thread.run_sync(app.course.give_up, line.folder)
    return go_to(request, with_outcome("/", "given-up", line.name))


def _after(app: StudentApp, done: Submitted, name: str) -> str:
    """Return the page after a submission: the receipt only if the server acknowledged it."""
    if done.handed is None:
        if done.away:
            app.connection.trouble = done.why
        return with_outcome("/", "waits", name)
    return f"/receipt/{quote(done.folder, safe='')}"
