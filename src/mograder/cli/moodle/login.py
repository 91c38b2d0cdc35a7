"""``mograder moodle login``: by password, by an existing token, or with the browser."""

from __future__ import annotations

import sys

import click

from mograder.cli.moodle.site import moodle_url, token_store
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.login import (
    launch,
    login_with_password,
    public_config,
    token_of,
)
from mograder.clients.moodle.records import PublicConfig
from mograder.clients.server_url import refuse_password
from mograder.core.errors import RemoteFailed
from mograder.core.settings import LoadedSettings
from mograder.web.browser import open_page


@click.command("login")
@click.option("--url", help="Moodle URL.  [env var: MOGRADER_MOODLE_URL; default: [moodle] url]")
@click.option("--sso", is_flag=True, help="Sign in with the browser (single sign-on).")
@click.option("--token", help="Use a token that you have, instead of signing in.")
@click.option("--username", help="Moodle user name.  [default: it is asked for]")
@click.option("--insecure", is_flag=True, help="Send the password even if the URL is plain http.")
@course_option
def login(
    *,
    url: str | None,
    sso: bool,
    token: str | None,
    username: str | None,
    insecure: bool,
    loaded: LoadedSettings,
) -> None:
    """Sign in to a Moodle.

    Its token is kept for the other commands. The password is asked for and goes to Moodle only.
    Where your university's own page asks for it, use --sso: sign in there with the browser, then
    paste the link that it ends in.
    """
    address = moodle_url(url, loaded)
    got = (token or "").strip() or _sign_in(address, username, sso=sso, insecure=insecure)
    with MoodleClient(address, got) as client:
        site = client.site()
        token_store().save(client.url, got, site.username, site.full_name)
    click.echo(plain(f"Signed in to {site.name or address} as {site.full_name}."))


def _sign_in(address: str, username: str | None, *, sso: bool, insecure: bool) -> str:
    if not sso:
        remedy = "Or give --insecure, if you trust every machine in between."
        refuse_password(address, insecure=insecure, remedy=remedy)
    config = public_config(address)
    _demand_open(config)
    if sso:
        return _with_browser(config)
    if config.browser_login and not username:
        click.echo(f"{config.name} signs people in with the browser.")
        return _with_browser(config)
    name = username or click.prompt("Moodle user name", type=str)
    return login_with_password(address, name, _password(), insecure=insecure)


def _password() -> str:
    """Prompt for the password without echo; in a script, read it as a line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, type=str))
    return sys.stdin.readline().rstrip("\r\n")


def _demand_open(config: PublicConfig) -> None:
    """Report early what would otherwise fail after the password was typed."""
    if config.maintenance:
        raise RemoteFailed(
            f"{config.name} is down for maintenance. {config.message}".strip(),
            hint="Try again later.",
        )
    if not config.web_services:
        raise RemoteFailed(
            f"Web services are switched off on {config.name}.",
            hint="Show your Moodle administrator our page “Moodle for administrators”. Without "
            "them, `mograder moodle export` makes files to upload by hand.",
        )


def _with_browser(config: PublicConfig) -> str:
    started = launch(config)
    click.echo("Open this address and sign in:")
    click.echo(f"  {started.url}")
    open_page(started.url)
    click.echo(
        "At the end the browser tries to open a link that begins with moodlemobile://token= .\n"
        "Copy that whole link, from the address bar or from the page's button (right click)."
    )
    return token_of(click.prompt("Link", type=str), started)
