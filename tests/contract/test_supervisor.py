"""The supervisor as a process: who may speak to it, what outlives it, what it ends and how.

architecture.md, "A supervisor owns the sessions"; security.md, "The sandbox".
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from mograder.core.errors import Conflict, NotFound, RemoteFailed, SandboxUnavailable
from mograder.sandbox.client import SupervisorClient, connect, connect_or_spawn, connect_to
from mograder.sandbox.host import SupervisorConfig
from mograder.sandbox.link import SupervisorLink
from mograder.sandbox.protocol import PROTOCOL, Call, Done, RunCommand, encode
from tests.contract.sandbox_rig import (
    PATIENCE,
    UID_BASE,
    Sessions,
    make_config,
    short_directory,
    supervised,
    supervisor_process,
    until,
    until_gone,
)

IS_ROOT = os.geteuid() == 0
HOST_NETWORK = str(Path("/proc/self/ns/net").readlink())
SLEEPER = "touch up; exec sleep 600"
SESSION_LOG_BYTES = 16_384


@pytest.fixture
def runtime() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@pytest.fixture
def config(runtime: Path, tmp_path: Path) -> SupervisorConfig:
    return make_config(runtime, tmp_path)


@pytest.fixture
async def client(config: SupervisorConfig) -> AsyncIterator[SupervisorClient]:
    async with supervised(config) as client:
        yield client


@pytest.fixture
def sessions(client: SupervisorClient, tmp_path: Path) -> Sessions:
    return Sessions(client, tmp_path)


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    directory = tmp_path / "workshop"
    directory.mkdir()
    return directory


def shell(workshop: Path, script: str, *, timeout: float = PATIENCE) -> RunCommand:
    return RunCommand(argv=("/bin/sh", "-c", script), directory=workshop, timeout=timeout)


# --- who speaks to it -----------------------------------------------------------------------


async def test_it_says_who_it_is(client: SupervisorClient) -> None:
    hello = client.hello
    assert (hello.protocol, hello.sandbox, hello.owned) == (PROTOCOL, "bubblewrap", True)
    assert hello.version


async def test_a_hub_refuses_a_supervisor_of_another_protocol(runtime: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = Call.model_validate_json(await reader.readline())
        writer.write(encode(Done(id=call.id, protocol=PROTOCOL + 1, version="99")))
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(answer, runtime / "other.sock")
    async with server:
        with pytest.raises(SandboxUnavailable, match=r"mograder 99.*another release"):
            await connect(runtime / "other.sock")


async def test_nobody_at_the_socket_is_said_with_the_way_out(runtime: Path) -> None:
    with pytest.raises(RemoteFailed, match="mograder hub supervisor"):
        await connect(runtime / "nobody.sock")


async def test_the_hub_of_another_course_is_sent_away(
    client: SupervisorClient, config: SupervisorConfig, sessions: Sessions
) -> None:
    """It would take the sessions here for stray ones, and end them all."""
    await sessions.start("kept", SLEEPER)
    other = config.model_copy(update={"course": "another"})
    with pytest.raises(Conflict, match=r"another course.*runtime_dir"):
        await connect_or_spawn(other)
    assert len(await client.sessions()) == 1


async def test_a_second_supervisor_keeps_out_of_the_runtime_directory(
    client: SupervisorClient, config: SupervisorConfig, sessions: Sessions, runtime: Path
) -> None:
    """It would unlink the first one's sockets."""
    info = await sessions.start("kept", SLEEPER)
    elsewhere = config.model_copy(update={"socket": runtime / "second.sock"})
    with pytest.raises(SandboxUnavailable, match="Another session supervisor"):
        await connect_or_spawn(elsewhere)
    assert info.socket.is_socket()


async def test_a_runtime_directory_with_too_long_a_name_is_refused_in_words(
    runtime: Path, tmp_path: Path
) -> None:
    config = make_config(runtime / ("x" * 90), tmp_path)
    with pytest.raises(SandboxUnavailable, match=r"too long.*runtime_dir"):
        await connect_or_spawn(config)


async def test_a_runtime_directory_behind_a_link_is_refused(runtime: Path, tmp_path: Path) -> None:
    """Anyone may put a link into /tmp."""
    (runtime / "real").mkdir()
    (runtime / "link").symlink_to(runtime / "real")
    with pytest.raises(SandboxUnavailable, match="somebody else"):
        await connect_or_spawn(make_config(runtime / "link", tmp_path))


@pytest.mark.skipif(not IS_ROOT, reason="becomes another user")
async def test_another_user_gets_no_answer(client: SupervisorClient, runtime: Path) -> None:
    del client
    path = runtime / "supervisor.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)  # even then: the kernel tells who connects
    with socket.socket(socket.AF_UNIX) as stranger:
        os.seteuid(65534)
        try:
            stranger.connect(str(path))
        finally:
            os.seteuid(0)
        stranger.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                assert await loop.sock_recv(stranger, 100) == b""


