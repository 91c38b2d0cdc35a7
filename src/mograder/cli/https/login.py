"""``mograder https login`` and ``register``: get a token, and keep it for later commands."""

from __future__ import annotations

import sys

import click

from mograder.cli.https.server import Server, server_options
from mograder.cli.shared.result import Result, json_option, tell
from mograder.clients.assignment_server.answers import Identity
from mograder.clients.assignment_server.client import HttpsTransport, register
from mograder.clients.http import RetryPolicy
from mograder.clients.token_store import user_of
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.settings import read_environ


@click.command("login")
@json_option
@server_options
def login(*, server: Server) -> Result:
    """Keep a token for a server.

    Later commands for the same address find it. The file is readable by you alone. A token that
    the server refuses is not kept; a server that cannot be reached now is no obstacle.
    """
    if not (server.given_token or "").strip():
        raise click.UsageError("Missing option '--token'.")
    token = server.token
    user = user_of(token)
    if not user:
        raise InvalidInput(
            "That is no token: it has the form NAME:HEX.",
            hint="Copy the whole line you were given.",
        )
    checked = _check(server, token)
    identity = checked or Identity(user=user)
    server.tokens.save(server.url, token, identity.user)
    told = {
        "url": server.url,
        "user": identity.user,
        "role": identity.role or None,
        "checked": checked is not None,
        "cache": str(server.tokens.path),
    }
    if checked is None:
        tell("The server cannot be reached now, so the token was not tried.", err=True)
    return Result(told, [f"Token cached for {server.url} (user: {identity.user})"])


@click.command("register")
@click.argument("username")
@click.option(
    "--enrollment-code",
    metavar="CODE",
    help="The course's code.  [env var: MOGRADER_ENROLLMENT_CODE; default: ask for it]",
)
@json_option
@server_options
def register_command(*, server: Server, username: str, enrollment_code: str | None) -> Result:
    """Join a course with its enrollment code.

    The server gives you a personal token, which is kept for later commands. A name is given out
    once: whoever has lost a token asks the instructor.
    """
    url = server.url
    code = enrollment_code or _code()
    cached = server.tokens.find(url)
    known = cached.token if cached and cached.user == username else ""
    given = register(url, username, code, token=known, insecure=server.insecure)
    server.tokens.save(url, given.token, given.user)
    told = {"url": url, "user": given.user, "cache": str(server.tokens.path)}
    line = f"Registered as {given.user}. Token cached for {url} (user: {given.user})"
    return Result(told, [line])


def _code() -> str:
    """Return the code from the environment, else from a prompt."""
    given = read_environ().enrollment_code
    if given is not None:
        return given.get_secret_value().strip()
    if not sys.stdin.isatty():
        raise click.UsageError("Missing option '--enrollment-code'.")
    return str(click.prompt("Enrollment code", hide_input=True, err=True))


def _check(server: Server, token: str) -> Identity | None:
    """Ask the server for the token's identity; None if the server cannot be reached."""
    once = RetryPolicy(tries=1)
    with HttpsTransport(server.url, token, insecure=server.insecure, retry=once) as transport:
        try:
            return transport.who_am_i()
        except RemoteFailed:
            return None
