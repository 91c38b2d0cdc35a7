"""``mograder hub install``, ``rollback``, ``uninstall``: the deployment on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mograder.core.errors import InvalidInput
from mograder.operations.deploy_files import DEPLOY_SCRIPT, shipped_file
from mograder.processes.programs import run_script

_PROGRAM = Path("bin") / "mograder"

_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, and change nothing."
)


@click.command("install")
@click.option("--systemd", is_flag=True, help="As services of systemd (the only kind there is).")
@click.option("--port", type=int, default=8080, show_default=True, help="Port on this machine.")
@click.option(
    "--volume",
    default="none",
    show_default=True,
    metavar="DEVICE",
    help="Disk for the data, at /srv/mograder; formatted only if it is empty.",
)
@click.option("--domain", metavar="NAME", help="Name that browsers use: Caddy serves it by HTTPS.")
@click.option("--internal-ca", is_flag=True, help="A certificate of Caddy's own authority.")
@click.option(
    "--sso-header",
    default="X-Remote-User",
    show_default=True,
    metavar="NAME",
    help="Header in which a sign-on in front names the user.",
)
@click.option("--sso-proxy", metavar="ADDRESS", help="Where that sign-on's requests come from.")
@click.option(
    "--remote-user",
    metavar="VARIABLE",
    help="Caddy's variable that holds the signed-in user; the sign-on itself is configured in "
    "/etc/caddy/mograder.d.",
)
@click.option(
    "--session-domain", metavar="NAME", help="Give each session its own origin: SESSION.NAME."
)
@click.option(
    "--session-certificate", metavar="FILE", help="Wildcard certificate for --session-domain."
)
@click.option("--session-key", metavar="FILE", help="Key of --session-certificate.")
@click.option("--index-url", metavar="URL", help="The site's package index, for builds.")
@click.option("--proxy", metavar="URL", help="The site's web proxy, for apt and builds.")
@click.option("--ca-file", metavar="FILE", help="The site's own certificate authority (PEM).")
@click.option("--downgrade", is_flag=True, help="Allow an older version than the one that runs.")
@_dry_run_option
@click.pass_context
def install(ctx: click.Context, /, systemd: bool, dry_run: bool, **options: object) -> None:
    """Make a service of the hub on this machine, as root.

    It is for Ubuntu and Debian. The same steps as scripts/deploy-hub-aws.sh takes by SSH, with
    the mograder that this is. It may be run again: nothing that is there is replaced, and no data
    touched.
    """
    if not systemd:
        raise InvalidInput("Say --systemd: the hub becomes a service of systemd.")
    arguments = ["--program", str(_program())]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif value is not None and value is not False:
            arguments += [option, str(value)]
    _run(ctx, *arguments, dry_run=dry_run)


@click.command("uninstall")
@_dry_run_option
@click.pass_context
def uninstall(ctx: click.Context, /, dry_run: bool) -> None:
    """Remove the services and programs; all data, settings and secrets stay."""
    _run(ctx, "--uninstall", dry_run=dry_run)


@click.command("rollback")
@_dry_run_option
@click.pass_context
def rollback(ctx: click.Context, /, dry_run: bool) -> None:
    """Go back to the version that ran before, as root.

    The hub is stopped meanwhile; sessions go on. If that version cannot read the database, which
    the newer one has changed, the newer one runs on: put the copy of before the upgrade in its
    place first (docs/how-to/operate.md, "Upgrade").
    """
    _run(ctx, "--rollback", dry_run=dry_run)


def _run(ctx: click.Context, *arguments: str, dry_run: bool) -> None:
    last = ["--dry-run"] if dry_run else []
    status = run_script(shipped_file(DEPLOY_SCRIPT), ["--here", *arguments, *last])
    if status:
        ctx.exit(status)


def _program() -> Path:
    """Return the environment that mograder is installed in, for the service to use."""
    place = Path(sys.prefix)
    if not (place / _PROGRAM).is_file():
        raise InvalidInput(
            f"There is no {_PROGRAM} in {place}.",
            hint="Install mograder into a virtual environment of its own, such as /opt/mograder.",
        )
    return place
