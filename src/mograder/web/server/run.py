"""Running the assignment server: the socket, the event loop, the messages on the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import uvicorn
import uvloop

from mograder.core.errors import InvalidInput
from mograder.core.log import configure_logging
from mograder.core.operating_system import allow_open_files
from mograder.core.web_origin import is_loopback
from mograder.web.server.app import create_app
from mograder.web.server.services import ServerOptions, open_services
from mograder.web.serving import Server, bind, configuration, until_signalled

_GRACE_SECONDS = 30
"""Seconds in which submissions under way are completed and acknowledged when the server stops."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the server listens; ``forced`` allows ``--no-auth`` beyond loopback."""

    host: str
    port: int
    tls_cert: Path | None = None
    tls_key: Path | None = None
    forced: bool = False


def serve_course(options: ServerOptions, listening: Listening) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    configure_logging()
    if options.no_auth and not listening.forced and not is_loopback(listening.host):
        raise InvalidInput(
            f"With --no-auth anybody who reaches {listening.host} could read and replace "
            "everybody's work and grades.",
            hint="Use --host 127.0.0.1, or --force if you mean it.",
        )
    allow_open_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options, listening))


async def _serve(options: ServerOptions, listening: Listening) -> None:
    with contextlib.closing(bind(listening.host, listening.port)) as listener:
        services = await asyncio.to_thread(open_services, options)
        config = configuration(
            create_app(services),
            grace_seconds=_GRACE_SECONDS,
            lifespan="off",
            ws="none",
            ssl_certfile=listening.tls_cert,
            ssl_keyfile=listening.tls_key,
        )
        server = Server(_loaded(config), lambda: _greet(options, listening, listener))
        with until_signalled(server):
            await server.serve(sockets=[listener])


def _loaded(config: uvicorn.Config) -> uvicorn.Config:
    """Load the certificate now, so that an error in it gets a clear message."""
    try:
        config.load()
    except OSError as error:
        raise InvalidInput(
            f"The certificate or its key cannot be used: {error}.",
            hint="Both are PEM files: --tls-cert the chain, --tls-key the key.",
        ) from error
    return config


def _greet(options: ServerOptions, listening: Listening, listener: socket.socket) -> None:
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    scheme = "https" if listening.tls_cert else "http"
    auth = "disabled (--no-auth)" if options.no_auth else "enabled"
    url = f"{scheme}://{host}:{listener.getsockname()[1]}"
    lines = [
        f"Serving assignments from {options.root}",
        f"  URL: {url}",
        f"  Authentication: {auth}",
    ]
    if options.enrollment_code:
        lines.append(f"  Registration: {auth}")
    lines += ["Press Ctrl+C to stop.", f"How students install their commands: {url}/client", ""]
    sys.stdout.write("\n".join(lines))
    sys.stdout.flush()  # output to a journal or a file is buffered
