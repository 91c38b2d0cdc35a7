"""A supervisor's sessions and builds: their end, limits and visible files (security.md)."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, NotFound, RemoteFailed, SandboxUnavailable
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.supervisors import (
    PATIENCE,
    Sessions,
    client_of,
    inside_of,
    make_config,
    names_inside,
    shell,
    supervised,
    supervisor_process,
    until,
    until_gone,
)

pytestmark = pytest.mark.full

IS_ROOT = os.geteuid() == 0
HOST_NETWORK = str(Path("/proc/self/ns/net").readlink())
SLEEPER = "touch up; exec sleep 600"
SESSION_LOG_BYTES = 16_384


# --- ending a session -----------------------------------------------------------------------


async def test_stop_ends_a_tree_that_hides_and_ignores_signals(
    client: SupervisorClient, sessions: Sessions
) -> None:
    """It double-forks into sessions of its own, ignores SIGTERM and holds its output open."""
    deaf = "trap '' TERM HUP INT; sleep 601 & wait; sleep 602"
    script = f"""trap '' TERM HUP INT
        (setsid sh -c "{deaf}" &) ; (setsid setsid sh -c "{deaf}" &)
        touch up; while :; do sleep 603; done"""
    await sessions.start("deaf", script)
    await until(lambda: len(inside_of(client)) >= 6)
    inside = inside_of(client)
    assert await client.stop("session-deaf")
    await until_gone(inside)
    assert (await sessions.outcome("deaf")).status != 0
    assert await client.stop("session-deaf") is False


async def test_a_supervisor_that_is_ending_starts_nothing(
    client: SupervisorClient, config: SupervisorConfig, sessions: Sessions, workshop: Path
) -> None:
    """It would be told as started, and be killed at once."""
    await sessions.start("deaf", "trap '' TERM; touch up; sleep 600")
    supervisor_process(client).terminate()
    await until(lambda: not config.socket.exists())
    with pytest.raises(SandboxUnavailable, match="is being stopped"):
        await client.start(sessions.request("late", SLEEPER))
    with pytest.raises(SandboxUnavailable, match="is being stopped"):
        await client.run(shell(workshop, "true"), lambda _: None)
    assert (await sessions.outcome("deaf")).reason == "lost"


async def test_stop_lets_a_session_finish_what_it_writes(
    client: SupervisorClient, sessions: Sessions, tmp_path: Path
) -> None:
    """marimo saves in place: a notebook that is cut off is a lost notebook."""
    script = "trap 'echo saved > A1.py; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    await sessions.start("saving", script)
    await client.stop("session-saving")
    assert (tmp_path / "workspace-saving" / "A1.py").read_text() == "saved\n"


async def test_a_session_that_floods_its_output_costs_nobody_else(
    client: SupervisorClient, sessions: Sessions
) -> None:
    await sessions.start("loud", "touch up; yes aaaaaaaaaaaaaaaaaaaaaaa & exec yes")
    before = supervisor_process(client).memory_info().rss
    for _ in range(20):
        async with asyncio.timeout(PATIENCE):
            assert len(await client.sessions()) == 1
    assert supervisor_process(client).memory_info().rss - before < 50 << 20
    await client.stop("session-loud")
    assert len((await sessions.outcome("loud")).log_tail) <= SESSION_LOG_BYTES


async def test_an_orphan_that_floods_the_output_does_not_hold_up_the_end(
    runtime: Path, tmp_path: Path
) -> None:
    """Unconfined there is no namespace that dies with the first process; its group must."""
    async with supervised(make_config(runtime, tmp_path, sandbox="none")) as client:
        sessions = Sessions(client, tmp_path)
        await client.start(sessions.request("orphan", "yes & exit 4"))
        assert (await sessions.outcome("orphan")).status == 4
        await until(lambda: "yes" not in names_inside(client))


async def test_what_cannot_start_leaves_no_socket(
    client: SupervisorClient, sessions: Sessions, runtime: Path, tmp_path: Path
) -> None:
    request = sessions.request("twice", SLEEPER)
    missing = request.model_copy(update={"notebook": "A2.py"})
    with pytest.raises(NotFound, match=r"A2\.py"):
        await client.start(missing)
    homeless = request.model_copy(update={"environment": tmp_path / "nowhere"})
    with pytest.raises(NotFound, match="environment"):
        await client.start(homeless)
    assert list((runtime / "s").iterdir()) == []
    await client.start(request)
    with pytest.raises(Conflict):
        await client.start(request)
    assert len(list((runtime / "s").iterdir())) == 1


async def test_no_other_user_of_the_machine_reaches_a_sessions_socket(
    client: SupervisorClient, sessions: Sessions, runtime: Path
) -> None:
    info = await client.start(sessions.request("alone", SLEEPER))
    assert stat.S_IMODE(info.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE((runtime / "s").stat().st_mode) == 0o700


async def test_failing_starts_leave_no_descriptor_and_no_mount(
    client: SupervisorClient, sessions: Sessions
) -> None:
    request = sessions.request("broken", SLEEPER)
    hidden = request.environment.rename(request.environment.with_name("moved"))
    request.environment.symlink_to(hidden)
    link = request.directory.rename(request.directory.with_name("moved-too"))
    request.directory.symlink_to(link)  # never bound: the student might have made it
    process = supervisor_process(client)
    descriptors = process.num_fds()
    mounts = _mounts(process.pid)
    for _ in range(5):
        with pytest.raises(SandboxUnavailable):
            await client.start(request)
    assert process.num_fds() == descriptors
    assert _mounts(process.pid) - mounts <= 8, "what all sandboxes share is bound once"


# --- what a session and a build may see -----------------------------------------------------


async def test_builds_have_the_network_and_sessions_have_none(
    client: SupervisorClient, sessions: Sessions, workshop: Path
) -> None:
    said: list[str] = []
    await client.run(shell(workshop, "readlink /proc/self/ns/net"), said.append)
    assert said == [HOST_NETWORK]
    await client.start(sessions.request("cut-off", "readlink /proc/self/ns/net"))
    assert (await sessions.outcome("cut-off")).log_tail.strip() != said[0]


async def test_neither_sees_the_environment_of_the_hub(
    runtime: Path, tmp_path: Path, workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_SECRET", "a-word-that-nobody-may-hear")
    async with supervised(make_config(runtime, tmp_path)) as client:
        supervisor = supervisor_process(client)
        assert set(supervisor.environ()) <= {"PATH", "LC_CTYPE"}
        said: list[str] = []
        await client.run(shell(workshop, "env"), said.append)
    assert "a-word-that-nobody-may-hear" not in "\n".join(said)


# --- builds ---------------------------------------------------------------------------------


async def test_a_build_reports_its_lines_and_its_status(
    client: SupervisorClient, workshop: Path
) -> None:
    said: list[str] = []
    script = "echo one; printf 'a\\377b\\n'; printf unfinished; echo x > made; exit 7"
    assert await client.run(shell(workshop, script), said.append) == 7
    assert said == ["one", "a�b", "unfinished"]
    assert (workshop / "made").exists()


async def test_a_build_that_runs_too_long_is_ended_with_all_its_processes(
    client: SupervisorClient, workshop: Path
) -> None:
    said: list[str] = []
    script = "trap '' TERM; setsid sleep 604 & sleep 605"
    running = asyncio.create_task(client.run(shell(workshop, script, timeout=5), said.append))
    await until(lambda: names_inside(client).count("sleep") == 2)
    inside = inside_of(client)
    assert await running == 124
    assert said == ["It took too long and was ended."]
    await until_gone(inside)


async def test_a_build_that_floods_its_output_is_bounded(
    client: SupervisorClient, workshop: Path
) -> None:
    said: list[str] = []
    process = supervisor_process(client)
    before = process.memory_info().rss
    script = "yes '' | head -c 30000000; yes | head -c 30000000 | tr -d '\\n'; echo; echo end"
    assert await client.run(shell(workshop, script), said.append) == 0
    assert said[-1] == "end"
    assert max(map(len, said)) <= 4000
    assert len(said) < 2_000_000
    assert process.memory_info().rss - before < 50 << 20


async def test_the_build_of_a_hub_that_hangs_up_is_ended(
    client: SupervisorClient, config: SupervisorConfig, workshop: Path
) -> None:
    other = client_of(config)
    running = asyncio.create_task(other.run(shell(workshop, "exec sleep 606"), lambda _: None))
    await until(lambda: "sleep" in names_inside(client))
    inside = inside_of(client)
    await other.close()
    with pytest.raises(RemoteFailed):
        await running
    await until_gone(inside)


async def test_a_build_without_a_directory_is_refused(
    client: SupervisorClient, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        await client.run(shell(tmp_path / "nowhere", "true"), lambda _: None)


def _mounts(pid: int) -> int:
    return len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
