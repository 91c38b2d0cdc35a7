"""The dashboard's server: its routes and middleware, its socket, signals and messages."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import gethostname

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict
from mograder.core.files.file_lock import LockFile
from mograder.core.log import configure_logging, get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.exchange.student.course import StudentCourse
from mograder.grading.workbench import UNPROTECTED
from mograder.store.copies.student_folder import STATE, StudentFolder
from mograder.web.app import AppMiddleware, exception_handlers
from mograder.web.background import Work
from mograder.web.browser_access import HEADERS, BrowserAccess
from mograder.web.context import ContextMiddleware
from mograder.web.open_browser import open_page
from mograder.web.pages import load_pages
from mograder.web.serving import LOOPBACK, Server, bind_local, configuration, until_signalled
from mograder.web.student import actions, views
from mograder.web.student.connector import Connector, ServerConnection
from mograder.web.student.notebook_runner import NotebookRunner
from mograder.web.student.student_app import StudentApp, answer_problem

_log = get_logger(__name__)

_GRACE_SECONDS = 2

_LOOK = (
    ("/health", views.health),
    ("/static/{version}/{name}", views.static_file),
    ("/open", views.use_link),
    ("/", views.home),
    ("/sign-in", views.sign_in_page),
    ("/sign-out", views.sign_out_page),
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


@dataclass(frozen=True, slots=True)
class StudentOptions:
    loaded: LoadedSettings
    environ: Environ
    connector: Connector
    port: int | None = None
    headless: bool = False
    everybody: bool = False


def serve_student(options: StudentOptions) -> None:
    """Serve until SIGTERM or Ctrl-C; the editors stop with it.

    Raises: Conflict for a port in use or a folder with a dashboard, InvalidInput for a port that
    cannot be used.
    """
    configure_logging(level="warning")
    for warning in options.loaded.warnings:
        _log.warning("%s", warning)
    asyncio.run(_serve(options))


def open_app(options: StudentOptions, port: int) -> StudentApp:
    loaded, clock = options.loaded, SystemClock()
    folder = StudentFolder(loaded.course_dir)
    listed = [each for each in loaded.settings.assignments if each.dir]
    chosen = {str(key): each.dir for each in listed for key in (each.id, each.name) if key}
    course = StudentCourse(folder, clock, chosen)
    return StudentApp(
        title=loaded.settings.title or "Your course",
        course=course,
        connection=ServerConnection(options.connector, course.known),
        runner=NotebookRunner(loaded, options.environ, folder, clock),
        access=BrowserAccess(port, clock, everybody=options.everybody),
        pages=load_pages(),
        work=Work(),
        clock=clock,
    )


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[Path]:
    """Hold a course's folder for this dashboard; yield the file that its address goes into.

    The editors of two would save over each other. A folder that cannot be locked is used all the
    same.

    Raises: Conflict, with the address, if another dashboard holds it.
    """
    path, free, address = folder / STATE / "dashboard.lock", True, ""
    lock = LockFile(path)
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        free = lock.take()
    if not free:
        with contextlib.suppress(OSError):  # the other one ends at this moment
            address = path.read_text("utf-8", "replace")
        raise Conflict(
            f"A dashboard of this folder runs already: {address}",
            hint="Go on there, or stop it by Ctrl+C in its terminal. If it cannot be reached any "
            f"more, delete {path} and start again.",
        )
    try:
        yield path
    finally:
        lock.drop()


async def _serve(options: StudentOptions) -> None:
    with (
        _only_one(options.loaded.course_dir) as held,
        contextlib.closing(bind_local(options.port)) as listener,
    ):
        port = int(listener.getsockname()[1])
        url = f"http://{LOOPBACK}:{port}"
        with contextlib.suppress(OSError):
            held.write_text(f"{url} on {gethostname()}.", "utf-8")
        app = open_app(options, port)
        server = Server(
            configuration(create_app(app), grace_seconds=_GRACE_SECONDS, lifespan="on", ws="none")
        )
        first = "/" if options.everybody else app.access.new_link()
        app.access.tell = lambda link: _say(f"For another browser, once: {url}{link}")
        _greet(options, url, first)
        with until_signalled(server):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            if not options.headless:
                await asyncio.to_thread(open_page, f"{url}{first}")
            await serving


def _greet(options: StudentOptions, url: str, first: str) -> None:
    title = options.loaded.settings.title or options.loaded.course_dir.name
    _say(f"Your dashboard for {title}, in {options.loaded.course_dir}")
    _say(f"  {url}{first}")
    if options.everybody:
        _say("  Whoever uses this machine can open it (--no-token).")
    else:
        _say("  The link works once, for one browser; then a new one is shown here.")
    if UNPROTECTED:
        _say(f"  {UNPROTECTED}")
    _say("Press Ctrl+C to stop. Editors that it started stop with it.")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


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
