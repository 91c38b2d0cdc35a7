"""``mograder hub check``: tests if a hub can run here safely (B46, B81-B85, security.md).

The first lines are those of 0.3.16, in its order (compatibility-0.3.16.md 10); the others follow.
Checks try things out where possible: a session in a sandbox tests its isolation.
"""

from __future__ import annotations

import asyncio
import importlib.util
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from mograder.auth.identity import Network, trusted_peers
from mograder.clients.front_probe import is_hub
from mograder.core.errors import MograderError
from mograder.core.settings import FILE_NAME, Environ, LoadedSettings
from mograder.operations.course_checks import environment_lines, secret_lines
from mograder.operations.external_checks import external_lines
from mograder.operations.gradebook_checks import gradebook_lines
from mograder.operations.grading_checks import source_line
from mograder.operations.host_checks import (
    clock_line,
    inode_line,
    memory_line,
    namespace_lines,
    version_line,
)
from mograder.operations.kept_backups import backup_lines
from mograder.operations.machine_checks import (
    IN_USE,
    directory_lines,
    disk_line,
    kernel_lines,
    limits_line,
    port_line,
)
from mograder.operations.pruning import is_running
from mograder.operations.report import Level, Line, note, ok, problem
from mograder.operations.service_checks import (
    SOCKET,
    Units,
    ask_units,
    listener_of,
    unit_lines,
    volume_line,
)
from mograder.operations.share_checks import share_lines
from mograder.operations.version_checks import version_lines
from mograder.sandbox.client.bootstrap import supervisor_config
from mograder.sandbox.client.connection import connect_to
from mograder.sandbox.client.selftest import Seen, look_from_inside, uv_version
from mograder.sandbox.client.temporary import TemporarySupervisor, momentary_supervisor
from mograder.sandbox.isolation.bwrap import find_bubblewrap
from mograder.store.course.allowlist import parse_users
from mograder.store.database.database import (
    awaits_upgrade,
    database_url,
    open_engine,
    sqlite_damage,
    sqlite_file,
)

_SECRET_LENGTH = 32
_DIFFERENT = 10
"""Different characters that a random secret of that length has at least."""

_MAX_USERS = 10_000_000
_WIDEST_V4, _WIDEST_V6 = 16, 48
"""Prefix lengths of a campus network: a shorter prefix is unlikely to be that of a front."""

_SHOWN = 3
_LOOK_SECONDS = 10.0
"""Most seconds for checking a database for damage."""

_USERS = "allowed_users.txt"
_REMEDY = "Make one: openssl rand -hex 32"


async def examine(loaded: LoadedSettings, environ: Environ) -> tuple[Line, ...]:
    """Run all checks of a hub on this course; make no lasting changes."""
    hub = loaded.settings.hub
    units = await asyncio.to_thread(ask_units, loaded)
    volume = volume_line(loaded.course_dir)
    lines = [
        *secret_of(environ),
        _marimo(),
        bubblewrap_line(),
        *_directories(loaded),
        *([volume] if volume else []),
        *unit_lines(units),
        await asyncio.to_thread(_port, loaded, units),
        disk_line(loaded, loaded.path(hub.notebooks_dir)),
        inode_line(loaded.path(hub.notebooks_dir)),
        memory_line(loaded),
        clock_line(),
        *await asyncio.to_thread(lambda: tuple(_databases(loaded))),
        await asyncio.to_thread(source_line, loaded),
        *secret_lines(loaded),
        _users(loaded.course_dir / _USERS),
        *_proxies(loaded),
        *await _sandbox(loaded, environ),
        *await _kept_supervisor(loaded, environ),
        *namespace_lines(),
        limits_line(),
        *kernel_lines(loaded),
        *await environment_lines(loaded),
        *await asyncio.to_thread(lambda: tuple(backup_lines(loaded))),
        *await asyncio.to_thread(version_lines, loaded),
        *await asyncio.to_thread(lambda: tuple(external_lines(loaded, environ))),
        *await asyncio.to_thread(lambda: tuple(share_lines(loaded))),
        version_line(),
    ]
    return tuple(lines)


def secret_of(environ: Environ) -> Iterator[Line]:
    """Report whether there is a secret, and whether it is too weak (B81, B10)."""
    if environ.hub_secret is None:
        text = "MOGRADER_HUB_SECRET not set (use --dev or set env var)"
        yield problem("secret", text, _REMEDY)
        return
    yield ok("secret", "MOGRADER_HUB_SECRET is set")
    secret = environ.hub_secret.get_secret_value()
    if len(secret) < _SECRET_LENGTH or len(set(secret)) < _DIFFERENT:
        text = "MOGRADER_HUB_SECRET can be guessed: every login and token hangs on it"
        yield problem("secret-strength", text, _REMEDY)


