"""The options of the commands of `mograder node`, which take precedence over the variables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
from pydantic import SecretStr

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.settings import Environ, read_environ
from mograder.sandbox.nodes.node_identity import NodeIdentity

_LARGEST_TOKEN = 16_384


state_option = click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the node's identity, environments and logs, on a local disk.  "
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


name_option = click.option(
    "--name",
    default="",
    help="The name by which the hub knows this node.  [env var: MOGRADER_NODE_NAME; default: "
    "the machine's name]",
)


def node_environ_of(
    *, state: Path | None = None, shares: tuple[Path, ...] = (), name: str = ""
) -> Environ:
    """Return the variables of this process, with the options that are given."""
    environ = read_environ()
    node = environ.node
    node = replace(
        node, state=state or node.state, shares=shares or node.shares, name=name or node.name
    )
    return replace(environ, node=node)


def token_of(environ: Environ, file: Path | None = None) -> SecretStr | None:
    """Return the join token in a file ("-": standard input), or else of the variables.

    Raises: :class:`InvalidInput` if the file cannot be read.
    """
    if file is None:
        return environ.node.token
    try:
        with click.open_file(str(file), encoding="utf-8") as stream:
            return SecretStr(stream.read(_LARGEST_TOKEN))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The join token cannot be read from {file}.") from error


def identity_of(path: Path) -> NodeIdentity | None:
    """Return the identity of this machine, or None if it has not joined.

    Raises: :class:`InvalidInput` for one that is damaged.
    """
    try:
        return NodeIdentity.load(path)
    except NotFound:
        return None
