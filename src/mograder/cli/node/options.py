"""The options of the commands of `mograder node`, which take precedence over the variables."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import click
from pydantic import SecretStr

from mograder.auth.node_tokens import NodeToken
from mograder.cli.shared.options import DIRECTORY
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.settings import Environ, read_environ
from mograder.sandbox.nodes.node_dialer import Hub

_LARGEST_TOKEN = 65_536


state_option = click.option(
    "--state",
    type=DIRECTORY,
    help="Directory of the node's environments, on a local disk.  "
    "[env var: MOGRADER_NODE_STATE; default: ~/.local/state/mograder-node]",
)


share_option = click.option(
    "--share",
    "shares",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A directory that is mounted here at the same path as on the hubs. Give it several "
    "times for several.  [env var: MOGRADER_NODE_SHARE, separated by colons]",
)


hub_option = click.option(
    "--hub",
    default="",
    help="The hub's address, as browsers use it: https://hub.example.edu.  "
    "[env var: MOGRADER_NODE_HUB]",
)


token_option = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="A file with the node's token, or with those of several machines; - is standard input.  "
    "[env var of the token itself: MOGRADER_NODE_TOKEN]",
)


name_option = click.option(
    "--name",
    default="",
    help="Which token of a file with several is this machine's.  [env var: MOGRADER_NODE_NAME; "
    "default: the machine's name]",
)


def node_environ_of(
    *,
    state: Path | None = None,
    shares: tuple[Path, ...] = (),
    name: str = "",
    hub: str = "",
    token_file: Path | None = None,
) -> Environ:
    """Return the variables of this process, with the options that are given.

    Raises: :class:`InvalidInput` for a token file that cannot be read, or that others can.
    """
    environ = read_environ()
    node = environ.node
    node = replace(
        node,
        state=state or node.state,
        shares=shares or node.shares,
        name=name or node.name,
        hub=hub or node.hub,
        token=node.token if token_file is None else _read_token(token_file),
    )
    return replace(environ, node=node)


def hub_of(environ: Environ) -> Hub:
    """Return the hub's address. Raises: :class:`InvalidInput` for a bad one, or without one."""
    if not environ.node.hub:
        raise InvalidInput(
            "It is not known which hub this node is for.",
            hint="Name its address with --hub or MOGRADER_NODE_HUB, for example "
            "https://hub.example.edu.",
        )
    return Hub.parse(environ.node.hub)


def token_of(environ: Environ) -> NodeToken:
    """Return this node's token. Raises: :class:`NotFound`, :class:`InvalidInput`."""
    if environ.node.token is None:
        raise NotFound(
            "This machine has no token of a node.",
            hint="Make one on the hub's machine with mograder hub node-token, and give it with "
            "--token-file or MOGRADER_NODE_TOKEN.",
        )
    return NodeToken.find(environ.node.token.get_secret_value(), environ.node.name)


def _read_token(file: Path) -> SecretStr:
    if str(file) == "-":
        return SecretStr(sys.stdin.read(_LARGEST_TOKEN))
    try:
        with file.open(encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_mode & stat.S_IROTH:
                raise InvalidInput(
                    f"Every user of this machine can read the node's token in {file}.",
                    hint=f"chmod 600 {file}",
                )
            return SecretStr(stream.read(_LARGEST_TOKEN))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The node's token cannot be read from {file}.") from error
