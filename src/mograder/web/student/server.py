"""Running the dashboard: the socket on loopback, the signals, the words on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn

from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.log import configure_logging, get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.exchange.student.course import StudentCourse
from mograder.store.student_folder import StudentFolder
from mograder.web.http_lines import HttpLine
from mograder.web.hub.progress import Work
from mograder.web.student.app import create_app
from mograder.web.student.bench import Bench
from mograder.web.student.connector import Connector
from mograder.web.student.desk import Desk
from mograder.web.student.gate import Doorkeeper
from mograder.web.student.wire import Wire
from mograder.web.templating import load_pages

_log = get_logger(__name__)

_LOOPBACK = "127.0.0.1"
_USUAL_PORT = 2718
_PORTS_TRIED = 20
_GRACE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class StudentOptions:
    """How ``mograder student`` was called."""

    loaded: LoadedSettings
    environ: Environ
    connector: Connector
    port: int | None = None
    headless: bool = False
    everybody: bool = False


def serve_student(options: StudentOptions) -> None:
    """Serve until SIGTERM or Ctrl-C; the editors end with it.

    Raises: Conflict for a port in use, InvalidInput for one that cannot be had.
    """
    configure_logging(level="warning")
    for warning in options.loaded.warnings:
        _log.warning("%s", warning)
    asyncio.run(_serve(options))


def open_desk(options: StudentOptions, port: int) -> Desk:
    """Put together what the pages need, for a dashboard on this port."""
    loaded, clock = options.loaded, SystemClock()
    folder = StudentFolder(loaded.course_dir)
    course = StudentCourse(folder, clock, _chosen_folders(loaded))

    def owner() -> str:
        known = course.known()
        return known.user if known else ""

    return Desk(
        title=loaded.settings.title or "Your course",
        course=course,
        wire=Wire(options.connector, owner),
        bench=Bench(loaded, options.environ, folder, clock),
        keeper=Doorkeeper(port, clock, everybody=options.everybody),
        pages=load_pages(),
        work=Work(),
        clock=clock,
    )


def _chosen_folders(loaded: LoadedSettings) -> dict[str, str]:
    """The folders that ``[[assignments]]`` names, by the assignment's name and number."""
    listed = [each for each in loaded.settings.assignments if each.dir]
    return {str(key): each.dir for each in listed for key in (each.id, each.name) if key}


async def _serve(options: StudentOptions) -> None:
    with contextlib.closing(_listen(options.port)) as listener:
        port = int(listener.getsockname()[1])
        url = f"http://{_LOOPBACK}:{port}"
        desk = open_desk(options, port)
        server = _Server(_configuration(desk))
        first = "/" if options.everybody else desk.keeper.new_link()
        desk.keeper.tell = lambda link: _say(f"For another browser, once: {url}{link}")
        _greet(options, url, first)
        with _until_signalled(server):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            if not options.headless:
                await asyncio.to_thread(webbrowser.open, f"{url}{first}")
            await serving


def _configuration(desk: Desk) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(desk),
        http=HttpLine,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise the signal again when it has served,

    and the process would die before the editors are put away.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _until_signalled(server: uvicorn.Server) -> Iterator[None]:
    """Stop gracefully at the first SIGTERM or Ctrl-C, at once at the second."""

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _listen(port: int | None) -> socket.socket:
    """Bind to loopback and nothing else: the port that was asked for, or the first free one."""
    wanted = [port] if port is not None else [*range(_USUAL_PORT, _USUAL_PORT + _PORTS_TRIED), 0]
    for each in wanted:
        try:
            return socket.create_server((_LOOPBACK, each))
        except OSError as error:
            if port is None and error.errno == errno.EADDRINUSE:
                continue
            raise _cannot_bind(each, error) from error
        except OverflowError as error:
            raise InvalidInput(f"{each} is no port.", hint="Ports go up to 65535.") from error
    raise Conflict("No port is free.", hint="Choose one with --port.")


def _cannot_bind(port: int, error: OSError) -> Conflict | InvalidInput:
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"Port {port} is in use.", hint="Choose another one with --port.")
    return InvalidInput(f"Cannot listen on port {port}: {error.strerror}.")


def _greet(options: StudentOptions, url: str, first: str) -> None:
    title = options.loaded.settings.title or options.loaded.course_dir.name
    _say(f"Your dashboard for {title}, in {options.loaded.course_dir}")
    _say(f"  {url}{first}")
    if options.everybody:
        _say("  Whoever uses this machine can open it (--no-token).")
    else:
        _say("  The link works once, for one browser; then a new one is shown here.")
    _say("Press Ctrl+C to stop. Editors that it started stop with it.")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
