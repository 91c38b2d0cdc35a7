"""Opening the services of the hub, and closing them in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from importlib import metadata

from pydantic import SecretStr

from mograder.auth.identity import Authenticator, AuthPolicy, trusted_peers
from mograder.core.clock import Clock, SystemClock
from mograder.core.log import get_logger
from mograder.core.settings import Environ, LoadedSettings
from mograder.core.tasks import repeat
from mograder.grading.validate import Validations
from mograder.hub.capabilities import Capabilities
from mograder.hub.grading import open_grading
from mograder.hub.hosting import Hosting, nodes_ended
from mograder.hub.services import Services
from mograder.hub.takeover import (
    HubAtWork,
    HubSandbox,
    Preparation,
    Standby,
    begin_work,
    shared_locks,
)
from mograder.operations.pruning import needed_here
from mograder.operations.share_checks import refuse_squashed_root
from mograder.publishing.warm import warm_releases
from mograder.sandbox.client.bootstrap import asset_url_of
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.builder import Environments
from mograder.sandbox.environments.pruning import prune_environments
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.sandbox.execution.item_limits import limits_of
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.machines import Machines
from mograder.sessions.capacity import capacity_limits
from mograder.sessions.connections import LocalConnections, answers
from mograder.sessions.connections import connections as count_pages
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.launch_spec import Allowances, Spawner
from mograder.sessions.manager import SessionManager
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.allowlist import Allowlist
from mograder.store.filesystem.files import remove_tree
from mograder.store.hub.hub_state import CachedRevocations, HubState
from mograder.store.releases.releases import Limits, Releases
from mograder.store.versions.kept_releases import KeptReleases
from mograder.store.versions.versions import Versions

_AGAIN_SECONDS = 5.0
_log = get_logger(__name__)


@asynccontextmanager
async def open_services(
    loaded: LoadedSettings, environ: Environ, *, secret: str, dev: bool, wait: Standby = nullcontext
) -> AsyncIterator[Services]:
    """Open all services, and close them in reverse order at the end.

    Wait inside ``wait()`` for another hub. Raises: SandboxUnavailable, and as :func:`begin_work`.
    """
    async with AsyncExitStack() as stack:
        clock, sandbox = SystemClock(), HubSandbox(loaded, environ, dev=dev)
        work, supervisor = await _begin_work(loaded, environ, sandbox, wait, stack)
        state, policy = work.state, _policy(loaded, secret, sandboxed=sandbox.confines, dev=dev)
        releases, workspaces, recorder = _open_stores(loaded, state, clock)
        opening = _hosting(loaded, state, clock, supervisor, work.epoch)
        hosting = await stack.enter_async_context(opening)
        environments = _environments(loaded, supervisor, hosting.machines, stack)
        spawner = _spawner(loaded, releases, workspaces, environments, state, recorder)
        pool = await _open_pool(hosting, clock, spawner, state, stack)
        run = pool.admission.run
        grading = partial(open_grading, loaded, hosting, environments, run, releases, state, clock)
        revocations, capabilities = CachedRevocations(state, clock), Capabilities(state, clock)
        await stack.enter_async_context(upkeep(loaded, releases, environments, state))
        await asyncio.to_thread(capabilities.load)
        capabilities.end_with(pool.all())
        yield Services(
            loaded=loaded,
            clock=clock,
            secret=secret,
            authenticator=Authenticator(policy, revocations, clock),
            policy=policy,
            roster=Allowlist(loaded.course_dir / "allowed_users.txt"),
            releases=releases,
            workspaces=workspaces,
            recorder=recorder,
            state=state,
            revocations=revocations,
            environments=environments,
            pool=pool,
            capabilities=capabilities,
            allowances=Allowances(releases, loaded.settings.items),
            validations=await _validations(loaded, hosting, stack),
            grading=await asyncio.to_thread(grading),
            sandboxed=sandbox.confines,
            dev=dev,
            oidc_secret=_text(environ.oidc_secret),
            mail_password=_text(environ.mail_password),
            attended=hosting.machines.answers,
            connections=hosting.connections,
            at_work=work.confirmed,
            nodes=hosting.nodes,
        )


async def _begin_work(
    loaded: LoadedSettings,
    environ: Environ,
    sandbox: HubSandbox,
    wait: Standby,
    stack: AsyncExitStack,
) -> tuple[HubAtWork, SupervisorClient]:
    preparation = Preparation(loaded, sandbox)
    try:
        work = await begin_work(loaded, environ, wait, preparation, stack)
    finally:
        await preparation.close()
        # Ended before the lock is free: by then the next hub may use the supervisor.
        stack.push_async_callback(sandbox.close)
    return work, await sandbox.at_work(work.epoch)


def _spawner(
    loaded: LoadedSettings,
    releases: Releases,
    workspaces: Workspaces,
    environments: Environments,
    state: HubState,
    recorder: CopyRecorder,
) -> Spawner:
    limits, items = limits_of(loaded.settings.limits), loaded.settings.items
    assets = asset_url_of(loaded.settings.hub)
    spawner = Spawner(releases, workspaces, environments, state, limits, items, asset_url=assets)
    spawner.recorder = recorder
    return spawner


def _open_stores(
    loaded: LoadedSettings, state: HubState, clock: Clock
) -> tuple[Releases, Workspaces, CopyRecorder]:
    hub, limits = loaded.settings.hub, loaded.settings.limits
    refuse_squashed_root(loaded.path(hub.release_dir), loaded.path(hub.notebooks_dir))
    bounds = Limits(limits.upload_files, limits.upload_mb)
    releases = Releases(loaded.path(hub.release_dir), limits=bounds, clock=clock)
    workspaces = Workspaces(loaded.path(hub.notebooks_dir))
    versions, kept = Versions(state.engine), KeptReleases(state.engine)
    return releases, workspaces, CopyRecorder(versions, kept, workspaces, releases, clock)


def _environments(
    loaded: LoadedSettings,
    supervisor: SupervisorClient,
    machines: Machines,
    stack: AsyncExitStack,
) -> Environments:
    environments = Environments(
        loaded.path(loaded.settings.hub.environments_dir),
        supervisor,
        wheel=build_runtime_wheel(loaded.state_dir / "wheels"),
        marimo=metadata.version("marimo"),
        timeout=loaded.settings.limits.build_timeout,
        on_ready=machines.warm_later,
        locks=shared_locks(loaded, writes=True),
    )
    stack.push_async_callback(environments.close)
    return environments


async def _validations(
    loaded: LoadedSettings, hosting: Hosting, stack: AsyncExitStack
) -> Validations:
    copies = hosting.runs / "copies"
    await asyncio.to_thread(remove_tree, copies)  # left by a hub that was killed
    jobs = loaded.settings.defaults.jobs
    runner = SandboxedRunner(hosting.machines, copies, remove_tree, at_once=jobs)
    validations = Validations(runner.execute)
    stack.push_async_callback(validations.close)
    return validations


async def _open_pool(
    hosting: Hosting,
    clock: Clock,
    spawner: Spawner,
    state: HubState,
    stack: AsyncExitStack,
) -> SessionManager:
    pool = SessionManager(
        launcher=hosting.machines,
        spawner=spawner,
        rows=state,
        clock=clock,
        probe=partial(answers, via=hosting.connections),
        limits=hosting.limits,
        census=partial(count_pages, via=hosting.connections),
        is_dead=hosting.connections.is_dead,
    )
    if hosting.nodes is not None:
        pool.culler.moving = hosting.nodes.drained
        pool.culler.reached = hosting.nodes.reached
        hosting.nodes.registry.expected = pool.admission.expected
    pool.after_end = spawner.ended
    await pool.open()
    stack.push_async_callback(pool.close)
    return pool


def _policy(loaded: LoadedSettings, secret: str, *, sandboxed: bool, dev: bool) -> AuthPolicy:
    hub = loaded.settings.hub
    return AuthPolicy(
        secret=secret,
        trusted_header=hub.trusted_header,
        trusted=trusted_peers(hub.trusted_proxies, sandboxed=sandboxed),
        dev=dev,
        instructors=frozenset(hub.instructors),
        markers=frozenset(loaded.settings.marking.markers),
    )


async def _prune(loaded: LoadedSettings, state: HubState) -> None:
    """Remove unused environments; with nodes, pages load the files of their sessions' from here."""
    hub = loaded.settings.hub
    needed = await needed_here(loaded)
    if needed is None:
        return
    root, keep = loaded.path(hub.environments_dir), hub.unused_environments_mb << 20
    rows = await asyncio.to_thread(state.sessions)
    needed |= {row.environment for row in rows}
    pruned = await asyncio.to_thread(prune_environments, root, needed, keep=keep)
    if pruned.removed:
        _log.info("removed %d unused environments", len(pruned.removed))


