"""The Moodle that a command speaks to: its address, a token and the course.

See compatibility-0.3.16.md 1.

URL: --url, MOGRADER_MOODLE_URL, [moodle] url. Token: --token, MOGRADER_MOODLE_TOKEN, the one that
`mograder moodle login` kept for that address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

import click

from mograder.clients.moodle.address import is_insecure, parse_moodle_url
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Assignment
from mograder.clients.token_store import MOODLE, TokenStore
from mograder.core.errors import NotAuthenticated
from mograder.core.settings import LoadedSettings, read_environ
from mograder.exchange.assignment_lookup import choose_assignment, choose_course, local_name

_NO_URL = "No Moodle URL configured. Provide --url or set [moodle] url in mograder.toml"


@dataclass(frozen=True, slots=True)
class Site:
    """What stood on the command line; what did not comes from the settings."""

    url: str | None
    token: str | None
    course_id: int | None

    @contextmanager
    def client(self, loaded: LoadedSettings) -> Iterator[MoodleClient]:
        """Yield a connection as the owner of the token.

        Raises:
            click.UsageError: No address is known.
            MograderError: Nobody is signed in there, or the address is none.
        """
        url = moodle_url(self.url, loaded)
        with MoodleClient(url, self._token(url)) as client:
            yield client

    def course(self, client: MoodleClient, loaded: LoadedSettings) -> int:
        """Return the course's number: as told, as configured, else the only one there is."""
        told = self.course_id or loaded.settings.moodle.course_id
        return told or choose_course(client.courses(), 0)

    def assignment(self, client: MoodleClient, loaded: LoadedSettings, named: str) -> Assignment:
        """Return the assignment that an argument means.

        Raises:
            MograderError: None or several match.
        """
        there = client.assignments(self.course(client, loaded))
        return choose_assignment(named, there, loaded.settings.assignments, items_of(loaded))

    def _token(self, url: str) -> str:
        secret = read_environ().moodle_token
        told = self.token or (secret.get_secret_value() if secret else "")
        if told.strip():
            return told.strip()
        kept = token_store().find(url)
        if kept is None:
            raise NotAuthenticated(
                f"You are not signed in to {url}.", hint=f"Run `mograder moodle login --url {url}`."
            )
        return kept.token


def moodle_url(told: str | None, loaded: LoadedSettings) -> str:
    """Return the site's address and warn where it is not encrypted.

    Raises:
        click.UsageError: None is known.
        InvalidInput: It is no address.
    """
    text = told or loaded.settings.moodle.url
    if not text.strip():
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
    """Name the items that this course has, which Moodle's names are matched with."""
    dirs = loaded.settings.dirs
    found: set[str] = set()
    for base in (loaded.path(dirs.source), loaded.path(dirs.release)):
        if base.is_dir():
            found |= {path.name for path in base.iterdir() if path.is_dir()}
    return sorted(name for name in found if not name.startswith("."))


def item_name(named: str, loaded: LoadedSettings, chosen: Assignment | None = None) -> str:
    """Return what an assignment is called here, in submitted/, feedback/ and the gradebook."""
    return local_name(named, loaded.settings.assignments, items_of(loaded), chosen)


def feedback_dir_of(loaded: LoadedSettings, *names: str) -> Path:
    """Return where an assignment's feedback is: under its name here, or another of ``names``."""
    base = loaded.path(loaded.settings.dirs.feedback)
    places = [base / name for name in names]
    return next((place for place in places if place.is_dir()), places[-1])


def site_options(command: Callable[..., object]) -> Callable[..., object]:
    """Add ``--course-id --url --token``; the command gets them as ``site``."""
    course = click.option(
        "-c",
        "--course-id",
        type=click.IntRange(min=1),
        help="Moodle course ID.  [default: [moodle] course_id, or your only course]",
    )
    url = click.option(
        "--url", help="Moodle URL.  [env var: MOGRADER_MOODLE_URL; default: [moodle] url]"
    )
    token = click.option(
        "--token",
        help="Moodle token.  [env var: MOGRADER_MOODLE_TOKEN; default: as `login` kept it]",
    )

    @wraps(command)
    def with_site(
        *args: object,
        course_id: int | None,
        url: str | None,
        token: str | None,
        **others: object,
    ) -> object:
        return command(*args, site=Site(url, token, course_id), **others)

    return course(url(token(with_site)))
