"""The supervisor as a process: access to its socket, its end, and the processes that it ends.

decision 3; security.md, "The sandbox".
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, RemoteFailed, SandboxUnavailable
from mograder.sandbox.client.supervisor_client import (
    SupervisorClient,
    connect,
    connect_or_spawn,
    reap,
)
from mograder.sandbox.environments.record import take
from mograder.sandbox.protocol import ANSWER, PROTOCOL, Call, Done, Execute, Failed, encode
from mograder.sandbox.supervisor.config import SESSIONS, SupervisorConfig
from tests.support.supervisors import (
    PATIENCE,
    UID_BASE,
    Sessions,
    break_off,
    client_of,
    family_of,
    inside_of,
    make_config,
    names_inside,
    shell,
    short_directory,
    supervised,
    supervisor_process,
    until,
    until_gone,
)

pytestmark = pytest.mark.full

IS_ROOT = os.geteuid() == 0
SLEEPER = "touch up; exec sleep 600"


# --- who speaks to it -----------------------------------------------------------------------


async def test_it_says_who_it_is(client: SupervisorClient) -> None:
    hello = await client.hello()
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


async def test_what_cleans_tmp_spares_the_runtime_directory(
    client: SupervisorClient, runtime: Path
) -> None:
    """systemd-tmpfiles(8): a directory with an exclusive lock is not aged."""
    assert await client.sessions() == ()
    directory = os.open(runtime, os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(directory)


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
    path.chmod(0o666)  # even then: the kernel reports the uid of a client
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


# --- hubs come and go -----------------------------------------------------------------------


async def test_sessions_survive_a_hub_that_is_killed(
    client: SupervisorClient, config: SupervisorConfig, sessions: Sessions
) -> None:
    info = await sessions.start("kept", SLEEPER)
    await break_off(client)
    following = client_of(config)
    assert await following.sessions() == (info,)
    assert len(inside_of(client)) >= 1
    await following.shutdown()
    await following.close()


async def test_the_environment_of_a_live_session_is_kept(
    client: SupervisorClient, sessions: Sessions
) -> None:
    """From a prune in another process."""
    info = await sessions.start("using", SLEEPER)
    environment = sessions.place / "environment-using"
    assert take(environment) is None
    await client.stop(info.session_id)
    taken = take(environment)
    assert taken is not None
    os.close(taken)


async def test_one_of_a_hubs_own_ends_itself_when_no_hub_comes_back_and_a_kept_one_stays(
    runtime: Path, tmp_path: Path
) -> None:
    """A service manager keeps it, which would end later than the hub's own."""
    with short_directory() as elsewhere:
        kept = make_config(elsewhere, elsewhere, linger=0.05, owned=False)
        connection, child = await connect_or_spawn(kept)
        await connection.close()
        client = SupervisorClient(make_config(runtime, tmp_path, linger=0.2))
        await Sessions(client, tmp_path).start("left", SLEEPER)
        family = family_of(client)
        await break_off(client)
        await until_gone(family)
        await client.shutdown()
        assert _leftovers(runtime) == []
        following = await connect(kept.socket)
        assert not following.hello.owned
        await following.shutdown()
        await following.close()
        await reap(child)


async def test_shutdown_ends_all_and_leaves_nothing(
    client: SupervisorClient, sessions: Sessions, runtime: Path
) -> None:
    for name in ("one", "two"):
        await sessions.start(name, SLEEPER)
    family = family_of(client)
    assert len(family) >= 5, "itself, and a monitor and a first process for each"
    await client.shutdown()
    await until_gone(family)
    assert _leftovers(runtime) == []
    assert _mounted_below(runtime) == []


async def test_sigterm_is_a_shutdown(
    client: SupervisorClient, sessions: Sessions, runtime: Path
) -> None:
    await sessions.start("one", SLEEPER)
    family = family_of(client)
    family[0].terminate()
    await until_gone(family)
    assert _leftovers(runtime) == []
    gone = await sessions.outcome("one")
    assert (gone.asked, gone.reason) == (False, "lost"), "no crash, of which students are told"


async def test_a_run_that_ends_with_it_has_no_result(
    client: SupervisorClient, sessions: Sessions
) -> None:
    """Else a validation would say that the notebook ended its own process."""
    request = sessions.request("run", SLEEPER)
    asked = {**request.model_dump(), "op": "execute", "seconds": 600}
    running = asyncio.create_task(client.execute(Execute.model_validate(asked), lambda _: None))
    await until((request.directory / "up").exists)
    supervisor_process(client).terminate()
    with pytest.raises(SandboxUnavailable, match="being stopped"):
        await running


async def test_a_hub_that_reads_nothing_does_not_keep_it_from_ending(
    client: SupervisorClient, runtime: Path, workshop: Path
) -> None:
    _, deaf = await asyncio.open_unix_connection(runtime / "supervisor.sock")
    deaf.transport.pause_reading()  # type: ignore[attr-defined]
    flood = shell(workshop, "exec yes")
    deaf.write(encode(Call(id=1, operation=flood)))
    await until(lambda: "yes" in names_inside(client))
    family = family_of(client)
    await client.shutdown()
    await until_gone(family)
    deaf.transport.abort()


