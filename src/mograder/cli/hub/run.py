"""Start the hub's own processes: the server, and the supervisor of a shipped deployment."""

from __future__ import annotations

import gc

import click

from mograder.cli.shared.options import Given
from mograder.core.settings import load_settings, read_environ
from mograder.sandbox.limits.cpu import put_first


def run_hub(given: Given, *, dev: bool, headless: bool) -> None:
    """Serve until stopped.

    Raises:
        click.ClickException: There is no secret and no ``--dev`` (compatibility-0.3.16.md 1).
        MograderError: The hub cannot start; the message says why.
    """
    if not dev and read_environ().hub_secret is None:
        raise click.ClickException(
            "MOGRADER_HUB_SECRET must be set (or use --dev for ephemeral secret)\n"
            "Make one, and keep it, since all tokens depend on it: export MOGRADER_HUB_SECRET="
            '$(python3 -c "import secrets; print(secrets.token_hex(32))")'
        )
    loaded = load_settings(given.course_dir, overrides=given.overrides)
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
