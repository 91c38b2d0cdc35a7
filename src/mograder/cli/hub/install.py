"""A hub's deployment on a machine: its services, and the configuration of the web server in front.

``mograder hub install``, ``rollback`` and ``uninstall`` change this machine, as root;
``proxy-config`` prints the web server's part of a deployment (B19, B20).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any

import click

from mograder.cli.shared.course_settings import course_option
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.settings import LoadedSettings
from mograder.operations.front import Front, FrontOptions, caddy_config, front_of, nginx_config
from mograder.operations.install.options import OPTIONS, InstallOptions, Refused, check
from mograder.operations.install.steps import demand_no_problems, next_steps, roll_back
from mograder.operations.install.steps import install as install_hub
from mograder.operations.install.steps import uninstall as uninstall_hub
from mograder.processes.programs import Host

_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, and change nothing."
)

_WRITERS: Mapping[str, Callable[[Front], str]] = MappingProxyType(
    {"caddy": caddy_config, "nginx": nginx_config}
)


def _ending_with_1(command: Callable[..., None]) -> Callable[..., None]:
    """End with 1, not as a bug of ours does, where a program or a service of the machine failed."""

    @wraps(command)
    def run(*args: object, **given: object) -> None:
        try:
            command(*args, **given)
        except MograderError as error:
            if type(error) is not MograderError:  # a family, with a status of its own
                raise
            raise click.ClickException(f"{error.message}\n{error.hint}".rstrip()) from error

    return run


def _install_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed([each for each in OPTIONS if not each.afar]):
        kind: dict[str, Any] = {"is_flag": True}
        if option.metavar:
            default = option.default
            kind = {"default": default, "metavar": option.metavar, "show_default": bool(default)}
        command = click.option(f"--{option.name}", help=option.help, **kind)(command)
    return command


@click.command("install")
@click.option("--systemd", is_flag=True, help="As services of systemd (the only kind there is).")
@_install_options
@_dry_run_option
@_ending_with_1
def install(*, systemd: bool, dry_run: bool, port: str, **given: Any) -> None:
    """Make a service of the hub on this machine, as root.

    It is for Ubuntu and Debian, and installs the mograder that this is. scripts/deploy-hub-aws.sh
    does the same by SSH. It may be run again: settings, secrets and data stay as they are.
    """
    if not systemd:
        raise InvalidInput("Say --systemd: the hub becomes a service of systemd.")
    told = {**given, "port": port, "dry-run": dry_run}
    try:
        check({name.replace("_", "-"): str(value or "") for name, value in told.items()})
    except Refused as error:
        raise InvalidInput(str(error)) from error
    options = InstallOptions(port=int(port), **given)
    host = Host(click.echo, dry=dry_run)
    install_hub(host, options)
    demand_no_problems(host)
    if not dry_run:
        click.echo(next_steps(options))


@click.command("uninstall")
@_dry_run_option
@_ending_with_1
def uninstall(*, dry_run: bool) -> None:
    """Remove the services and programs; all data, settings and secrets stay."""
    uninstall_hub(Host(click.echo, dry=dry_run))


@click.command("rollback")
@_dry_run_option
@_ending_with_1
def rollback(*, dry_run: bool) -> None:
    """Go back to the version that ran before, as root.

    The hub is stopped meanwhile; sessions go on. If that version cannot read the database, which
    the newer one has changed, the newer one runs on. Then stop mograder-hub.socket and
    mograder-hub, rename hub.db in the course's directory .mograder, copy hub.db.before-… to hub.db
    with its owner (cp -p), and run this again. If gradebook.db.before-… was made, too, do the same
    with it. A database on PostgreSQL is restored from your dump. Tokens, logins, nodes and links to
    platforms that were revoked since the upgrade count again with it: revoke them once more.
    """
    host = Host(click.echo, dry=dry_run)
    roll_back(host)
    demand_no_problems(host)


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
