"""The supervisor's configuration, and the choice of sandboxed or not, tested at the hub's start.

``[security] use_bubblewrap``: if unset or true, the sandbox is required, and the hub refuses to
start where bubblewrap does not work; false means no sandbox, with a warning (B22, security.md).
``--dev`` with the setting unset and no working bubblewrap runs unsandboxed, on loopback only.

Commands that check a machine, build environments or run notebooks use sandboxes as a hub does, and
must not disturb a running hub: they have a temporary supervisor of their own, and do not connect to
the hub's, which runs the students' sessions.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.core.sections.settings_model import HubSettings
from mograder.core.settings import Environ, LoadedSettings, runtime_dir
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.builder import CommandRunner
from mograder.sandbox.isolation.obstacles import Surroundings, remedy_for
from mograder.sandbox.isolation.policy import ASSET_URL
from mograder.sandbox.protocol import RunCommand
from mograder.sandbox.supervisor.config import SupervisorConfig

_log = logging.getLogger(__name__)

_PROOF_SECONDS = 20.0
_COURSE_LENGTH = 12
_NOT_FOUND = "Can't find source path"
_MISSING = (
    "A file or directory that the sandbox needs is missing on this machine. Restart the "
    "supervisor: it makes it again."
)


def supervisor_config(
    loaded: LoadedSettings, environ: Environ, *, lone: bool = False
) -> SupervisorConfig:
    """Return the configuration of this course's supervisor, started here or running already.

    ``lone``: it is started by a service manager and not by a hub, which then must not end it;
    with ``[hub] supervisor_socket`` the hub expects such a supervisor.
    As root, environments are built by an unprivileged uid, which cannot and should not write to
    root's own cache: the default is then a cache in the course's state directory (B111).
    """
    hub, security = loaded.settings.hub, loaded.settings.security
    runtime = runtime_dir(loaded, environ)
    own_cache = loaded.state_dir / "uv-cache" if os.geteuid() == 0 else environ.home / ".cache/uv"
    build = build_variables(environ)
    # Hubs on several machines share the course's directory, but each has its own runtime directory.
    logs = runtime if loaded.settings.nodes.enabled else loaded.state_dir
    return SupervisorConfig(
        runtime=runtime,
        socket=loaded.path(hub.supervisor_socket or str(runtime / "supervisor.sock")),
        # Resolved: it may be a link to a volume, and its owner is changed by its real path.
        uv_cache=loaded.path(hub.uv_cache_dir or str(own_cache)).resolve(),
        sandbox="none" if security.use_bubblewrap is False else "bubblewrap",
        uid_base=security.sandbox_uid_base,
        owned=not (lone or hub.supervisor_socket),
        log=None if lone else logs / "supervisor.log",
        path=environ.path,
        build_variables=build,
        build_readable=named_files(build),
        warm_environments=loaded.settings.limits.warm_environments,
        disk_reserve_mb=loaded.settings.limits.disk_reserve_mb,
        disk_reserve_percent=loaded.settings.limits.disk_reserve_percent,
        warm_memory_mb=loaded.settings.limits.warm_memory_mb,
        asset_url=asset_url_of(hub),
        course=hashlib.sha256(os.fsencode(loaded.course_dir)).hexdigest()[:_COURSE_LENGTH],
    )


def asset_url_of(hub: HubSettings) -> str:
    """Return the URL below which pages load marimo's static files.

    With one origin per session (``session_url``) they are loaded from the hub's origin, so that the
    browser caches them once for all of these origins, which belong to one site.
    """
    if not hub.session_url:
        return ASSET_URL
    return f"{hub.public_url}{hub.base_url}/s/_marimo"


async def open_sandbox(
    config: SupervisorConfig, use_bubblewrap: bool | None, *, dev: bool, epoch: int = 0
) -> tuple[SupervisorClient, bool]:
    """Return the supervisor's client, and whether its sessions are sandboxed.

    ``epoch`` is that of the hub at work, for which the client is; else 0.

    Raises: :class:`SandboxUnavailable` if a sandbox is required and cannot be created.
    """
    if use_bubblewrap is False:
        _log.warning(
            "[security] use_bubblewrap is false: student code runs without a sandbox and can "
            "read and write whatever this user can"
        )
        return await open_client(config, epoch), False
    try:
        client = await open_client(config, epoch)
    except SandboxUnavailable as error:
        if not (dev and use_bubblewrap is None):
            raise
        _log.warning("--dev: student code runs without a sandbox, on loopback only: %s", error)
        plain = config.model_copy(update={"sandbox": "none"})
        return await open_client(plain, epoch), False
    return client, True


async def open_client(config: SupervisorConfig, epoch: int = 0) -> SupervisorClient:
    """Return the client of a supervisor, which has made a sandbox if the configuration wants one.

    Raises: as :func:`open_sandbox`.
    """
    client = SupervisorClient(config, epoch)
    connection = await client.open()
    if config.sandbox == "bubblewrap":
        try:
            if connection.hello.sandbox != "bubblewrap":
                raise SandboxUnavailable("The running session supervisor makes no sandboxes.")
            await prove(client, config)
        except MograderError:
            await client.close()
            raise
    return client


async def prove(runner: CommandRunner, config: SupervisorConfig) -> None:
    """Run a command in a sandbox, since only that shows whether the kernel allows it.

    Raises: :class:`SandboxUnavailable` when it fails.
    """
    said: list[str] = []
    # Beside its socket: a supervisor that a service manager started may have another runtime
    # directory than this hub's configuration.
    directory = config.socket.parent / f"proof-{secrets.token_hex(8)}"
    directory.mkdir(mode=0o700)
    command = RunCommand(argv=("/usr/bin/true",), directory=directory, timeout=_PROOF_SECONDS)
    try:
        status = await runner.run(command, said.append)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if status != 0:
        reason = " ".join(line for line in said if line)
        raise SandboxUnavailable(
            f"bubblewrap does not work here, and student code runs only in a sandbox: {reason}",
            hint=_MISSING if _NOT_FOUND in reason else remedy_for(reason, Surroundings.found()),
        )


def build_variables(environ: Environ) -> dict[str, str]:
    """Return the variables for builds, with the user's configuration of uv if there is one."""
    build = dict(environ.build)
    uv_config = environ.home / ".config/uv/uv.toml"
    if uv_config.is_file():
        build.setdefault("UV_CONFIG_FILE", str(uv_config))
    return build


