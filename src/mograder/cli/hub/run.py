"""The hub's own processes: the server, and the supervisor of a shipped deployment.

The supervisor owns the sessions. A hub that is started by hand starts its own one; the one of
``mograder hub supervisor``, as the shipped unit runs it, outlives hubs (decision 3).
"""

from __future__ import annotations

import gc
from collections.abc import Mapping

import click

from mograder.cli.shared.course_settings import given_course_dir, load_course
from mograder.cli.shared.options import course_dir_option
from mograder.core.log import configure_logging
from mograder.core.settings import load_settings, read_environ
from mograder.sandbox.limits.cpu import put_first


def run_hub(overrides: Mapping[str, object], *, dev: bool, headless: bool) -> None:
    """Serve until stopped; see compatibility-0.3.16.md 1 for a hub without a secret."""
    if not dev and read_environ().hub_secret is None:
        raise click.ClickException(
            "MOGRADER_HUB_SECRET must be set (or use --dev for ephemeral secret)\n"
            "Make one, and keep it, since all tokens depend on it: export MOGRADER_HUB_SECRET="
            '$(python3 -c "import secrets; print(secrets.token_hex(32))")'
        )
    loaded = load_settings(given_course_dir(), overrides=overrides)
    # Nothing becomes garbage during startup, and searching for it takes 0.2 s; the server enables
    # the collector when it serves.
    gc.disable()
    try:
        # Imported here, so that mistakes in the settings are reported without loading the
        # framework. The server writes the settings' warnings to its log.
        from mograder.web.hub.server import serve_hub  # noqa: PLC0415

        put_first()
        serve_hub(loaded, dev=dev, headless=headless)
    finally:
        gc.enable()


@click.command("supervisor")
@course_dir_option
def supervisor() -> None:
    """Run the process that owns the sessions.

    It answers hubs until it is stopped, on the socket that [hub] supervisor_socket names.
    """
    # Imported here, since the server does without it.
    from mograder.sandbox.client.bootstrap import supervisor_config  # noqa: PLC0415
    from mograder.sandbox.supervisor.server import serve_supervisor  # noqa: PLC0415

    environ = read_environ()
    configure_logging(journal=environ.service.journal)
    config = supervisor_config(load_course(), environ, lone=True)
    serve_supervisor(config, service=environ.service)
