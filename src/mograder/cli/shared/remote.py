"""The hub of a command: its address, or a tunnel to it, and a token (B97, B98)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from mograder.cli.shared.course_settings import first, gathered
from mograder.cli.shared.options import insecure_option
from mograder.clients.hub import HubClient
from mograder.core.settings import read_environ


@dataclass(frozen=True, slots=True)
class Address:
    """The options of the command line; the environment supplies those that are not given."""

    url: str | None
    token: str | None
    ssh: str | None
    ssh_port: int
    insecure: bool

    @property
    def given(self) -> bool:
        return bool(self.url or self.ssh)

    @property
    def known(self) -> bool:
        environ = read_environ()
        return bool(first(self.url, self.ssh, environ.hub_ssh, environ.hub_url))

    @property
    def complete(self) -> bool:
        return self.known and bool(self._token())

    @contextmanager
    def client(self) -> Iterator[HubClient]:
        """Yield a connection, through an SSH tunnel if one is requested.

        ``--url`` wins over a host in the environment, ``--ssh`` over a URL there. Errors are in the
        words of compatibility-0.3.16.md 10.
        """
        environ = read_environ()
        token = self._token()
        missing = [] if token else ["--token required (or set MOGRADER_HUB_INSTRUCTOR_TOKEN)"]
        if not self.known:
            missing.append("--url or --ssh required (or set MOGRADER_HUB_URL)")
        if missing:
            raise click.ClickException("\n".join(missing))
        host = first(self.ssh, "" if self.url else environ.hub_ssh)
        if host:
            # Imported here, since only some commands start processes.
            from mograder.processes.ssh_tunnel import ssh_tunnel  # noqa: PLC0415

            with (
                ssh_tunnel(host, port=self.ssh_port, options=environ.hub_ssh_options) as url,
                HubClient(url, token) as client,
            ):
                yield client
            return
        url = first(self.url, environ.hub_url)
        with HubClient(url, token, insecure=self.insecure) as client:
            yield client

    def _token(self) -> str:
        return first(self.token, read_environ().hub_instructor_token)


hub_address_options = gathered(
    "address",
    Address,
    click.option("--url", help="Hub base URL.  [env var: MOGRADER_HUB_URL]"),
    click.option("--token", help="Instructor token.  [env var: MOGRADER_HUB_INSTRUCTOR_TOKEN]"),
    click.option(
        "--ssh",
        metavar="HOST",
        help="Reach the hub by an SSH tunnel to this host.  [env var: MOGRADER_HUB_SSH]",
    ),
    click.option(
        "--ssh-port",
        type=click.IntRange(1, 65535),
        default=8080,
        show_default=True,
        help="The hub's port on the SSH host.",
    ),
    insecure_option,
)
"""Adds ``--url --token --ssh --ssh-port --insecure``, passed to the command as ``address``."""
