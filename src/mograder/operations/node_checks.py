"""``mograder node check``: tests if this machine can run sessions for a hub elsewhere.

Checks try things out: a session in a sandbox, a warm start, a file on the share. They change
nothing, and disturb no node that is at work here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime

from mograder.core.errors import MograderError, NotFound
from mograder.core.settings import Environ
from mograder.operations.machine_checks import (
    clock_line,
    directory_lines,
    limits_line,
    namespace_lines,
    user_name,
    version_line,
)
from mograder.operations.preflight import bubblewrap_line, confined_line, uv_line
from mograder.operations.report import Line, note, ok, problem
from mograder.operations.share_checks import share_findings
from mograder.sandbox.client.selftest import look_from_inside
from mograder.sandbox.client.temporary import TemporarySupervisor, momentary_supervisor
from mograder.sandbox.client.warm_trial import refusal_of_warm_starts
from mograder.sandbox.isolation.obstacles import Surroundings, remedy_for
from mograder.sandbox.nodes.hub_probe import probe_hub
from mograder.sandbox.nodes.node_config import NodeConfig, node_config
from mograder.sandbox.nodes.node_identity import NodeIdentity

_LEAST_MEMORY = 512 << 20
_MEGABYTE = 20


async def examine_node(environ: Environ) -> tuple[Line, ...]:
    """Run all checks of a node with these settings."""
    config = node_config(environ)
    identity, joined = _identity(config)
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
        joined,
        *(await _hubs(identity) if identity is not None else ()),
    )


def _user_line() -> Line:
    uid = os.geteuid()
    text = f"user: {user_name(uid)} (uid {uid})"
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


def _identity(config: NodeConfig) -> tuple[NodeIdentity | None, Line]:
    try:
        identity = NodeIdentity.load(config.identity)
    except NotFound as error:
        return None, note("identity", "identity: this machine has not joined a hub yet", error.hint)
    except MograderError as error:
        return None, problem("identity", f"identity: {error.message}", error.hint)
    text = f"identity: the node {identity.name}, certificate until {identity.ends:%Y-%m-%d}"
    if identity.ends <= datetime.now(UTC):
        return None, problem("identity", f"{text}: it has expired", "Join again.")
    return identity, ok("identity", text)


async def _hubs(identity: NodeIdentity) -> list[Line]:
    lines = []
    for hub in identity.hubs:
        try:
            await probe_hub(identity, hub)
        except MograderError as error:
            reach = "Is the hub running, and does a firewall let this machine reach that port?"
            lines.append(problem("hub", f"hub {hub}: {error.message}", error.hint or reach))
        else:
            lines.append(ok("hub", f"hub {hub}: answers, and accepts this node"))
    return lines


async def _sandbox(config: NodeConfig) -> list[Line]:
    """Run uv, a session that tests its isolation, and a warm start."""
    lines: list[Line] = []
    supervisor = config.supervisor
    try:
        async with momentary_supervisor(supervisor, own_cache=True, warm=1) as moment:
            lines.append(await uv_line(moment))
            hidden = (config.identity, moment.place / "lock")
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
