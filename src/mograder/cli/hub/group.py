"""``mograder hub``: the server itself, and the group of commands around it (B73-B80)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import click

from mograder.cli.shared.lazy import Lazy, LazyGroup
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


class _Hub(LazyGroup):
    table: ClassVar[Mapping[str, Lazy]] = MappingProxyType(
        {
            "publish": Lazy(
                "mograder.cli.hub.publish:publish",
                "Publish an assignment or a lecture to a hub.",
                section=_ITEMS,
            ),
            "update": Lazy(
                "mograder.cli.hub.update:update",
                "Bring a new release into the copies that students have.",
                section=_ITEMS,
            ),
            "visibility": Lazy(
                "mograder.cli.hub.course:visibility",
                "Show or change what students see of a hub's items.",
                section=_ITEMS,
            ),
            "schedule": Lazy(
                "mograder.cli.hub.course:schedule",
                "Set dates of an item, or open items by a file.",
                section=_ITEMS,
            ),
            "rehearse": Lazy(
                "mograder.cli.hub.rehearse:rehearse",
                "See beforehand how a lecture will go on a hub.",
                section=_ITEMS,
            ),
            "warm": Lazy(
                "mograder.cli.hub.warm_items:warm",
                "Have a hub prepare items, so that their notebooks open at once.",
                section=_ITEMS,
            ),
            "warm-cache": Lazy(
                "mograder.cli.hub.warm:warm_cache",
                "Prepare the environments of notebooks.",
                section=_ITEMS,
            ),
            "sync-users": Lazy(
                "mograder.cli.hub.course:sync_users",
                "Replace the list of those who may use a hub.",
                section=_PEOPLE,
            ),
            "login-link": Lazy(
                "mograder.cli.hub.tokens:login_link",
                "Print a link that signs a person in once.",
                section=_PEOPLE,
            ),
            "generate-token": Lazy(
                "mograder.cli.hub.tokens:generate_token", "Print a person's token.", section=_PEOPLE
            ),
            "revoke-token": Lazy(
                "mograder.cli.hub.tokens:revoke_token",
                "End all tokens and logins of a person.",
                section=_PEOPLE,
            ),
            "lti": Lazy(
                "mograder.cli.hub.lti:lti",
                "Look after the learning platforms that open this hub by LTI 1.3.",
                section=_PEOPLE,
            ),
            "check": Lazy(
                "mograder.cli.hub.check:check", "Check that a hub can run here.", section=_CARE
            ),
            "routes": Lazy(
                "mograder.cli.hub.routes:routes",
                "List all addresses of a hub: method, path, access and handler.",
                section=_CARE,
            ),
            "backup": Lazy(
                "mograder.cli.hub.backup:backup",
                "Put the whole course into one file, while the hub runs.",
                section=_CARE,
            ),
            "restore": Lazy(
                "mograder.cli.hub.backup:restore",
                "Put a backup back, into a directory that is empty or not there.",
                section=_CARE,
            ),
            "rotate-audit": Lazy(
                "mograder.cli.hub.audit:rotate_audit",
                "Move old lines of the audit log into a file, while the hub runs.",
                section=_CARE,
            ),
            "prune": Lazy(
                "mograder.cli.hub.prune:prune",
                "Remove the environments that nothing needs.",
                section=_CARE,
            ),
            "install": Lazy(
                "mograder.cli.hub.install:install",
                "Make a service of the hub on this machine, as root.",
                section=_SERVICE,
            ),
            "uninstall": Lazy(
                "mograder.cli.hub.install:uninstall",
                "Remove the services and programs; all data, settings and secrets stay.",
                section=_SERVICE,
            ),
            "rollback": Lazy(
                "mograder.cli.hub.install:rollback",
                "Go back to the version that ran before, as root.",
                section=_SERVICE,
            ),
            "proxy-config": Lazy(
                "mograder.cli.hub.proxy_config:proxy_config",
                "Print the configuration of the web server in front of the hub.",
                section=_SERVICE,
            ),
            "nodes": Lazy(
                "mograder.cli.hub.nodes:nodes",
                "List the machines that run this hub's notebooks, and drain or remove one.",
                section=_SERVICE,
            ),
            "node-token": Lazy(
                "mograder.cli.hub.nodes:node_token",
                "Print a token with which a machine joins this hub, to run its notebooks.",
                section=_SERVICE,
            ),
            "supervisor": Lazy(
                "mograder.cli.hub.supervisor:supervisor",
                "Run the process that owns the sessions.",
                hidden=True,
            ),
        }
    )


@click.group(cls=_Hub, invoke_without_command=True)
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
        from mograder.cli.hub.run import run_hub  # noqa: PLC0415  # the server is heavy

        run_hub(given, dev=dev, headless=headless)


def overrides_of(**options: object) -> dict[str, object]:
    """Return the settings that options override; None means that an option is not given."""
    overrides = {key: options[name] for name, key in _SETTINGS.items()}
    lists = ((key, options[name]) for name, key in _LISTS.items())
    return overrides | {key: _names(text) for key, text in lists if isinstance(text, str)}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
