"""The Moodle of a command: its address, a token and the course.

See compatibility-0.3.16.md 1.

URL: --url, MOGRADER_MOODLE_URL, [moodle] url. Token: --token, MOGRADER_MOODLE_TOKEN, the one that
`mograder moodle login` kept for that address.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from mograder.cli.shared.course_settings import course_option, first, gathered
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Assignment
from mograder.clients.server_url import is_insecure, parse_moodle_url
from mograder.clients.token_store import MOODLE, TokenStore
from mograder.core.errors import NotAuthenticated
from mograder.core.settings import LoadedSettings, read_environ
from mograder.exchange.assignment_lookup import choose_assignment, local_name, only_course

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
        """Yield a connection as the owner of the token.

        Raises:
            click.UsageError: No address is known.
            MograderError: There is no token for it, or the address is not valid.
        """
        url = moodle_url(self.url, self.loaded)
        with MoodleClient(url, self._token(url)) as client:
            yield client

    def course(self, client: MoodleClient) -> int:
        """Return the course's number: the option, else the setting, else the only course."""
        told = self.course_id or self.loaded.settings.moodle.course_id
        return told or only_course(client.courses())

    def assignment(self, client: MoodleClient, named: str) -> Assignment:
        """Return the assignment that an argument means.

        Raises:
            MograderError: No assignment or several match.
        """
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


def moodle_url(told: str | None, loaded: LoadedSettings) -> str:
    """Return the site's address and warn if it is not encrypted.

    Raises:
        click.UsageError: No address is known.
        InvalidInput: The address is not valid.
    """
    text = first(told, loaded.settings.moodle.url)
    if not text:
        raise click.UsageError(_NO_URL)
    url = parse_moodle_url(text)
    if is_insecure(url):
        click.echo(
            f"Warning: {url} is not encrypted: anyone on the way could read your token.", err=True
        )
    return url


def token_store() -> TokenStore:
    """Return the Moodle tokens in this person's home directory."""
    return TokenStore(read_environ().home, MOODLE)


def items_of(loaded: LoadedSettings) -> list[str]:
    """Return the names of the course's items, to match with the names on Moodle."""
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
