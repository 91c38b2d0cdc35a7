"""``mograder node join``: make this machine a node of a hub."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from pydantic import SecretStr

from mograder.auth.node_tokens import NodeToken
from mograder.cli.node.options import identity_of, name_option, node_environ_of, state_option
from mograder.cli.node.options import token_of as read_token
from mograder.core.errors import Conflict, InvalidInput
from mograder.sandbox.nodes.joining import join
from mograder.sandbox.nodes.node_config import node_config
from mograder.sandbox.nodes.node_identity import NodeIdentity


@click.command("join")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="A file with the join token; - is standard input.  [env var of the token itself: "
    "MOGRADER_NODE_TOKEN]",
)
@name_option
@state_option
@click.option("--again", is_flag=True, help="Join although this machine has joined a hub already.")
def join_command(token_file: Path | None, name: str, state: Path | None, again: bool) -> None:
    """Make this machine a node of a hub, by a token of `mograder hub node-token`.

    The token is asked for if neither --token-file nor MOGRADER_NODE_TOKEN gives it.
    """
    environ = node_environ_of(state=state, name=name)
    config = node_config(environ)
    token = read_token(environ, token_file)
    if token is None:
        token = SecretStr(click.prompt("Join token", hide_input=True))
    if not again and (known := identity_of(config.identity)) is not None:
        raise Conflict(
            f"This machine has joined already, as {known.name}.", hint="Join anew with --again."
        )
    identity = join_and_save(config.identity, token, environ.node.name)
    click.echo(f"This machine is the node {identity.name} of {', '.join(identity.hubs)}.")


def join_and_save(path: Path, token: SecretStr, name: str) -> NodeIdentity:
    """Join by a token and write the identity.

    Raises: :class:`InvalidInput` if it cannot be written, and as
    :func:`~mograder.sandbox.nodes.joining.join`.
    """
    parsed = NodeToken.parse(token.get_secret_value())
    try:
        # Before the token is used, which may be good for one time only.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        identity = asyncio.run(join(parsed, name))
        identity.save(path)
    except OSError as error:
        raise InvalidInput(
            f"The node's identity {path} cannot be written: {error.strerror}.",
            hint="Name a directory of this user with --state.",
        ) from error
    return identity
