"""``mograder node check``: tests if this machine can run sessions for a hub elsewhere.

Checks try things out: a session in a sandbox, a warm start, a file on the share. They change
nothing, and disturb no node that is at work here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

from mograder.auth.node_tokens import NodeToken
from mograder.core.errors import MograderError
from mograder.core.settings import Environ
from mograder.core.system import account_name
from mograder.operations.machine_checks import (
    clock_line,
    directory_lines,
    limits_line,
    namespace_lines,
    version_line,
)
from mograder.operations.preflight import bubblewrap_line, confined_line, uv_line
from mograder.operations.report import Line, note, ok, problem
from mograder.operations.share_checks import share_findings
from mograder.sandbox.client.bootstrap import TemporarySupervisor, momentary_supervisor
from mograder.sandbox.client.selftest import look_from_inside, refusal_of_warm_starts
from mograder.sandbox.isolation.obstacles import Surroundings, remedy_for
from mograder.sandbox.nodes.node_config import NodeConfig, node_config
from mograder.sandbox.nodes.node_dialer import Hub, probe

_LEAST_MEMORY = 512 << 20
_MEGABYTE = 20


async def examine_node(environ: Environ) -> tuple[Line, ...]:
    """Run all checks of a node with these settings."""
    config = node_config(environ)
    return (
        version_line(),
        _user_line(),
        _capacity_line(config),
        clock_line(),
        bubblewrap_line(),
        *namespace_lines(),
        *await _sandbox(config),
        limits_line(),
        *directory_lines("state", config.state),
        *await asyncio.to_thread(lambda: tuple(_shares(config))),
        await _hub(environ),
    )


def _user_line() -> Line:
    uid = os.geteuid()
    text = f"user: {account_name(uid)} (uid {uid})"
    if uid == 0:
        hint = "Run hub and nodes as the same ordinary user, uid 1000 in our images."
        told = "it takes sessions of a hub that is root, too, and a share may not accept root"
        return note("user", f"{text}; {told}", hint)
    return ok("user", f"{text}; the hub must run with the same uid")


def _capacity_line(config: NodeConfig) -> Line:
    processors = len(os.sched_getaffinity(0))
    memory = config.memory >> _MEGABYTE
    text = f"capacity: {processors} processors, {memory} MB for sessions"
    if config.memory < _LEAST_MEMORY:
        return problem("capacity", f"{text}: not enough", "Give the node more memory.")
    return ok("capacity", text)


def _shares(config: NodeConfig) -> Iterator[Line]:
    if not config.shares:
        hint = "Name the directories that it has in common with the hub by --share."
        yield problem("share", "share: none is named", hint)
    for share in config.shares:
        yield from share_findings(share)


async def _hub(environ: Environ) -> Line:
    """Ask the hub whether it accepts this node."""
    node = environ.node
    if not node.hub or node.token is None:
        hint = "Give it the hub's address and a token: --hub and --token-file, or the variables."
        return note("hub", "hub: its address or this node's token is not set", hint)
    try:
        token = NodeToken.find(node.token.get_secret_value(), node.name)
        await probe(Hub.parse(node.hub), token.secret)
    except MograderError as error:
        reach = "Is the hub running, and does a firewall let this machine reach that port?"
        return problem("hub", f"hub {node.hub}: {error.message}", error.hint or reach)
    return ok("hub", f"hub {node.hub}: answers, and accepts this machine as {token.name}")


async def _sandbox(config: NodeConfig) -> list[Line]:
    """Run uv, a session that tests its isolation, and a warm start."""
    lines: list[Line] = []
    supervisor = config.supervisor
    try:
        async with momentary_supervisor(supervisor, own_cache=True, warm=1) as moment:
            lines.append(await uv_line(moment))
            hidden = (moment.place / "lock",)
            place = moment.place / "proof"
            lines.append(confined_line(await look_from_inside(moment.client, place, hidden)))
            lines.append(await _warm(moment))
    except MograderError as error:
        hint = remedy_for(error.message, Surroundings.found())
        lines.append(problem("sandbox", f"sandbox: {error.message}", hint))
    return lines


async def _warm(moment: TemporarySupervisor) -> Line:
    reason = await refusal_of_warm_starts(moment.client, moment.place / "warm")
    if not reason:
        return ok("warm", "warm start: a session was forked from a zygote")
    text = f"warm start: not possible, so sessions take a second more ({reason})"
    hint = "In a container the seccomp profile must allow setns, keyctl and clone3 too."
    return note("warm", text, hint)