async def test_nonsense_on_one_connection_harms_no_other(
    client: SupervisorClient, runtime: Path
) -> None:
    reader, writer = await asyncio.open_unix_connection(runtime / "supervisor.sock")
    writer.write(b'{"kind": "call", "id": "x"}\nno json at all\n')
    writer.write(b"x" * (2 << 20))  # longer than any message may be
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            assert await reader.read() == b""
    writer.close()
    assert await client.sessions() == ()


# --- hubs come and go -----------------------------------------------------------------------


async def test_sessions_survive_a_hub_that_is_killed(
    client: SupervisorClient, config: SupervisorConfig, sessions: Sessions
) -> None:
    info = await sessions.start("kept", SLEEPER)
    await client.close()  # as the kernel does for a killed hub
    following = await connect_to(config)
    assert await following.sessions() == (info,)
    assert len(_inside(client)) >= 1
    await following.shutdown()
    await following.close()
    await client.reap()


async def test_one_of_a_hubs_own_ends_itself_when_no_hub_comes_back(
    runtime: Path, tmp_path: Path
) -> None:
    client = await connect_or_spawn(make_config(runtime, tmp_path, linger=0.2))
    sessions = Sessions(client, tmp_path)
    await sessions.start("left", SLEEPER)
    family = _family(client)
    await client.close()
    await until_gone(family)
    await client.reap()
    assert _leftovers(runtime) == []


async def test_one_that_a_service_manager_keeps_stays_without_a_hub(
    runtime: Path, tmp_path: Path
) -> None:
    client = await connect_or_spawn(make_config(runtime, tmp_path, linger=0.05, owned=False))
    await client.close()
    await asyncio.sleep(0.3)  # longer than it would linger
    following = await connect(runtime / "supervisor.sock")
    assert not following.hello.owned
    await following.shutdown()
    await following.close()
    await client.reap()


async def test_shutdown_ends_all_and_leaves_nothing(
    client: SupervisorClient, sessions: Sessions, runtime: Path
) -> None:
    for name in ("one", "two"):
        await sessions.start(name, SLEEPER)
    family = _family(client)
    assert len(family) >= 5, "itself, and a monitor and a first process for each"
    await client.shutdown()
    await until_gone(family)
    assert _leftovers(runtime) == []
    assert _mounted_below(runtime) == []


async def test_sigterm_is_a_shutdown(
    client: SupervisorClient, sessions: Sessions, runtime: Path
) -> None:
    await sessions.start("one", SLEEPER)
    family = _family(client)
    family[0].terminate()
    await until_gone(family)
    assert _leftovers(runtime) == []


async def test_a_hub_that_reads_nothing_does_not_keep_it_from_ending(
    client: SupervisorClient, runtime: Path, workshop: Path
) -> None:
    _, deaf = await asyncio.open_unix_connection(runtime / "supervisor.sock")
    deaf.transport.pause_reading()  # type: ignore[attr-defined]
    flood = shell(workshop, "exec yes")
    deaf.write(encode(Call(id=1, operation=flood)))
    await until(lambda: "yes" in _names(client))
    family = _family(client)
    await client.shutdown()
    await until_gone(family)
    deaf.transport.abort()


async def test_killing_it_kills_every_sandbox_and_the_link_finds_a_new_one(
    config: SupervisorConfig, tmp_path: Path
) -> None:
    link = SupervisorLink(config)
    lost = asyncio.Event()
    link.watch(lambda _: None, lost.set)
    first = await link.open()
    request = Sessions(first, tmp_path).request("doomed", SLEEPER)
    link.watch(lambda _: None, lost.set)
    await link.start(request)
    await until((request.directory / "up").exists)
    family = _family(first)
    family[0].kill()
    async with asyncio.timeout(PATIENCE):
        await lost.wait()
    await until_gone(family)
    assert await link.sessions() == ()
    second = await link.open()
    assert supervisor_process(second).pid != family[0].pid
    await link.start(request)
    assert len(await link.sessions()) == 1
    await link.close()


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
    inside = _inside(client)
    assert len(inside) >= 6
    started = time.monotonic()
    assert await client.stop("session-deaf")
    assert time.monotonic() - started < 10
    await until_gone(inside)
    assert (await sessions.outcome("deaf")).status != 0
    assert await client.stop("session-deaf") is False


async def test_stop_lets_a_session_finish_what_it_writes(
    client: SupervisorClient, sessions: Sessions, tmp_path: Path
) -> None:
    """marimo saves in place: a notebook that is cut off is a lost notebook."""
    script = "trap 'echo saved > A1.py; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    await sessions.start("saving", script)
    await client.stop("session-saving")
    assert (tmp_path / "workspace-saving" / "A1.py").read_text() == "saved\n"


async def test_a_crash_is_told_once_with_the_last_output(sessions: Sessions) -> None:
    request = sessions.request("crashed", "echo first; echo the last words >&2; exit 3")
    info = await sessions.client.start(request)
    news = await sessions.outcome("crashed")
    assert news.status == 3
    assert news.log_tail == "first\nthe last words\n"
    assert not info.socket.exists()
    assert await sessions.client.sessions() == ()


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
        await until(lambda: "yes" not in _names(client))


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


