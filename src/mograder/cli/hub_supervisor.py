"""``mograder hub supervisor``: the process that owns sessions, as the shipped unit runs it.

A hub that is started by hand starts its own; this one outlives hubs (architecture.md, "A
supervisor owns the sessions").
"""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.options import Given, course_dir_option
from mograder.core.log import configure_logging
from mograder.core.settings import Environ, LoadedSettings, read_environ, runtime_dir
from mograder.sandbox.host import SupervisorConfig
from mograder.sandbox.safety import supervisor_config
from mograder.sandbox.supervisor import serve_supervisor

_STATE = ".mograder"
_SOCKET = "supervisor.sock"


@click.command("supervisor")
@course_dir_option
@click.pass_obj
def supervisor(given: Given, course_dir: Path | None) -> None:
    """Run the process that owns the sessions.

    It answers hubs until it is stopped, on the socket that [hub] supervisor_socket names.
    """
    configure_logging()
    serve_supervisor(lone_config(load_course(given, course_dir), read_environ()))


def lone_config(loaded: LoadedSettings, environ: Environ) -> SupervisorConfig:
    """Return how a supervisor runs that no hub owns, where [hub] supervisor_socket expects it."""
    hub = loaded.settings.hub
    expected = loaded.path(hub.supervisor_socket) if hub.supervisor_socket else None
    runtime = runtime_dir(loaded, environ)
    return supervisor_config(
        loaded.settings,
        environ,
        runtime=runtime,
        state=loaded.path(_STATE),
        uv_cache=loaded.path(hub.uv_cache_dir) if hub.uv_cache_dir else None,
        socket=expected or runtime / _SOCKET,
    )
