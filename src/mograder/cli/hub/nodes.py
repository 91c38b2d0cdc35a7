"""``mograder hub nodes`` and ``node-token``: the machines of a hub, by the hub's database.

A change is written to the database; the hub that a node is connected to acts on it within seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import click

from mograder.auth.node_tokens import NodeToken
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.formatting import iso, plain
from mograder.cli.shared.hub_database import current_hub_state
from mograder.cli.shared.result import Result, aligned, json_option
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.sections.node_settings import address_for_nodes
from mograder.core.settings import LoadedSettings, read_environ
from mograder.operations.machines import Machine, MachineState, NodesView
from mograder.store.hub.active_hub import Hubs
from mograder.store.hub.node_authority import open_authority
from mograder.store.hub.nodes import Nodes

_HERE: Final = "command line"
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
        machines = view.read(_now())
    none = ["No node has joined. Make a token for one with mograder hub node-token."]
    return Result([_as_json(each) for each in machines], _lines(machines) if machines else none)


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
        others = any(each.state is MachineState.READY for each in view.read(_now()))
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
    """Refuse a node from now on: its certificate counts no more.

    Sessions that it still runs end within its lease. To come back it needs a new token.
    """
    with _node(loaded, name, "remove node") as stored:
        stored.remove(name)
    click.echo(f"{name} is refused from now on.")


@click.command("node-token")
@click.option(
    "--minutes",
    type=click.IntRange(1, 7 * 24 * 60),
    default=60,
    show_default=True,
    help="How long it is good for.",
)
@click.option(
    "--uses",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="How many machines may join with it.",
)
@click.option(
    "--new-authority",
    is_flag=True,
    help="Make a new authority, after the hub's secret was changed; all nodes have to join again.",
)
@course_option
def node_token(*, minutes: int, uses: int, new_authority: bool, loaded: LoadedSettings) -> None:
    """Print a token with which a machine joins this hub, to run its notebooks.

    Run it on the hub's machine, with MOGRADER_HUB_SECRET set to the hub's secret; then, on that
    machine, mograder node join.
    """
    secret = read_environ().hub_secret
    if secret is None:
        raise click.ClickException(
            "MOGRADER_HUB_SECRET must be set to the hub's secret, which encrypts the key that "
            "signs the nodes' certificates."
        )
    own = address_for_nodes(loaded.settings.nodes)
    if not own:
        raise InvalidInput(
            "This hub has no nodes: [nodes] listen is not set.",
            hint='Set it in mograder.toml, for example to "0.0.0.0:8442", and restart the hub.',
        )
    with current_hub_state(loaded) as state:
        addresses = tuple(dict.fromkeys((*Hubs(state.engine).addresses(), own)))
        stored, now = Nodes(state.engine), _now()
        if new_authority:
            stored.drop_authority()
            state.record(now, "", "make authority of nodes", "", _HERE, "ok")
        authority = open_authority(stored, secret.get_secret_value(), now)
        token = NodeToken.new(addresses, authority.fingerprint)
        stored.add_token(token.secret_hash, now + timedelta(minutes=minutes), uses)
        state.record(now, "", "make node token", f"{minutes} min, {uses} uses", _HERE, "ok")
    click.echo(token.text)
    click.echo(f"The hub's address in it: {', '.join(addresses)}.", err=True)
    if new_authority:
        click.echo("Restart the hub before a machine joins: the authority is a new one.", err=True)


def _lines(machines: Sequence[Machine]) -> Iterator[str]:
    """Return a table: name, state, sessions, memory, load, version, when it was seen."""
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


def _as_json(machine: Machine) -> dict[str, object]:
    return {
        "name": machine.name,
        "state": machine.state.value,
        "version": machine.version,
        "memory": machine.memory,
        "used": machine.used,
        "processors": machine.processors,
        "load": machine.load,
        "sessions": machine.sessions,
        "runs": machine.runs,
        "environments": machine.environments,
        "warm": machine.warm,
        "seen": iso(machine.seen),
        "ends": iso(machine.ends),
    }


@contextmanager
def _node(loaded: LoadedSettings, name: str, action: str) -> Iterator[Nodes]:
    """Open the nodes for a change of one of them, and record it.

    Raises: NotFound, and as
    :func:`~mograder.cli.shared.hub_database.current_hub_state`.
    """
    with current_hub_state(loaded) as state:
        stored = Nodes(state.engine)
        known = [each.name for each in stored.all()]
        if name not in known:
            raise NotFound(
                f"There is no node {name}.",
                hint=f"There are {', '.join(known)}." if known else "No node has joined yet.",
            )
        yield stored
        state.record(_now(), "", action, name, _HERE, "ok")


def _now() -> datetime:
    return SystemClock().now()
