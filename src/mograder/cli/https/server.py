"""The assignment server of a command: its address, and the user's token (B152, B155).

Without an address it is the one that the user signed in to, if there is only one: the commands of
B149 to B151 name none after `login`. An address that could not be reached at the sign-in, such as a
mistyped one, does not count beside one that could. The token is looked up by the address in use.
0.3.16 used the configured server's token whatever ``--url`` said, so that `login --url X` was of no
use to `fetch --url X`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from mograder.cli.shared.course_settings import course_option, first, gathered
from mograder.cli.shared.options import insecure_option
from mograder.cli.shared.output import Transfers, transferring
from mograder.cli.shared.result import tell
from mograder.clients.assignment_server.client import HttpsTransport
from mograder.clients.assignment_server.protocol import SIGN_IN
from mograder.clients.course_server import RemoteAssignment
from mograder.clients.token_store import HTTPS, TokenStore, server_key
from mograder.core.errors import RemoteFailed
from mograder.core.name_lookup import listed
from mograder.core.settings import LoadedSettings, Origin, load_settings, read_environ
from mograder.exchange.assignment_lookup import choose_remote

_FORGET = "`mograder https login --forget --url ADDRESS` removes a token that is kept."
_NO_URL = "No HTTPS URL configured. Provide --url or set [https] url in mograder.toml"


@dataclass(frozen=True, slots=True)
class Server:
    """The options of the command line, which override the course's settings."""

    loaded: LoadedSettings
    given_url: str | None
    given_token: str | None
    insecure: bool

    @property
    def named_url(self) -> str:
        return first(self.given_url, self.loaded.settings.https.url).rstrip("/")

    @property
    def url(self) -> str:
        """The named address, else that of the only server signed in to; raises click.UsageError."""
        return self._chosen()[0]

    @property
    def new_url(self) -> str:
        """The named address, for a sign-in: a token or a code goes to no server by guess."""
        if not self.named_url:
            raise click.UsageError(_NO_URL)
        return self.named_url

    @property
    def told_token(self) -> str:
        of_environment = self.loaded.origins["https.token"] is Origin.ENVIRONMENT
        return first(self.given_token, self.loaded.settings.https.token if of_environment else "")

    @property
    def tokens(self) -> TokenStore:
        return TokenStore(read_environ().home, HTTPS)

    def _chosen(self) -> tuple[str, list[str]]:
        """Return :attr:`url`, and the servers signed in to that do not count beside it."""
        if self.named_url:
            return self.named_url, []
        kept = self.tokens.servers()
        tried = [each.url for each in kept if not each.untried]
        untried = [each.url for each in kept if each.untried]
        known = tried or untried
        if len(known) == 1:
            return known[0], untried if tried else []
        several = f"You have signed in to {listed(known)}.\n{_FORGET}" if known else SIGN_IN
        raise click.UsageError(f"{_NO_URL}\n{several}")

    @contextmanager
    def connected(self) -> Iterator[tuple[HttpsTransport, Transfers]]:
        url, left_out = self._chosen()
        if left_out:
            away = f"{listed(left_out)} could not be reached when you signed in"
            tell(f"The server is {url}: {away}. {_FORGET}", err=True)
        token = self.told_token
        if not token:
            cached = self.tokens.find(url)
            token = first(cached.token if cached else "", token_in_file(self.loaded, url))
        with (
            transferring() as transfers,
            HttpsTransport(url, token, insecure=self.insecure, meter=transfers.meter) as transport,
        ):
            yield transport, transfers


server_options = gathered(
    "server",
    Server,
    click.option(
        "--url",
        "given_url",
        help="Server base URL.  [env var: MOGRADER_HTTPS_URL; default: [https] url, else the only "
        "server you have signed in to]",
    ),
    click.option(
        "--token",
        "given_token",
        help="Your token.  [env var: MOGRADER_HTTPS_TOKEN; default: as `login` kept it]",
    ),
    insecure_option,
    course_option,
)
"""Adds ``--url --token --insecure -C``; the command receives them as ``server``."""


def token_in_file(loaded: LoadedSettings, url: str) -> str:
    """Return the token in ``mograder.toml``, which is for the server named there; "" for another.

    The file is read alone, since the environment may have named another server in ``loaded``.
    """
    if loaded.origins["https.token"] is not Origin.FILE:
        return ""
    https = load_settings(loaded.course_dir, environ={}).settings.https
    its_own = not https.url or server_key(https.url) == server_key(url)
    return https.token.get_secret_value() if its_own else ""


def offered_assignment(
    transport: HttpsTransport, name: str, *, dry_run: bool = False
) -> RemoteAssignment:
    """Return the assignment that a name means on the server.

    A dry run takes the name as it is, without a key, if the server cannot be reached.
    """
    try:
        return choose_remote(name, transport.list_assignments())
    except RemoteFailed:
        if not dry_run:
            raise
        click.echo("The server cannot be reached, so the name was not looked up.", err=True)
        return RemoteAssignment("", name)
