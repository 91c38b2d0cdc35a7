"""The Moodle of a command: its address, a token and the course, and the sign-in that gets a token.

See compatibility-0.3.16.md 1.

URL: --url, MOGRADER_MOODLE_URL, [moodle] url. Token: --token, MOGRADER_MOODLE_TOKEN, the one that
``mograder moodle login`` kept for that address, by password, by an existing token, or with the
browser.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option, first, gathered
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.login import (
    launch,
    login_with_password,
    public_config,
    token_of,
)
from mograder.clients.moodle.records import Assignment, PublicConfig
from mograder.clients.server_url import is_insecure, parse_moodle_url, refuse_password
from mograder.clients.token_store import MOODLE, TokenStore
from mograder.core.errors import NotAuthenticated, RemoteFailed
from mograder.core.settings import LoadedSettings, read_environ
from mograder.exchange.assignment_lookup import choose_assignment, local_name, only_course
from mograder.web.open_browser import open_page

_NO_URL = "No Moodle URL configured. Provide --url or set [moodle] url in mograder.toml"


@dataclass(frozen=True, slots=True)
class Site:
    """The options of the command line; the settings supply those that are not given."""

    loaded: LoadedSettings
    course_id: int | None = None
    url: str | None = None
    token: str | None = None

    @contextmanager
    def client(self) -> Iterator[MoodleClient]:
        url = _moodle_url(self.url, self.loaded)
        _warn_unencrypted(url)
        with MoodleClient(url, self._token(url)) as client:
            yield client

    def course(self, client: MoodleClient) -> int:
        """Return the course's number: the option, else the setting, else the only course."""
        told = self.course_id or self.loaded.settings.moodle.course_id
        return told or only_course(client.courses())

    def assignment(self, client: MoodleClient, named: str) -> Assignment:
        there = client.assignments(self.course(client))
        configured = self.loaded.settings.assignments
        return choose_assignment(named, there, configured, items_of(self.loaded))

    def _token(self, url: str) -> str:
        told = first(self.token, read_environ().moodle_token)
        kept = None if told else token_store().find(url)
        if not told and kept is None:
            raise NotAuthenticated(
                f"You are not signed in to {url}.", hint=f"Run `mograder moodle login --url {url}`."
            )
        return kept.token if kept else told


def _moodle_url(told: str | None, loaded: LoadedSettings) -> str:
    text = first(told, loaded.settings.moodle.url)
    if not text:
        raise click.UsageError(_NO_URL)
    return parse_moodle_url(text)


def _warn_unencrypted(url: str) -> None:
    if is_insecure(url):
        click.echo(
            f"Warning: {url} is not encrypted: anyone on the way could read your token.", err=True
        )


def token_store() -> TokenStore:
    return TokenStore(read_environ().home, MOODLE)


def items_of(loaded: LoadedSettings) -> list[str]:
    dirs = loaded.settings.dirs
    found: set[str] = set()
    for base in (loaded.path(dirs.source), loaded.path(dirs.release)):
        if base.is_dir():
            found |= {path.name for path in base.iterdir() if path.is_dir()}
    return sorted(name for name in found if not name.startswith("."))


def item_name(named: str, loaded: LoadedSettings, chosen: Assignment | None = None) -> str:
    """Return an assignment's name here, in submitted/, feedback/ and the gradebook."""
    return local_name(named, loaded.settings.assignments, items_of(loaded), chosen)


def feedback_dir_of(loaded: LoadedSettings, *names: str) -> Path:
    """Return an assignment's feedback directory: by its name here, or by another of ``names``."""
    base = loaded.path(loaded.settings.dirs.feedback)
    places = [base / name for name in names]
    return next((place for place in places if place.is_dir()), places[-1])


site_options = gathered(
    "site",
    Site,
    click.option(
        "-c",
        "--course-id",
        type=click.IntRange(min=1),
        help="Moodle course ID.  [default: [moodle] course_id, or your only course]",
    ),
    click.option(
        "--url", help="Moodle URL.  [env var: MOGRADER_MOODLE_URL; default: [moodle] url]"
    ),
    click.option(
        "--token",
        help="Moodle token.  [env var: MOGRADER_MOODLE_TOKEN; default: as `login` kept it]",
    ),
    course_option,
)
"""Adds ``--course-id --url --token -C``; the command receives them as ``site``."""


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
    address, got = _moodle_url(url, loaded), (token or "").strip()
    if not (got or sso):
        remedy = "Or give --insecure, if you trust every machine in between."
        refuse_password(address, insecure=insecure, remedy=remedy)
    _warn_unencrypted(address)
    got = got or _sign_in(address, username, sso=sso, insecure=insecure)
    with MoodleClient(address, got) as client:
        site = client.site()
        token_store().save(client.url, got, site.username, site.full_name)
    click.echo(plain(f"Signed in to {site.name or address} as {site.full_name}."))


def _sign_in(address: str, username: str | None, *, sso: bool, insecure: bool) -> str:
    config = public_config(address)
    _demand_open(config)
    if sso:
        return _with_browser(config)
    if config.browser_login and not username:
        click.echo(f"{config.name} signs people in with the browser.")
        return _with_browser(config)
    name = username or _asked("Moodle user name", "--username")
    if sys.stdin.isatty():
        password = str(click.prompt("Password", hide_input=True, type=str))
    else:  # a script's
        password = sys.stdin.readline().rstrip("\r\n")
    return login_with_password(address, name, password, insecure=insecure)


def _asked(prompt: str, option: str) -> str:
    """Prompt for a line of standard input; name the option that a script without one can give."""
    try:
        return str(click.prompt(prompt, type=str))
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        raise click.UsageError(f"Missing option '{option}'.") from error


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
    return token_of(_asked("Link", "--token"), started)