def named_files(variables: dict[str, str]) -> tuple[Path, ...]:
    """Return the files that the variables name and that builds cannot read otherwise."""
    paths = [Path(value) for value in variables.values() if value.startswith("/")]
    known = (Path("/usr"), Path("/etc"))
    wanted = {p for p in paths if p.exists() and not any(p.is_relative_to(k) for k in known)}
    return tuple(sorted(wanted))


_LINGER_SECONDS = 30.0
"""How long the supervisor outlives a command that was killed."""


@dataclass(frozen=True, slots=True)
class TemporarySupervisor:
    """A supervisor's client and a private directory for the files that it works on."""

    client: SupervisorClient
    place: Path


@asynccontextmanager
async def momentary_supervisor(
    config: SupervisorConfig, *, own_cache: bool = False, warm: int = 0
) -> AsyncIterator[TemporarySupervisor]:
    """Run a supervisor with ``config`` in a temporary runtime directory until the context ends.

    It keeps ``warm`` zygotes at most. With ``own_cache`` it does not use the hub's package cache,
    in which it could create files of another owner.

    Raises: :class:`SandboxUnavailable` if it cannot start, or its sandboxes do not work.
    """
    # Not below TMPDIR: the path of a socket is limited to 107 bytes. The interpreter removes it
    # when a second Ctrl+C breaks off the cleanup.
    directory = tempfile.TemporaryDirectory("", "mograder-", "/tmp", ignore_cleanup_errors=True)
    place = Path(directory.name)
    cache = place / "uv-cache" if own_cache else config.uv_cache
    own = command_config(config.model_copy(update={"uv_cache": cache}), place, warm=warm)
    try:
        client = await open_client(own)
        try:
            yield TemporarySupervisor(client, place)
        finally:
            await client.close()
    finally:
        await asyncio.to_thread(directory.cleanup)


def command_config(config: SupervisorConfig, place: Path, *, warm: int = 0) -> SupervisorConfig:
    """Return the configuration of a command's own supervisor, whose files are in ``place``.

    It creates no cgroups and ends none: a running hub, which may have the same ones, has its
    sessions and zygotes there. It keeps ``warm`` environments at most.
    """
    return config.model_copy(
        update={
            "runtime": place,
            "socket": place / "supervisor.sock",
            "owned": True,
            "linger": _LINGER_SECONDS,
            "log": place / "supervisor.log",
            "warm_environments": warm,
            "divide_cgroups": False,
        }
    )