def _marimo() -> Line:
    """Report whether marimo is installed (B82)."""
    if importlib.util.find_spec("marimo") is None:
        return problem("marimo", "marimo not found", "Install mograder again.")
    return ok("marimo", "marimo available")


def bubblewrap_line() -> Line:
    """Report whether bubblewrap is installed (B83); the sandbox's check says if it is needed."""
    try:
        find_bubblewrap()
    except MograderError as error:
        return note("bubblewrap", "bubblewrap not found (optional, recommended)", error.hint)
    return ok("bubblewrap", "bubblewrap available")


def _directories(loaded: LoadedSettings) -> Iterator[Line]:
    """Yield the paths of the hub's directories, and those that it cannot write to (B85)."""
    hub = loaded.settings.hub
    named = {
        "notebooks_dir": loaded.path(hub.notebooks_dir),
        "release_dir": loaded.path(hub.release_dir),
    }
    for name, path in named.items():
        yield Line(name, Level.PLAIN, f"{name}: {path}")
        yield from directory_lines(name, path)
    yield from directory_lines("environments_dir", loaded.path(hub.environments_dir))
    yield from directory_lines("state", loaded.state_dir)


def _port(loaded: LoadedSettings, units: Units) -> Line:
    """Report whether the port is free, or used by this course's hub or its systemd socket (B84)."""
    hub = loaded.settings.hub
    line = port_line(hub.host, hub.port)
    if line.level is not Level.PROBLEM or IN_USE not in line.text:
        return line
    if is_running(loaded) and is_hub(f"http://127.0.0.1:{hub.port}{hub.base_url}"):
        return ok("port", f"port {hub.port}: this course's hub answers there")
    if units.listens(hub.port):
        return ok("port", f"port {hub.port}: systemd listens there for the hub ({SOCKET})")
    user = listener_of(hub.port)
    whose = f"A program of the user {user} listens there. " if user else ""
    return problem("port", line.text, f"{whose}{line.hint}")


def _databases(loaded: LoadedSettings) -> Iterator[Line]:
    """Check the hub's database and, if it exists, the gradebook."""
    yield _database(loaded)
    marks = loaded.gradebook_path
    if marks.is_file():
        try:
            yield _integrity("gradebook", marks, f"gradebook: {marks.name} is whole")
        except MograderError as error:
            yield problem("gradebook", f"gradebook: {error.message}", error.hint)
            return
        yield from gradebook_lines(loaded)


def _integrity(check: str, file: Path, whole: str) -> Line:
    """Check an SQLite file for damaged pages, for ``_LOOK_SECONDS`` at most."""
    found = sqlite_damage(file, _LOOK_SECONDS)
    if found is None:
        return ok(check, f"{whole}; no damage found in the first {_LOOK_SECONDS:.0f} seconds")
    if not found:
        return ok(check, whole)
    text = f"{check}: {file} is damaged: {'; '.join(found[:_SHOWN])}"
    hint = "Stop the hub, keep a copy of the file, and put it back from the newest backup."
    return problem(check, text, hint)


def _database(loaded: LoadedSettings) -> Line:
    try:
        url = database_url(loaded.settings.database.url, loaded.course_dir)
        file = sqlite_file(url)
        # Do not create the database here: it would have the wrong owner.
        if file is not None and not file.exists():
            return ok("database", "database: new, made at the hub's first start")
        engine = open_engine(url)
        try:
            awaits = awaits_upgrade(engine)
        finally:
            engine.dispose()
        text = "database: opens" + (", upgraded at the hub's start" if awaits else "")
        return ok("database", text) if file is None else _integrity("database", file, text)
    except MograderError as error:
        return problem("database", f"database: {error.message}", error.hint)


def _users(path: Path) -> Line:
    """Report the allowlist as the hub would read it (B37-B44)."""
    try:
        content = _content(path)
    except FileNotFoundError:
        if path.is_symlink():
            return problem("users", f"{path.name} is a link to nothing: no student may enter")
        return note("users", f"no {path.name}: everybody who signs in may enter")
    except OSError as error:
        text = f"{path.name} cannot be read ({error.strerror}): no student may enter"
        return problem("users", text, "Let the hub's user read it.")
    users = parse_users(content.decode("utf-8-sig", "replace"))
    if not users:
        return note("users", f"{path.name} is empty: only instructors may enter")
    odd = sorted(ascii(name) for name in users if not unicodedata.is_normalized("NFC", name))
    if odd:
        text = f"{path.name}: {odd[0]} lets nobody in, since Unicode turns it into another name"
        return problem("users", text, "Type it anew, as the person's name is at the sign-in.")
    return ok("users", f"{path.name}: {len(users)} users")


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_USERS)


