"""``mograder hub``: the server itself, and the group of commands around it (B73-B80)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup, Needs, server_part
from mograder.cli.shared.options import Given, course_dir_option

_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "port": "hub.port",
        "host": "hub.host",
        "notebooks_dir": "hub.notebooks_dir",
        "session_ttl": "hub.session_ttl",
        "trusted_header": "hub.trusted_header",
        "base_url": "hub.base_url",
    }
)
"""Option → setting. If an option is not given, the course's setting is used."""

_LISTS: Mapping[str, str] = MappingProxyType(
    {"instructors": "hub.instructors", "markers": "marking.markers"}
)
"""The same for options that are lists separated by commas."""


_ITEMS, _PEOPLE = "Items", "People"
_CARE, _SERVICE = "Looking after a hub", "Service and machines"
_server = partial(Lazy, needs=Needs.LINUX)
"""A command on the hub's machine; the others are clients of a hub and run on every system."""


@click.group(
    cls=LazyGroup,
    table={
        "publish": Lazy("mograder.cli.hub.publish:publish", section=_ITEMS),
        "update": Lazy("mograder.cli.hub.items:update", section=_ITEMS),
        "visibility": Lazy("mograder.cli.hub.course:visibility", section=_ITEMS),
        "schedule": Lazy("mograder.cli.hub.course:schedule", section=_ITEMS),
        "rehearse": Lazy("mograder.cli.hub.items:rehearse", section=_ITEMS),
        "warm": Lazy("mograder.cli.hub.items:warm", section=_ITEMS),
        "warm-cache": _server("mograder.cli.hub.warm_cache:warm_cache", section=_ITEMS),
        "sync-users": Lazy("mograder.cli.hub.course:sync_users", section=_PEOPLE),
        "login-link": _server("mograder.cli.hub.tokens:login_link", section=_PEOPLE),
        "generate-token": _server("mograder.cli.hub.tokens:generate_token", section=_PEOPLE),
        "revoke-token": Lazy("mograder.cli.hub.course:revoke_token", section=_PEOPLE),
        "lti": _server("mograder.cli.hub.lti:lti", section=_PEOPLE),
        "check": _server("mograder.cli.hub.check:check", section=_CARE),
        "routes": _server("mograder.cli.hub.routes:routes", section=_CARE),
        "backup": _server("mograder.cli.hub.backup:backup", section=_CARE),
        "restore": _server("mograder.cli.hub.backup:restore", section=_CARE),
        "rotate-audit": _server("mograder.cli.hub.upkeep:rotate_audit", section=_CARE),
        "prune": _server("mograder.cli.hub.upkeep:prune", section=_CARE),
        "install": _server("mograder.cli.hub.install:install", section=_SERVICE),
        "uninstall": _server("mograder.cli.hub.install:uninstall", section=_SERVICE),
        "rollback": _server("mograder.cli.hub.install:rollback", section=_SERVICE),
        "proxy-config": _server("mograder.cli.hub.install:proxy_config", section=_SERVICE),
        "nodes": _server("mograder.cli.hub.nodes:nodes", section=_SERVICE),
        "node-token": _server("mograder.cli.hub.nodes:node_token", section=_SERVICE),
        "supervisor": _server("mograder.cli.hub.run:supervisor", hidden=True),
    },
    invoke_without_command=True,
)
@course_dir_option
@click.option("--port", type=int, help="Server port.  [default: [hub] port, 8080]")
@click.option("--host", help="Bind address.  [default: [hub] host, 0.0.0.0]")
@click.option(
    "--notebooks-dir",
    type=click.Path(),
    help="Student notebooks directory.  [default: [hub] notebooks_dir, hub-notebooks]",
)
@click.option(
    "--session-ttl",
    type=int,
    help="Session idle timeout in seconds.  [default: [hub] session_ttl, 3600]",
)
@click.option(
    "--trusted-header",
    help="Trusted proxy header name.  [default: [hub] trusted_header, X-Remote-User]",
)
@click.option(
    "--instructors",
    metavar="NAME,NAME…",
    help="Users who are instructors.  [default: [hub] instructors]",
)
@click.option(
    "--markers",
    metavar="NAME,NAME…",
    help="Users who mark what is open for marking.  [default: [marking] markers]",
)
@click.option(
    "--base-url",
    metavar="PREFIX",
    help="Path prefix under which browsers find the hub.  [default: [hub] base_url]",
)
@click.option("--dev", is_flag=True, help="Development mode: no sign-in required.")
@click.option("--headless", is_flag=True, help="Do not open a browser on startup.")
@click.pass_context
def hub(
    ctx: click.Context,
    /,
    course_dir: Path | None,
    dev: bool,
    headless: bool,
    **options: object,
) -> None:
    """Run the shared hub, and look after it.

    Without a command this starts the server. MOGRADER_HUB_SECRET must be set, unless --dev.
    """
    ctx.obj = given = Given(course_dir, overrides_of(**options))
    if ctx.invoked_subcommand is None:
        run_hub = server_part(ctx.command_path, "mograder.cli.hub.run:run_hub")
        run_hub(given, dev=dev, headless=headless)


def overrides_of(**options: object) -> dict[str, object]:
    """Return the settings that options override; None means that an option is not given."""
    overrides = {key: options[name] for name, key in _SETTINGS.items()}
    lists = ((key, options[name]) for name, key in _LISTS.items())
    return overrides | {key: _names(text) for key, text in lists if isinstance(text, str)}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