async def test_a_session_writes_as_its_students_own_user(
    sessions: Sessions, tmp_path: Path
) -> None:
    for slot, name in ((1, "alice"), (2, "bob")):
        await sessions.start(name, SLEEPER, slot=slot)
    owners = [(tmp_path / f"workspace-{n}" / "up").stat().st_uid for n in ("alice", "bob")]
    expected = [UID_BASE + 1, UID_BASE + 2] if IS_ROOT else [os.geteuid()] * 2
    assert owners == expected


async def test_a_lecture_cannot_change_its_files(sessions: Sessions, tmp_path: Path) -> None:
    request = sessions.request("lecture", "touch up; echo more >> A1.py; exit 0", mode="run")
    await sessions.client.start(request)
    said = (await sessions.outcome("lecture")).log_tail
    assert "Read-only file system" in said
    place = tmp_path / "workspace-lecture"
    assert not (place / "up").exists()
    assert (place / "A1.py").read_text() == "# a notebook\n"


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
    running = asyncio.create_task(client.run(shell(workshop, script, timeout=0.5), said.append))
    await until(lambda: _names(client).count("sleep") == 2)
    inside = _inside(client)
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
    other = await connect_to(config)
    running = asyncio.create_task(other.run(shell(workshop, "exec sleep 606"), lambda _: None))
    await until(lambda: "sleep" in _names(client))
    inside = _inside(client)
    await other.close()
    with pytest.raises(RemoteFailed):
        await running
    await until_gone(inside)


async def test_a_build_without_a_directory_is_refused(
    client: SupervisorClient, tmp_path: Path
) -> None:
    with pytest.raises(NotFound):
        await client.run(shell(tmp_path / "nowhere", "true"), lambda _: None)


# --- without a sandbox ----------------------------------------------------------------------


async def test_unconfined_sessions_run_and_stop(runtime: Path, tmp_path: Path) -> None:
    """``[security] use_bubblewrap = false`` (B22): the same, without protection."""
    async with supervised(make_config(runtime, tmp_path, sandbox="none")) as client:
        assert client.hello.sandbox == "none"
        sessions = Sessions(client, tmp_path)
        await sessions.start("plain", "touch up; sleep 607 & sleep 608")
        await until(lambda: _names(client).count("sleep") == 2)
        inside = _inside(client)
        assert await client.stop("session-plain")
        await until_gone(inside)
        assert await client.sessions() == ()


async def test_unconfined_sessions_find_what_was_made_after_the_first_in_a_private_place(
    runtime: Path, tmp_path: Path
) -> None:
    """A course that only its owner may enter; students are other users when the hub is root."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    async with supervised(make_config(runtime, tmp_path, sandbox="none")) as client:
        sessions = Sessions(client, private)
        for slot, name in ((1, "alice"), (2, "bob")):
            await sessions.start(name, SLEEPER, slot=slot)
            workshop = private / f"workshop-{name}"
            workshop.mkdir()
            assert await client.run(shell(workshop, "echo made > here"), lambda _: None) == 0
            assert (workshop / "here").read_text() == "made\n"
        owners = {(private / f"workspace-{n}" / "up").stat().st_uid for n in ("alice", "bob")}
        assert owners == ({UID_BASE + 1, UID_BASE + 2} if IS_ROOT else {os.geteuid()})


async def test_a_hub_whose_sandbox_was_switched_on_leaves_nothing_unconfined(
    runtime: Path, tmp_path: Path
) -> None:
    loose = await connect_or_spawn(make_config(runtime, tmp_path, sandbox="none"))
    await Sessions(loose, tmp_path).start("loose", SLEEPER)
    family = _family(loose)
    async with supervised(make_config(runtime, tmp_path)) as confined:
        assert confined.hello.sandbox == "bubblewrap"
        await until_gone(family)
        assert await confined.sessions() == ()
    await loose.reap()
    await loose.close()


def _family(client: SupervisorClient) -> list[psutil.Process]:
    supervisor = supervisor_process(client)
    return [supervisor, *supervisor.children(recursive=True)]


def _inside(client: SupervisorClient) -> list[psutil.Process]:
    return _family(client)[1:]


def _names(client: SupervisorClient) -> list[str]:
    names = []
    for process in _inside(client):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(process.name())
    return names


def _mounts(pid: int) -> int:
    return len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())


def _leftovers(runtime: Path) -> list[str]:
    """What lies in the runtime directory beside what the next supervisor uses again."""
    expected = {"s", "lock", "etc", "etc-build", "scripts"}
    kept = [path.name for path in runtime.iterdir() if path.name not in expected]
    return sorted([*kept, *(path.name for path in (runtime / "s").iterdir())])


def _mounted_below(directory: Path) -> list[Path]:
    return [path for path in directory.glob("**") if path.is_mount()]
