"""``mograder hub proxy-config``: write the web server's part of a deployment (B19, B20)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import click

from mograder.cli.shared.course_settings import course_option
from mograder.core.settings import LoadedSettings
from mograder.operations.front import (
    Front,
    FrontOptions,
    caddy_config,
    front_of,
    nginx_config,
)

_WRITERS: Mapping[str, Callable[[Front], str]] = MappingProxyType(
    {"caddy": caddy_config, "nginx": nginx_config}
)


@click.command("proxy-config")
@click.argument("program", type=click.Choice(sorted(_WRITERS)))
@click.option("--domain", default="", help="The hub's name for browsers.  [default: public_url]")
@click.option(
    "--remote-user",
    "user",
    default="",
    metavar="VARIABLE",
    help="The program's variable with who signed in there, such as $remote_user.",
)
@click.option("--certificate", default="", help="The certificate's file.")
@click.option("--certificate-key", "key", default="", help="Its key's file.")
@click.option(
    "--session-certificate", default="", help="The wildcard certificate's file, for session_url."
)
@click.option("--session-certificate-key", "session_key", default="", help="Its key's file.")
@click.option(
    "--hub",
    "hubs",
    multiple=True,
    metavar="HOST:PORT",
    help="A hub's address; give it once for each of several.  [default: the settings']",
)
@course_option
def proxy_config(*, program: str, loaded: LoadedSettings, **options: Any) -> None:
    """Print the configuration of the web server in front of the hub.

    It follows the settings: prefix, name, port, trusted header, limits. With several
    hubs a request goes to the one at work.
    """
    front = front_of(loaded, FrontOptions(**options))
    click.echo(_WRITERS[program](front), nl=False)