def _proxies(loaded: LoadedSettings) -> Iterator[Line]:
    hub, sandboxed = loaded.settings.hub, loaded.settings.security.use_bubblewrap is not False
    try:
        peers = trusted_peers(hub.trusted_proxies, sandboxed=sandboxed)
    except MograderError as error:
        yield problem("proxies", error.message, error.hint)
        return
    wide = [str(each) for each in peers.networks if _is_wide(each)]
    loopback = any(each.is_loopback for each in peers.networks)
    if wide:
        text = f"trusted_proxies: {', '.join(wide)} may name any user in {hub.trusted_header}"
        yield problem("proxies", text, "List the addresses of your own fronts only.")
    elif loopback and not sandboxed:
        text = "trusted_proxies: without a sandbox student code on this machine may name any user"
        yield problem("proxies", text, "Let the front use the hub's Unix socket, or a sandbox.")
    else:
        listed = ", ".join(map(str, peers.networks)) or "nobody"
        unix = " and the hub's Unix socket" if peers.unix_socket else ""
        yield ok("proxies", f"trusted_proxies: {listed}{unix}")


def _is_wide(network: Network) -> bool:
    """Whether a network is the whole internet, or a public one larger than a campus network."""
    if network.prefixlen == 0:
        return True
    public = not network.is_private
    return public and (network.prefixlen < (_WIDEST_V4 if network.version == 4 else _WIDEST_V6))


async def _sandbox(loaded: LoadedSettings, environ: Environ) -> list[Line]:
    """Run uv and a session that tests its isolation, with a temporary supervisor."""
    config = supervisor_config(loaded, environ)
    try:
        async with momentary_supervisor(config, own_cache=True) as moment:
            lines = [await uv_line(moment)]
            if config.sandbox == "none":
                text = "sandbox: [security] use_bubblewrap is false, student code runs without one"
                return [*lines, problem("sandbox", text, "Take the line out of mograder.toml.")]
            hidden = (*_files_to_hide(loaded), moment.place / "lock")
            seen = await look_from_inside(moment.client, moment.place / "proof", hidden)
    except MograderError as error:
        return [problem("sandbox", f"sandbox: {error.message}", error.hint)]
    return [*lines, confined_line(seen)]


async def _kept_supervisor(loaded: LoadedSettings, environ: Environ) -> list[Line]:
    """Connect to the supervisor that a service manager runs, if the settings name its socket."""
    if not loaded.settings.hub.supervisor_socket:
        return []
    try:
        connection = await connect_to(supervisor_config(loaded, environ))
    except MograderError as error:
        return [problem("supervisor", f"supervisor: {error.message}", error.hint)]
    hello = connection.hello
    await connection.close()
    if "judge" not in hello.operations:
        text = f"supervisor: mograder {hello.version} answers, and cannot grade submissions"
        return [note("supervisor", text, "Restart mograder-sessions when no student is at work.")]
    return [ok("supervisor", f"supervisor: mograder {hello.version} answers")]


def _files_to_hide(loaded: LoadedSettings) -> tuple[Path, ...]:
    """Return files that a sandbox must not see; no directories: a sandbox may have its own."""
    course = loaded.course_dir
    return (
        course / FILE_NAME,
        course / _USERS,
        loaded.state_dir / "hub.db",
        Path("/etc/shadow"),
    )


async def uv_line(moment: TemporarySupervisor) -> Line:
    """Report whether uv works in the sandbox of builds."""
    try:
        version = await uv_version(moment.client, moment.place / "uv")
    except MograderError as error:
        return problem("uv", error.message, error.hint)
    return ok("uv", f"{version.partition('(')[0].strip()} works in a sandbox")


def confined_line(seen: tuple[Seen, ...]) -> Line:
    """Report what a session reaches of the machine."""
    if not seen:
        text = "sandbox: a session sees no network, none of the course's files, nobody's processes"
        return ok("sandbox", text)
    shown = ", ".join(f"{each.what} {each.which}" for each in seen[:_SHOWN])
    more = f", and {len(seen) - _SHOWN} more" if len(seen) > _SHOWN else ""
    text = f"sandbox: student code reaches {shown}{more}"
    return problem("sandbox", text, "Do not run a hub here; report this.")