async def test_killing_it_kills_every_sandbox_and_the_client_finds_a_new_one(
    config: SupervisorConfig, tmp_path: Path
) -> None:
    client = SupervisorClient(config)
    lost = asyncio.Event()
    request = Sessions(client, tmp_path).request("doomed", SLEEPER)
    client.watch(lambda _: None, lost.set)
    await client.start(request)
    await until((request.directory / "up").exists)
    family = family_of(client)
    family[0].kill()
    async with asyncio.timeout(PATIENCE):
        await lost.wait()
    await until_gone(family)
    assert await client.sessions() == ()
    assert supervisor_process(client).pid != family[0].pid
    await client.start(request)
    assert len(await client.sessions()) == 1
    await client.close()
    assert _leftovers(config.runtime) == []


async def test_a_session_cannot_hold_the_locks_of_uvs_cache(
    config: SupervisorConfig, sessions: Sessions
) -> None:
    """Builds would wait for them; to read the files would be enough."""
    for name in (".lock", "sdists-v10/index/.lock", "wheels-v7/url/a.lock", "archive-v0/a/a.py"):
        (config.uv_cache / name).parent.mkdir(parents=True, exist_ok=True)
        (config.uv_cache / name).touch()
    look = f"find /opt/mograder/uv-cache -type f > seen; {SLEEPER}"
    await sessions.start("looking", look)
    seen = (sessions.place / "workspace-looking/seen").read_text()
    assert seen == "/opt/mograder/uv-cache/archive-v0/a/a.py\n"


async def test_one_that_nobody_waits_for_any_more_is_not_left_behind(
    config: SupervisorConfig,
) -> None:
    """A hub that is stopped while it starts a supervisor ends that one too."""
    client = SupervisorClient(config)
    asking = asyncio.create_task(client.open())
    await until((config.runtime / SESSIONS).exists)
    asking.cancel()
    await client.close()
    assert _leftovers(config.runtime) == []
    held = os.open(config.runtime, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where one is at work
    os.close(held)


async def test_a_call_that_cannot_be_read_is_answered_with_an_error(
    client: SupervisorClient, config: SupervisorConfig
) -> None:
    """A hub of another release would wait for half a minute else, and tell nobody why."""
    reader, writer = await asyncio.open_unix_connection(config.socket)
    for call, number in (
        (b'{"id": 7, "operation": {"op": "dance"}}\n', 7),
        (b"no json at all\n", 0),
    ):
        writer.write(call)
        answer = ANSWER.validate_json(await asyncio.wait_for(reader.readline(), PATIENCE))
        assert isinstance(answer, Failed)
        assert (answer.id, answer.family) == (number, "RemoteFailed")
        assert "cannot read this request" in answer.message
    writer.write(b"x" * (2 << 20))  # longer than any message may be
    async with asyncio.timeout(PATIENCE):
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            assert await reader.read() == b""
    writer.close()
    assert await client.sessions() == (), "and the supervisor goes on"


# --- without a sandbox ----------------------------------------------------------------------


async def test_unconfined_sessions_run_and_stop(runtime: Path, tmp_path: Path) -> None:
    """``[security] use_bubblewrap = false`` (B22): the same, without protection."""
    async with supervised(make_config(runtime, tmp_path, sandbox="none")) as client:
        assert (await client.hello()).sandbox == "none"
        sessions = Sessions(client, tmp_path)
        await sessions.start("plain", "touch up; sleep 607 & sleep 608")
        await until(lambda: names_inside(client).count("sleep") == 2)
        inside = inside_of(client)
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
    loose = SupervisorClient(make_config(runtime, tmp_path, sandbox="none"))
    await Sessions(loose, tmp_path).start("loose", SLEEPER)
    family = family_of(loose)
    async with supervised(make_config(runtime, tmp_path)) as confined:
        assert (await confined.hello()).sandbox == "bubblewrap"
        await until_gone(family)
        assert await confined.sessions() == ()
    await loose.shutdown()
    await loose.close()


def _leftovers(runtime: Path) -> list[str]:
    """Return the files of the runtime directory that the next supervisor does not reuse."""
    expected = {"s", "etc", "etc-build", "scripts"}
    kept = [path.name for path in runtime.iterdir() if path.name not in expected]
    return sorted([*kept, *(path.name for path in (runtime / "s").iterdir())])


def _mounted_below(directory: Path) -> list[Path]:
    return [path for path in directory.glob("**") if path.is_mount()]


async def test_a_hub_that_another_one_has_replaced_is_refused_and_disconnected(
    client: SupervisorClient, config: SupervisorConfig, sessions: Sessions
) -> None:
    alone = config.model_copy(update={"owned": False})
    earlier, later = SupervisorClient(alone, 7), SupervisorClient(alone, 8)
    lost = asyncio.Event()
    earlier.watch(lambda _: None, lost.set)
    await earlier.open()
    info = await sessions.start("kept", SLEEPER)
    await later.open()
    await asyncio.wait_for(lost.wait(), PATIENCE)
    with pytest.raises(Conflict, match="Another hub is at work"):
        await earlier.sessions()
    with pytest.raises(Conflict, match="Another hub is at work"):
        await earlier.stop(info.session_id)
    assert await later.sessions() == (info,)
    assert await client.sessions() == (info,), "a program that is no hub may ask"
    assert await later.stop(info.session_id)
    for each in (earlier, later):
        await each.close()


async def test_a_stop_that_follows_a_start_at_once_does_not_overtake_it(
    client: SupervisorClient, sessions: Sessions
) -> None:
    await client.open()
    request = sessions.request("at-once", SLEEPER)
    starting = asyncio.create_task(client.start(request))
    stopping = asyncio.create_task(client.stop(request.session_id))  # sent right after it
    await asyncio.gather(starting, stopping, return_exceptions=True)
    assert await stopping
    assert await client.sessions() == ()
