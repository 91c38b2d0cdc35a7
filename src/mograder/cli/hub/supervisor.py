"""``mograder hub supervisor``: the process that owns sessions, as the shipped unit runs it.

A hub that is started by hand starts its own supervisor; this one outlives hubs (decision 3).
"""

from __future__ import annotations

from pathlib import Path

import click

from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.options import course_dir_option
from mograder.core.log import configure_logging
from mograder.core.settings import read_environ
from mograder.sandbox.client.bootstrap import supervisor_config
from mograder.sandbox.supervisor.server import serve_supervisor


@click.command("supervisor")
@course_dir_option
def supervisor(course_dir: Path | None) -> None:
    """Run the process that owns the sessions.

    It answers hubs until it is stopped, on the socket that [hub] supervisor_socket names.
    """
    environ = read_environ()
    configure_logging(journal=environ.service.journal)
    loaded = load_course(course_dir)
    config = supervisor_config(loaded, environ, lone=True)
    serve_supervisor(config, service=environ.service)
