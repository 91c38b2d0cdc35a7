"""Running the grader: the socket, the signals, the messages on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from mograder.core.clock import SystemClock
from mograder.core.log import configure_logging, get_logger
from mograder.core.settings import LoadedSettings
from mograder.grading.submissions.grading_result import grading_key
from mograder.store.course.sources import open_sources
from mograder.web.browser import open_page
from mograder.web.browser_access import BrowserAccess
from mograder.web.grader.access import LocalAccess, ProxyAccess, ProxyRules, local_user
from mograder.web.grader.app import Access, GraderApp, create_app, record
from mograder.web.marking.context import SharedGradebook, make_marking
from mograder.web.pages import load_pages
from mograder.web.serving import LOOPBACK, Server, bind, bind_local, configuration, until_signalled

_log = get_logger(__name__)
_COMMAND = "mograder grader"
_GRACE_SECONDS = 3
_LOCAL_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_EVERYBODY = (
    "Neither instructors nor markers are named: each user that a proxy names is an instructor. "
    "Name them with --instructors and --markers."
)


@dataclass(frozen=True, slots=True)
class GraderOptions:
    """The options of ``mograder grader``; ``port`` is None for the first free one."""

    loaded: LoadedSettings
    port: int | None = None
    headless: bool = False
    base_url: str = ""


@dataclass(frozen=True, slots=True)
class ProxiedGraderOptions:
    """The options of ``mograder grader-asgi``."""

    loaded: LoadedSettings
    rules: ProxyRules
    host: str
    port: int
    base_url: str = ""


def serve_grader(options: GraderOptions) -> None:
    """Serve the person at this machine until SIGTERM or Ctrl-C.

    Raises: Conflict for a port in use, InvalidInput for one that cannot be used.
    """
    configure_logging(level="warning")
    _warn(options.loaded)
    asyncio.run(_serve_local(options))


def serve_proxied_grader(options: ProxiedGraderOptions) -> None:
    """Serve the users of a proxy until SIGTERM or Ctrl-C.

    Raises: as :func:`serve_grader`.
    """
    configure_logging(level="info")
    _warn(options.loaded)
    if not options.rules.instructors and not options.rules.markers:
        _log.warning(_EVERYBODY)
    asyncio.run(_serve_proxied(options))


def open_grader(loaded: LoadedSettings, access: Access) -> GraderApp:
    """Create the services of a grader; blocks.

    Raises:
        InvalidInput: The secret of the course's signatures cannot be read or written.
    """
    clock, book = SystemClock(), SharedGradebook(loaded)
    sources = open_sources(loaded, clock)
    key = grading_key(loaded)
    marking = make_marking(loaded, clock, key, book=book, sources=sources, record=record)
    title = loaded.settings.title or loaded.course_dir.name
    return GraderApp(title, load_pages(), marking, book, access)


async def _serve_local(options: GraderOptions) -> None:
    with contextlib.closing(bind_local(options.port)) as listener:
        port = int(listener.getsockname()[1])
        url = f"http://{LOOPBACK}:{port}{options.base_url}"
        any_host = bool(options.base_url)
        browser = BrowserAccess(port, SystemClock(), command=_COMMAND, any_host=any_host)
        app = open_grader(options.loaded, LocalAccess(browser, local_user()))
        link = browser.new_link()
        browser.tell = lambda link: _say(f"For another browser, once: {url}{link}")
        server = _server(app, options.base_url)
        _say(f"Marking {app.title}, in {options.loaded.course_dir}")
        _say(f"  {url}{link}")
        _say("  The link works once, for one browser; then a new one is shown here.")
        _say("Press Ctrl+C to stop.")
        with until_signalled(server, signals=_LOCAL_SIGNALS):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            if not options.headless:
                await asyncio.to_thread(open_page, f"{url}{link}")
            await serving


async def _serve_proxied(options: ProxiedGraderOptions) -> None:
    with contextlib.closing(bind(options.host, options.port)) as listener:
        app = open_grader(options.loaded, ProxyAccess(options.rules, local_user()))
        server = _server(app, options.base_url, options.rules.trusts)
        _say(f"Launching ASGI grader for: {options.loaded.course_dir}")
        _say(f"  base-url: {options.base_url or '/'}")
        _say(f"  bind: {options.host}:{listener.getsockname()[1]}")
        with until_signalled(server):
            await server.serve(sockets=[listener])


def _server(
    app: GraderApp, base_url: str, trusts: Callable[[str | None], bool] = lambda _: False
) -> Server:
    asgi = create_app(app, base_url=base_url, trusts=trusts)
    return Server(configuration(asgi, grace_seconds=_GRACE_SECONDS, lifespan="on", ws="none"))


def _warn(loaded: LoadedSettings) -> None:
    for warning in loaded.warnings:
        _log.warning("%s", warning)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