@asynccontextmanager
async def upkeep(
    loaded: LoadedSettings,
    releases: Releases,
    environments: Environments,
    state: HubState,
    *,
    again_seconds: float = _AGAIN_SECONDS,
) -> AsyncIterator[None]:
    """Prepare every published item's environment before students need it (B96).

    After each build remove unused environments that exceed the size limit. After a failure of
    either both begin again.
    """

    async def keep_up() -> None:
        await warm_releases(releases, environments.prepare, lambda _: None)
        while True:
            await environments.next_build()
            await _prune(loaded, state)

    task = asyncio.create_task(repeat("environments", keep_up, again_seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


@asynccontextmanager
async def _hosting(
    loaded: LoadedSettings,
    state: HubState,
    clock: Clock,
    supervisor: SupervisorClient,
    epoch: int,
) -> AsyncIterator[Hosting]:
    """Yield what runs the sessions; nodes are let in during the block, if it has some."""
    if not loaded.settings.nodes.enabled:
        await nodes_ended(state)
        limits = capacity_limits(loaded.settings.hub.session_ttl, loaded.settings.limits)
        yield Hosting(supervisor, limits, LocalConnections(), loaded.state_dir)
        return
    # Nodes are imported only where there are some.
    from mograder.hub.nodes import open_nodes  # noqa: PLC0415

    async with open_nodes(loaded, state, clock, supervisor, epoch) as hosting:
        yield hosting
