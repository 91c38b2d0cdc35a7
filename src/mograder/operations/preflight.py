"""The checks before a hub or a node is run: ``mograder hub check`` and ``mograder node check``.

They test if a hub can run here safely (B46, B81-B85, security.md), or sessions for a hub elsewhere.
:data:`CHECKS` is the table of all checks of a hub. The first lines are those of 0.3.16, in its
order (compatibility-0.3.16.md 10); the others follow. Checks try things out where possible: a
session in a sandbox tests its isolation, a node's also a warm start, and a file on the share. They
change nothing that lasts, and disturb no node that is at work here.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mograder.auth.credentials import MAKE_ONE, can_be_guessed
from mograder.auth.node_tokens import NodeToken
from mograder.clients.front_probe import hub_at
from mograder.core.errors import MograderError
from mograder.core.name_lookup import listed
from mograder.core.operating_system import account_name
from mograder.core.settings import FILE_NAME, Environ, LoadedSettings
from mograder.operations.course_checks import (
    USERS,
    database_line,
    environment_lines,
    folder_lines,
    marks_lines,
    proxies_line,
    release_lines,
    secret_lines,
    settings_lines,
    source_line,
    users_line,
    version_lines,
    zone_line,
)
from mograder.operations.external_checks import external_lines, members_decide
from mograder.operations.kept_backups import backup_lines
from mograder.operations.machine_checks import (
    IN_USE,
    clock_line,
    directory_lines,
    disk_lines,
    kernel_lines,
    kernel_version_lines,
    limits_line,
    memory_line,
    namespace_lines,
    port_line,
    version_line,
)
from mograder.operations.pruning import is_running
from mograder.operations.report import Level, Line, note, ok, problem, tried
from mograder.operations.service_checks import (
    HUB,
    SESSIONS,
    SOCKET,
    Units,
    ask_units,
    confined_lines,
    listener_of,
    unit_lines,
    volume_lines,
)
from mograder.operations.share_checks import share_findings, share_lines
from mograder.sandbox.client.bootstrap import (
    TemporarySupervisor,
    momentary_supervisor,
    supervisor_config,
)
from mograder.sandbox.client.selftest import (
    look_from_inside,
    refusal_of_warm_starts,
    uv_version,
)
from mograder.sandbox.client.supervisor_client import connect_to
from mograder.sandbox.isolation.bwrap import find_bubblewrap
from mograder.sandbox.isolation.obstacles import Surroundings, remedy_for
from mograder.sandbox.nodes.node_config import NodeConfig, node_config
from mograder.sandbox.nodes.node_dialer import Hub, probe
from mograder.store.database.database import database_url, sqlite_file
from mograder.store.hub.active_hub import may_be_several

_SHOWN = 3
_LEAST_MEMORY = 512 << 20
_MEGABYTE = 20


@dataclass(frozen=True, slots=True)
class Examined:
    loaded: LoadedSettings
    environ: Environ
    units: Units

    @property
    def notebooks(self) -> Path:
        return self.loaded.path(self.loaded.settings.hub.notebooks_dir)

    @property
    def places(self) -> tuple[Path, ...]:
        """The directories that a hub's work fills; each may be on a disk of its own."""
        environments = self.loaded.path(self.loaded.settings.hub.environments_dir)
        return self.notebooks, self.loaded.state_dir, environments

    @property
    def written(self) -> dict[str, tuple[Path, ...]]:
        """The directories that each of systemd's services writes to."""
        loaded, settings = self.loaded, self.loaded.settings
        database = sqlite_file(database_url(settings.database.url, loaded.course_dir))
        hub = [loaded.path(settings.hub.release_dir), loaded.gradebook_path.parent]
        hub += [loaded.path(settings.dirs.submitted), loaded.path(settings.dirs.autograded)]
        hub += [database.parent] if database else []
        hub += [loaded.path(settings.nodes.runs_dir)] if settings.nodes.enabled else []
        cache = settings.hub.uv_cache_dir
        sessions = [loaded.path(cache)] if cache else []
        return {HUB: (*self.places, *hub), SESSIONS: (*self.places, *sessions)}


Check = Callable[[Examined], Line | Iterable[Line] | None]
"""One check: it returns what it found, and may raise :class:`MograderError` or ``OSError``."""


def examine(loaded: LoadedSettings, environ: Environ) -> tuple[Line, ...]:
    hub = Examined(loaded, environ, ask_units(loaded))
    return tuple(line for name, check in CHECKS for line in run_check(name, check, hub))


