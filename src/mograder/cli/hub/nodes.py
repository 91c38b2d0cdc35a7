"""``mograder hub nodes`` and ``node-token``: the machines of a hub, by the hub's database.

A change is written to the database; the hub that a node is connected to acts on it within seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from mograder.auth.node_tokens import NodeToken
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.hub_database import current_hub_state, record_here
from mograder.cli.shared.result import Result, aligned, json_option
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.settings import LoadedSettings
from mograder.operations.machines import Machine, MachineState, NodesView
from mograder.store.hub.nodes import NodeRow, Nodes

_GIGABYTE = 10**9


@click.group(invoke_without_command=True)
@course_option
@json_option
@click.pass_context
def nodes(ctx: click.Context, loaded: LoadedSettings) -> Result | None:
    """List the machines that run this hub's notebooks, and drain or remove one.

    Run it on the hub's machine, as the hub's user. Memory, load and sessions are as the node told
    them some seconds ago.
    """
    ctx.obj = loaded
    if ctx.invoked_subcommand is not None:
        return None
    with current_hub_state(loaded) as state:
        view = NodesView(Nodes(state.engine), loaded.settings.nodes.lease_seconds)
        machines = view.read(SystemClock().now())
    none = ["There is no node. Make a token for one with mograder hub node-token."]
    return Result(machines, _lines(machines) if machines else none)


@nodes.command("drain")
@click.argument("name")
@click.pass_obj
def drain(loaded: LoadedSettings, name: str) -> None:
    """Give a node no new sessions.

    Idle sessions there end; students at work there are told, and move by Move now in the bar.
    """
    with _node(loaded, name, "drain node") as stored:
        stored.drain(name, draining=True)
        view = NodesView(stored, loaded.settings.nodes.lease_seconds)
        others = any(each.state is MachineState.READY for each in view.read(SystemClock().now()))
    click.echo(f"{name} takes no new sessions.")
    if not others:
        click.echo("No other node is ready, so no notebook can be opened.", err=True)


@nodes.command("undrain")
@click.argument("name")
@click.pass_obj
def undrain(loaded: LoadedSettings, name: str) -> None:
    """Give a node new sessions again."""
    with _node(loaded, name, "undrain node") as stored:
        stored.drain(name, draining=False)
    click.echo(f"{name} takes sessions again.")


@nodes.command("remove")
@click.argument("name")
@click.pass_obj
def remove(loaded: LoadedSettings, name: str) -> None:
    """Refuse a node from now on: its token counts no more.

    Sessions that it still runs end within its lease. To come back it needs a new token.
    """
    with _node(loaded, name, "remove node") as stored:
        stored.remove(name)
    click.echo(f"{name} is refused from now on.")


@click.command("node-token")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@course_option
def node_token(*, names: tuple[str, ...], loaded: LoadedSettings) -> None:
    """Print the token with which a machine runs this hub's notebooks, one line for each name.

    It is shown this once, and is good until the node is removed. Run it on the hub's machine; then,
    on that machine, mograder node run.
    """
    if not loaded.settings.nodes.enabled:
        raise InvalidInput(
            "This hub has no nodes: [nodes] enabled is not set.",
            hint="Set [nodes] enabled = true in mograder.toml, and restart the hub.",
        )
    tokens = [NodeToken.new(name) for name in dict.fromkeys(names)]
    with current_hub_state(loaded) as state:
        for token in tokens:
            now = SystemClock().now()
            Nodes(state.engine).add(NodeRow(token.name, token.secret_hash, added_at=now))
            record_here(state, "make node token", token.name)
            click.echo(token.text)


def _lines(machines: Sequence[Machine]) -> Iterator[str]:
    rows = [("NAME", "STATE", "SESSIONS", "MEMORY GB", "LOAD", "VERSION", "LAST SEEN")]
    for each in machines:
        seen = f"{each.seen.astimezone():%Y-%m-%d %H:%M:%S}" if each.seen else "never"
        load = (
            str(each.sessions),
            f"{each.used / _GIGABYTE:.1f}/{each.memory / _GIGABYTE:.1f}",
            f"{each.load:.1f}/{each.processors}",
        )
        shown = load if each.at_work else ("-", "-", "-")
        rows.append((each.name, each.state.value, *shown, plain(each.version) or "-", seen))
    return aligned(rows)


@contextmanager
def _node(loaded: LoadedSettings, name: str, action: str) -> Iterator[Nodes]:
    """Open the nodes for a change of one of them, and record it."""
    with current_hub_state(loaded) as state:
        stored = Nodes(state.engine)
        known = [each.name for each in stored.all()]
        if name not in known:
            raise NotFound(
                f"There is no node {name}.",
                hint=f"There are {', '.join(known)}." if known else "The hub has no node yet.",
            )
        yield stored
        record_here(state, action, name)
