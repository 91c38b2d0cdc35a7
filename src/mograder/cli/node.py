"""``mograder node``: run, drain and check a machine that runs sessions for a hub on another one.

Their options take precedence over the variables.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

import click
from pydantic import SecretStr

from mograder.auth.node_tokens import NodeToken
from mograder.cli.shared.options import DIRECTORY, FILE_OR_INPUT, PATH
from mograder.cli.shared.result import Result, checked, json_option
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import configure_logging
from mograder.core.settings import Environ, read_environ
from mograder.operations.share_checks import refuse_squashed_root
from mograder.sandbox.nodes.node_config import NodeConfig, held, node_config, send
from mograder.sandbox.nodes.node_dialer import Hub
from mograder.sandbox.nodes.node_supervisor import serve_node

_log = logging.getLogger("mograder.node")
_LARGEST_TOKEN = 65_536

_state_option = click.option(
    "--state",
    type=DIRECTORY,
    help="Directory of the node's environments, on a local disk.  "
    "[env var: MOGRADER_NODE_STATE; default: ~/.local/state/mograder-node]",
)


_share_option = click.option(
    "--share",
    "shares",
    multiple=True,
    type=PATH,
    help="A directory that is mounted here at the same path as on the hubs. Give it several "
    "times for several.  [env var: MOGRADER_NODE_SHARE, separated by colons]",
)


_hub_option = click.option(
    "--hub",
    default="",
    help="The hub's address, as browsers use it: https://hub.example.edu.  "
    "[env var: MOGRADER_NODE_HUB]",
)


_token_option = click.option(
    "--token-file",
    type=FILE_OR_INPUT,
    help="A file with the node's token, or with those of several machines; - is standard input.  "
    "[env var of the token itself: MOGRADER_NODE_TOKEN]",
)


_name_option = click.option(
    "--name",
    default="",
    help="Which token of a file with several is this machine's.  [env var: MOGRADER_NODE_NAME; "
    "default: the machine's name]",
)


@click.command("run")
@_hub_option
@_token_option
@_share_option
@_state_option
@_name_option
@click.option(
    "--memory-mb",
    type=click.IntRange(min=1),
    help="Memory for all sessions together.  [env var: MOGRADER_NODE_MEMORY_MB; default: nine "
    "tenths of the machine's]",
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0, max=86_400),
    help="Time between the signal to end and the end of the last session.  [env var: "
    "MOGRADER_NODE_DRAIN_SECONDS; default: 20]",
)
def run(
    hub: str,
    token_file: Path | None,
    shares: tuple[Path, ...],
    state: Path | None,
    name: str,
    memory_mb: int | None,
    drain_seconds: float | None,
) -> None:
    """Run sessions for a hub on another machine, until it is stopped.

    Its token is that of `mograder hub node-token`.

    SIGTERM drains the node: no new sessions start, and those that are left are ended one after the
    other in the second half of --drain-seconds; a second SIGTERM ends them at once. SIGUSR1 drains
    it until the last session has ended by itself, and SIGUSR2 takes that back.
    """
    environ = _environ_of(state=state, shares=shares, name=name, hub=hub, token_file=token_file)
    node = environ.node
    node = replace(
        node,
        memory_mb=node.memory_mb if memory_mb is None else memory_mb,
        drain_seconds=node.drain_seconds if drain_seconds is None else drain_seconds,
    )
    environ = replace(environ, node=node)
    configure_logging(journal=environ.service.journal)
    config = node_config(environ)
    _demand_shares(config)
    if not environ.node.hub:
        raise InvalidInput(
            "It is not known which hub this node is for.",
            hint="Name its address with --hub or MOGRADER_NODE_HUB, for example "
            "https://hub.example.edu.",
        )
    address, token = Hub.parse(environ.node.hub), _token_of(environ)
    try:
        config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(
            f"The node's directory {config.state} cannot be made: {error.strerror}.",
            hint="Name a directory of this user with --state.",
        ) from error
    _log.info("this machine is the node %s", token.name)
    with held(config.state):
        serve_node(config, address, token.secret, environ.service)


@click.command("drain")
@click.option("--cancel", is_flag=True, help="Take new sessions again.")
@_state_option
def drain(cancel: bool, state: Path | None) -> None:
    """Start no new sessions on this machine's node, which ends with its last one.

    To drain it without ending it, use `mograder hub nodes drain` on the hub.
    """
    config = node_config(_environ_of(state=state))
    send(config.state, signal.SIGUSR2 if cancel else signal.SIGUSR1)
    done = "takes new sessions again" if cancel else "takes no new sessions, and ends with the last"
    click.echo(f"The node {done}.")


@click.command("check")
@_hub_option
@_token_option
@_name_option
@_share_option
@_state_option
@json_option
def check(
    hub: str, token_file: Path | None, name: str, shares: tuple[Path, ...], state: Path | None
) -> Result:
    """Check that this machine can run sessions for a hub.

    Run it as the node's user, in the node's container if it runs in one. It starts a session in a
    sandbox, cold and warm, writes a file on each share, and asks the hub whether it accepts this
    machine's token. It ends with 1 if there is a problem.
    """
    # Imported here: a node that runs needs none of it.
    from mograder.operations.preflight import examine_node  # noqa: PLC0415

    environ = _environ_of(state=state, shares=shares, name=name, hub=hub, token_file=token_file)
    return checked("Node", asyncio.run(examine_node(environ)))


def _environ_of(
    *,
    state: Path | None = None,
    shares: tuple[Path, ...] = (),
    name: str = "",
    hub: str = "",
    token_file: Path | None = None,
) -> Environ:
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


def _token_of(environ: Environ) -> NodeToken:
    if environ.node.token is None:
        raise NotFound(
            "This machine has no token of a node.",
            hint="Make one on the hub's machine with mograder hub node-token, and give it with "
            "--token-file or MOGRADER_NODE_TOKEN.",
        )
    return NodeToken.find(environ.node.token.get_secret_value(), environ.node.name)


def _read_token(file: Path) -> SecretStr:
    try:
        if str(file) == "-":
            return SecretStr(sys.stdin.read(_LARGEST_TOKEN))
        with file.open(encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_mode & stat.S_IROTH:
                raise InvalidInput(
                    f"Every user of this machine can read the node's token in {file}.",
                    hint=f"chmod 600 {file}",
                )
            return SecretStr(stream.read(_LARGEST_TOKEN))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The node's token cannot be read from {file}.") from error


def _demand_shares(config: NodeConfig) -> None:
    if not config.shares:
        raise InvalidInput(
            "A node needs the directories that it has in common with the hub.",
            hint="Name them with --share, for example --share /srv/mograder/share.",
        )
    for share in config.shares:
        if share == Path(os.sep) or not share.is_dir():
            raise InvalidInput(
                f"The share {share} is not a directory that can be used.",
                hint="Mount it here at the same path as on the hub's machine.",
            )
    refuse_squashed_root(*config.shares)