async def examine_node(environ: Environ) -> tuple[Line, ...]:
    config = node_config(environ)
    return (
        version_line(),
        *kernel_version_lines(),
        _node_user_line(),
        _capacity_line(config),
        clock_line(),
        _bubblewrap_line(),
        *namespace_lines(),
        *await _node_sandbox(config),
        limits_line(),
        *directory_lines("state", config.state),
        *await asyncio.to_thread(lambda: tuple(_shares(config))),
        await _hub(environ),
    )


def run_check(name: str, check: Check, hub: Examined) -> Iterator[Line]:
    return tried(name, name, lambda: check(hub))


def secret_of(environ: Environ) -> Iterator[Line]:
    """Report whether there is a secret, and whether it is too weak (B81, B10)."""
    if environ.hub_secret is None:
        text = "MOGRADER_HUB_SECRET not set (use --dev or set env var)"
        yield problem("secret", text, MAKE_ONE)
        return
    yield ok("secret", "MOGRADER_HUB_SECRET is set")
    if can_be_guessed(environ.hub_secret.get_secret_value()):
        text = "MOGRADER_HUB_SECRET can be guessed: every login and token hangs on it"
        yield problem("secret-strength", text, MAKE_ONE)


def _marimo() -> Line:
    if importlib.util.find_spec("marimo") is None:
        return problem("marimo", "marimo not found", "Install mograder again.")
    return ok("marimo", "marimo available")


def _bubblewrap_line() -> Line:
    """Report whether bubblewrap is there and new enough (B83); the sandbox's check: if needed."""
    try:
        find_bubblewrap()
    except MograderError as error:
        absent = shutil.which("bwrap") is None
        text = "bubblewrap not found (optional, recommended)" if absent else error.message
        return note("bubblewrap", text, error.hint)
    return ok("bubblewrap", "bubblewrap available")


def _directories(it: Examined) -> Iterator[Line]:
    """Yield the paths of the hub's directories, and those that it cannot write to (B85)."""
    loaded, hub = it.loaded, it.loaded.settings.hub
    release = loaded.path(hub.release_dir)
    for name, path in (("notebooks_dir", it.notebooks), ("release_dir", release)):
        yield Line(name, Level.PLAIN, f"{name}: {path}")
        yield from directory_lines(name, path)
    yield from directory_lines("environments_dir", loaded.path(hub.environments_dir))
    yield from directory_lines("state", loaded.state_dir)
    if hub.collect:
        yield from directory_lines("submitted", loaded.path(loaded.settings.dirs.submitted))


def _port(it: Examined) -> Line:
    """Report whether the port is free, or used by this course's hub or its systemd socket (B84)."""
    hub = it.loaded.settings.hub
    line = port_line(hub.host, hub.port)
    if line.level is not Level.PROBLEM or IN_USE not in line.text:
        return line
    found = hub_at(f"http://{hub.here}{hub.base_url}")
    database = database_url(it.loaded.settings.database.url, it.loaded.course_dir)
    if found == "waits" and may_be_several(database):
        return ok("port", f"port {hub.port}: a hub waits there, since another one is at work")
    if found == "at work" and is_running(it.loaded):
        return ok("port", f"port {hub.port}: this course's hub answers there")
    if it.units.listens(hub.port):
        return ok("port", f"port {hub.port}: systemd listens there for the hub ({SOCKET})")
    user = listener_of(hub.port)
    whose = f"A program of the user {user} listens there. " if user else ""
    return problem("port", line.text, f"{whose}{line.hint}")


async def _sandbox(it: Examined) -> list[Line]:
    """Run uv and a session that tests its isolation, with a temporary supervisor."""
    config = supervisor_config(it.loaded, it.environ)
    async with momentary_supervisor(config, own_cache=True) as moment:
        lines = [await _uv_line(moment)]
        if config.sandbox == "none":
            text = "sandbox: [security] use_bubblewrap is false, student code runs without one"
            return [*lines, problem("sandbox", text, "Take the line out of mograder.toml.")]
        course, database = it.loaded.course_dir, it.loaded.state_dir / "hub.db"
        # Files only: a sandbox may have directories of its own at these places.
        hidden = (course / FILE_NAME, course / USERS, database, Path("/etc/shadow"))
        return [*lines, await _confined_line(moment, *hidden)]


