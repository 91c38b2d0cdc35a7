"""What the buttons of the dashboard do: each is a form that posts and leads to a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote, urlencode

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mograder.core.errors import MograderError, NotAuthenticated, NotFound
from mograder.exchange.student.course import Submitted
from mograder.store.student_folder import Notebook
from mograder.transports.interface import Transport, WouldReplaceOnTime
from mograder.web.hub.intake import read_form
from mograder.web.hub.progress import Report
from mograder.web.problems import Wants, status_of
from mograder.web.student.desk import Desk, deliver, desk_of, go_to, wanted
from mograder.web.student.lines import Line
from mograder.web.student.views import FIRST_LOOK, sign_in_form, the_line


async def sign_in(request: Request) -> Response:
    """Sign in by one of the connector's forms, then ask for everything."""
    desk = desk_of(request)
    fields = await read_form(request)
    try:
        await desk.wire.sign_in(request.path_params["way"], fields)
    except MograderError as error:
        return sign_in_form(
            request,
            status_of(error),
            message=error.message,
            hint=error.hint,
            user=fields.get("user", "")[:100],
        )
    return await deliver(request, FIRST_LOOK, partial(look, desk))


async def sign_out(request: Request) -> Response:
    """Forget who was signed in; the work in the folder stays."""
    await desk_of(request).wire.sign_out()
    return go_to("/sign-in")


async def sync(request: Request) -> Response:
    """Send what waits, then ask the server for everything."""
    desk = desk_of(request)

    async def job(report: Report) -> str:
        def send(transport: Transport) -> tuple[Submitted, ...]:
            return desk.course.send_all(transport, report)

        await desk.wire.use(send)
        return await look(desk, report)

    return await deliver(request, FIRST_LOOK, job)


async def look(desk: Desk, report: Report) -> str:
    """Ask the server for everything; a server that is away is told on the page."""
    server = desk.wire.connector.server
    try:
        await desk.wire.use(lambda transport: desk.course.sync(transport, server, report))
    except NotAuthenticated:
        raise
    except MograderError as error:
        desk.wire.trouble = str(error)
    return "/"


async def fetch(request: Request) -> Response:
    """Bring an assignment into its folder; an edited file is kept beside the new one."""
    desk, line = desk_of(request), await the_line(request)

    async def job(report: Report) -> str:
        def bring(transport: Transport) -> bool:
            fetched = desk.course.fetch(transport, line.folder, report)
            return any(each.kept for each in fetched)

        kept = await desk.wire.use(bring)
        return _told("replaced" if kept else "downloaded", line.name)

    return await deliver(request, f"fetch:{line.folder}", job)


async def edit(request: Request) -> Response:
    """Start the editor of a notebook, then lead to it."""
    return await _at_the_bench(request, "edit", desk_of(request).bench.edit, "editor")


async def stop(request: Request) -> Response:
    """End an editor; what was saved is safe."""
    desk, line = desk_of(request), await the_line(request)
    await desk.bench.editors.stop(line.folder)
    if wanted(request) is Wants.PAGE:
        return go_to(_told("stopped", line.name))
    return JSONResponse({"status": "ok"})


async def validate(request: Request) -> Response:
    """Run the notebook's checks."""
    return await _at_the_bench(request, "validate", desk_of(request).bench.validate, "validation")


async def _at_the_bench(
    request: Request, kind: str, work: Callable[[Notebook, Report], Awaitable[object]], page: str
) -> Response:
    line = await the_line(request)
    notebook = _notebook_of(line)

    async def job(report: Report) -> str:
        await work(notebook, report)
        return f"/{page}/{quote(line.folder, safe='')}"

    return await deliver(request, f"{kind}:{line.folder}", job)


async def submit(request: Request) -> Response:
    """Hand in the notebook as it was saved last; keep it where the server is away."""
    desk, line = desk_of(request), await the_line(request)
    late = (await read_form(request)).get("late") == "yes"

    async def job(report: Report) -> str:
        hand_in = partial(desk.course.submit, folder=line.folder, progress=report, late=late)
        try:
            return await _handed_over(desk, line, hand_in)
        except NotAuthenticated:
            return _after(desk, await to_thread.run_sync(hand_in, None), line.name)

    return await deliver(request, f"submit:{line.folder}", job)


async def send(request: Request) -> Response:
    """Send the notebook that waits."""
    desk, line = desk_of(request), await the_line(request)
    late = (await read_form(request)).get("late") == "yes"

    async def job(report: Report) -> str:
        send_it = partial(desk.course.send, folder=line.folder, progress=report, late=late)
        return await _handed_over(desk, line, send_it)

    return await deliver(request, f"submit:{line.folder}", job)


async def _handed_over(desk: Desk, line: Line, work: Callable[[Transport], Submitted]) -> str:
    """Let the server have it; where that takes a decision of the student's, lead to it."""
    try:
        return _after(desk, await desk.wire.use(work), line.name)
    except WouldReplaceOnTime:
        return f"/late/{quote(line.folder, safe='')}"


async def give_up(request: Request) -> Response:
    """Do not send the notebook that waits; it is set aside."""
    desk, line = desk_of(request), await the_line(request)
    await to_thread.run_sync(desk.course.give_up, line.folder)
    return go_to(_told("given-up", line.name))


def _after(desk: Desk, done: Submitted, name: str) -> str:
    """Where to go after a submission: to the receipt only if the server acknowledged it."""
    if done.handed is None:
        desk.wire.trouble = done.why
        return _told("waits", name)
    return f"/receipt/{quote(done.folder, safe='')}"


def _notebook_of(line: Line) -> Notebook:
    if line.notebook is None:
        raise NotFound("There is no notebook yet.", hint="Download the assignment first.")
    return line.notebook


def _told(done: str, item: str) -> str:
    """The list, which says what was done."""
    return f"/?{urlencode({'done': done, 'item': item})}"