async def _kept_supervisor(it: Examined) -> list[Line]:
    """Connect to the supervisor that a service manager runs, if the settings name its socket."""
    if not it.loaded.settings.hub.supervisor_socket:
        return []
    connection = await connect_to(supervisor_config(it.loaded, it.environ))
    hello = connection.hello
    await connection.close()
    return [ok("supervisor", f"supervisor: mograder {hello.version} answers")]


async def _uv_line(moment: TemporarySupervisor) -> Line:
    try:
        version = await uv_version(moment.client, moment.place / "uv")
    except MograderError as error:
        return problem("uv", error.message, error.hint)
    return ok("uv", f"{version.partition('(')[0].strip()} works in a sandbox")


async def _confined_line(moment: TemporarySupervisor, *hidden: Path) -> Line:
    """Report what a session reaches of the machine; ``hidden`` are files that it must not see."""
    hidden = (*hidden, moment.place / "supervisor.sock")
    seen = await look_from_inside(moment.client, moment.place / "proof", hidden)
    if not seen:
        text = "sandbox: a session sees no network, none of the course's files, nobody's processes"
        return ok("sandbox", text)
    shown = listed([f"{each.what} {each.which}" for each in seen], _SHOWN)
    text = f"sandbox: student code reaches {shown}"
    return problem("sandbox", text, "Do not run a hub here; report this.")


def _node_user_line() -> Line:
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


async def _node_sandbox(config: NodeConfig) -> list[Line]:
    lines: list[Line] = []
    try:
        async with momentary_supervisor(config.supervisor, own_cache=True, warm=1) as moment:
            lines.append(await _uv_line(moment))
            lines.append(await _confined_line(moment))
            lines.append(await _warm(moment))
    except MograderError as error:
        hint = _bubblewrap_line().hint or remedy_for(error.message, Surroundings.found())
        lines.append(problem("sandbox", f"sandbox: {error.message}", hint))
    return lines


async def _warm(moment: TemporarySupervisor) -> Line:
    reason = await refusal_of_warm_starts(moment.client, moment.place / "warm")
    if not reason:
        return ok("warm", "warm start: a session was forked from a zygote")
    text = f"warm start: not possible, so sessions take a second more ({reason})"
    hint = "In a container the seccomp profile must allow setns, keyctl and clone3 too."
    return note("warm", text, hint)


CHECKS: tuple[tuple[str, Check], ...] = (
    ("secret", lambda it: secret_of(it.environ)),
    ("marimo", lambda it: _marimo()),
    ("bubblewrap", lambda it: _bubblewrap_line()),
    ("directories", _directories),
    ("volume", lambda it: volume_lines(it.loaded.course_dir, *it.places)),
    ("services", lambda it: (*unit_lines(it.units), *confined_lines(it.units, it.written))),
    ("port", _port),
    ("disk", lambda it: disk_lines(it.loaded, it.places)),
    ("memory", lambda it: memory_line(it.loaded)),
    ("clock", lambda it: clock_line()),
    ("database", lambda it: database_line(it.loaded)),
    ("gradebook", lambda it: marks_lines(it.loaded)),
    ("sources", lambda it: source_line(it.loaded)),
    ("items", lambda it: (*settings_lines(it.loaded), *release_lines(it.loaded))),
    ("timezone", lambda it: zone_line(it.loaded)),
    ("secret-file", lambda it: secret_lines(it.loaded)),
    ("users", lambda it: users_line(it.loaded, members=members_decide(it.loaded))),
    ("folders", lambda it: folder_lines(it.loaded)),
    ("proxies", lambda it: proxies_line(it.loaded)),
    ("sandbox", lambda it: asyncio.run(_sandbox(it))),
    ("supervisor", lambda it: asyncio.run(_kept_supervisor(it))),
    ("namespaces", lambda it: namespace_lines()),
    ("limits", lambda it: limits_line()),
    ("kernel", lambda it: kernel_lines(it.loaded)),
    ("kernel-version", lambda it: kernel_version_lines()),
    ("environments", lambda it: asyncio.run(environment_lines(it.loaded))),
    ("backups", lambda it: backup_lines(it.loaded)),
    ("versions", lambda it: version_lines(it.loaded)),
    ("sign-in", lambda it: external_lines(it.loaded, it.environ)),
    ("share", lambda it: share_lines(it.loaded)),
    ("programs", lambda it: version_line()),
)
