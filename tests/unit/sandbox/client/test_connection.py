"""A hub's connection to its supervisor, and the client that keeps one: what breaks and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from mograder.core.errors import RemoteFailed, SandboxUnavailable
from mograder.sandbox.client import supervisor_client as connection_module
from mograder.sandbox.client.supervisor_client import (
    Connection,
    ConnectionLost,
    SupervisorClient,
    connect,
    connect_or_spawn,
)
from mograder.sandbox.protocol import (
    ANSWER,
    CALL,
    Arrived,
    Call,
    CancelCall,
    Done,
    Ended,
    Execute,
    Hello,
    Limits,
    ListSessions,
    Measured,
    News,
    Operation,
    RunCommand,
    SessionUse,
    Subscribe,
    encode,
)
from tests.support.supervisors import PATIENCE, client_of, make_config, short_directory

ENDED = Ended(session_id="session-a", status=0, log_tail="")
ARRIVED = Arrived(session_id="session-a", warm=False)
USED = Measured(sessions=(SessionUse(session_id="session-a", memory=45, cpu=1, processes=3),))
RUN = Execute(
    session_id="session-a",
    directory=Path("/copy"),
    notebook="A1.py",
    environment=Path("/environment"),
    uid_slot=1,
    limits=Limits(processes=64, open_files=256, file_size_mb=64, tmp_mb=64, memory_mb=400),
    seconds=600,
)


class Supervisor:
    """Answers every greeting, and other calls if it ``obeys``; sends a test's messages.

    A subscriber is told :data:`USED`. It answers nothing while it ``hangs``.
    ``heard`` has the other calls, and ``breaks`` is how many of them still cost the connection.
    """

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None
        self.heard: asyncio.Queue[Call] = asyncio.Queue()
        self.obeys = False
        self.hangs = False
        self.greetings = 0
        self.breaks = 0
        self.connections = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.connections += 1
        with contextlib.closing(writer):
            while line := await reader.readline():
                call = CALL.validate_json(line)
                self.greetings += isinstance(call.operation, Hello)
                if self.hangs:
                    continue
                greets = isinstance(call.operation, Hello | Subscribe)
                if not greets:
                    self.heard.put_nowait(call)
                    self.breaks -= 1
                if not greets and self.breaks >= 0:
                    return
                if isinstance(call.operation, Subscribe):
                    writer.write(encode(USED))
                if greets or self.obeys:
                    writer.write(encode(Done(id=call.id, version="0.1", status=3)))

    def asked(self) -> list[Operation]:
        """Return what the calls asked for that were heard by now."""
        return [self.heard.get_nowait().operation for _ in range(self.heard.qsize())]

    def say(self, words: bytes) -> None:
        assert self._writer is not None
        self._writer.write(words)


class EventRecorder:
    def __init__(self) -> None:
        self.ends: asyncio.Queue[Ended] = asyncio.Queue()
        self.news: asyncio.Queue[News] = asyncio.Queue()
        self.lost = asyncio.Event()


@pytest.fixture
async def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
async def connection(supervisor: Supervisor) -> AsyncIterator[Connection]:
    with short_directory() as directory:
        path = directory / "s"
        async with await asyncio.start_unix_server(supervisor.converse, path):
            connection = await connect(path)
            yield connection
            await connection.close()


@pytest.fixture
def recorder(connection: Connection) -> EventRecorder:
    recorder = EventRecorder()
    connection.watch(recorder.ends.put_nowait, recorder.lost.set, recorder.news.put_nowait)
    return recorder


async def test_a_message_with_many_faults_is_logged_in_brief(
    connection: Connection,
    supervisor: Supervisor,
    recorder: EventRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = b",".join([b"5"] * 200_000)
    supervisor.say(b'{"kind": "done", "id": 1, "sessions": [' + wrong + b"]}\n")
    await asyncio.wait_for(recorder.lost.wait(), PATIENCE)
    assert 100 < len(caplog.text) < 1000


USE = {"session_id": "session-a", "memory": 1, "cpu": 1, "processes": 1}
NUMBERS = {"number": 1, "memory": 1, "used": 1, "processors": 1, "starts": 1}


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "measured", "sessions": [USE]},
        {"kind": "status", **NUMBERS, "sessions": ["session-a"]},
    ],
)
def test_a_list_without_end_makes_news_unreadable(message: dict[str, list[object]]) -> None:
    ANSWER.validate_json(json.dumps(message))
    message = {**message, "sessions": message["sessions"] * 10_001}
    with pytest.raises(ValidationError, match="at most 10000"):
        ANSWER.validate_json(json.dumps(message))


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_a_run_takes_a_time_that_results_and_pages_can_have(seconds: float) -> None:
    executed = {"status": 0, "log_tail": "", "seconds": 1.0}
    done = {"kind": "done", "id": 1, "executed": executed}
    ANSWER.validate_json(json.dumps(done))
    with pytest.raises(ValidationError, match="seconds"):
        ANSWER.validate_json(json.dumps({**done, "executed": {**executed, "seconds": seconds}}))


@pytest.mark.parametrize("changed", [{"status": "0"}, {"status": 0.0}, {"timed_out": "no"}])
def test_a_value_of_another_type_makes_an_answer_unreadable(changed: dict[str, object]) -> None:
    executed = {"status": 0, "log_tail": "", "seconds": 1, **changed}
    with pytest.raises(ValidationError):
        ANSWER.validate_json(json.dumps({"kind": "done", "id": 1, "executed": executed}))


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    """A process in the place of a supervisor that this hub started."""
    with subprocess.Popen(("sleep", "60"), text=True) as process:
        yield process
        process.kill()


@pytest.mark.full
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN, errno.EACCES])
async def test_a_supervisor_that_cannot_be_reached_for_now_is_not_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, child: subprocess.Popen[str], number: int
) -> None:
    """Every session would end with it."""

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(asyncio, "open_unix_connection", refuse)
    monkeypatch.setattr(connection_module, "_END_SECONDS", 0.1)
    with short_directory() as runtime, pytest.raises(RemoteFailed, match="cannot be reached"):
        await connect_or_spawn(make_config(runtime, tmp_path), child)
    assert child.poll() is None


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"no json at all\n", id="no JSON"),
        pytest.param(b'{"kind": "ended", "session_id": 5}\n', id="a known kind, malformed"),
        pytest.param(b'{"kind": "sunspots", "id": 1}\n', id="an unknown kind"),
        pytest.param(b'{"kind": "measured", "overhead": "much"}\n', id="no number"),
        pytest.param(b'["kind"]\n', id="no object"),
        pytest.param(b"x" * (2 << 20), id="an endless line"),
    ],
)
async def test_an_unreadable_message_costs_the_connection_and_is_told_as_its_loss(
    connection: Connection, supervisor: Supervisor, recorder: EventRecorder, words: bytes
) -> None:
    asking = asyncio.create_task(connection.call(ListSessions()))
    await asyncio.sleep(0)
    supervisor.say(words + encode(ENDED))
    await asyncio.wait_for(recorder.lost.wait(), PATIENCE)
    assert recorder.ends.empty()
    with pytest.raises(ConnectionLost, match="was lost"):
        await asking
    assert not connection.alive
    with pytest.raises(ConnectionLost):
        await connection.call(ListSessions())


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ECONNRESET])
async def test_a_network_that_fails_is_told_as_the_loss_of_the_connection(
    connection: Connection, supervisor: Supervisor, recorder: EventRecorder, number: int
) -> None:
    asking = asyncio.create_task(connection.call(ListSessions()))
    await heard(supervisor)
    asked = asyncio.create_task(connection.call(ListSessions()))
    connection._writer.transport.get_protocol().connection_lost(OSError(number, "gone"))
    for each in (asking, asked):
        with pytest.raises(RemoteFailed):
            await each
    await asyncio.wait_for(recorder.lost.wait(), PATIENCE)
    await connection.wait_closed()
    assert connection._listening.exception() is None


async def test_an_exception_in_a_callback_costs_neither_the_connection_nor_the_next_message(
    connection: Connection,
    supervisor: Supervisor,
    recorder: EventRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object) -> None:
        raise KeyError("a bug in the bookkeeping")

    connection.watch(recorder.ends.put_nowait, recorder.lost.set, fail)
    supervisor.say(encode(ARRIVED) + encode(ENDED))
    assert await asyncio.wait_for(recorder.ends.get(), PATIENCE) == ENDED
    assert connection.alive
    assert "a bug in the bookkeeping" in caplog.text


@pytest.mark.full
async def test_a_supervisor_that_never_becomes_ready_is_ended_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(silent))
    monkeypatch.setattr(connection_module, "_SPAWN_SECONDS", 0.5)
    expected = pytest.raises(SandboxUnavailable, match="not ready after")
    before = psutil.Process().children()
    with short_directory() as runtime, expected:
        await connect_or_spawn(make_config(runtime, tmp_path))
    assert psutil.Process().children() == before


@pytest.mark.full
async def test_a_supervisor_that_was_started_for_nothing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: subprocess.Popen[str]
) -> None:
    monkeypatch.setattr(connection_module, "_spawn", lambda _: child)  # it never listens
    with short_directory() as runtime, pytest.raises(RemoteFailed):
        await connect_or_spawn(make_config(runtime, tmp_path))
    assert child.returncode == -signal.SIGTERM


async def heard(supervisor: Supervisor) -> Call:
    """Return the next call."""
    return await asyncio.wait_for(supervisor.heard.get(), PATIENCE)


async def test_a_run_that_is_no_longer_wanted_is_ended_before_its_call_returns(
    connection: Connection, supervisor: Supervisor
) -> None:
    """Its user id and its files are used again."""
    running = asyncio.create_task(connection.call(RUN))
    run = await heard(supervisor)
    running.cancel()
    end = await heard(supervisor)
    assert end.operation == CancelCall(call_id=run.id)
    assert not running.done()
    supervisor.say(encode(Done(id=end.id, stopped=True)))
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_run_without_an_answer_in_time_is_ended(
    connection: Connection, supervisor: Supervisor
) -> None:
    running = asyncio.create_task(connection.call(RUN, seconds=0.01))
    run, end = await heard(supervisor), await heard(supervisor)
    assert end.operation == CancelCall(call_id=run.id)
    supervisor.say(encode(Done(id=end.id, stopped=True)))
    with pytest.raises(RemoteFailed, match="does not answer"):
        await running


async def test_only_runs_are_cancelled(connection: Connection, supervisor: Supervisor) -> None:
    asking = asyncio.create_task(connection.call(ListSessions()))
    await heard(supervisor)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    again = asyncio.create_task(connection.call(ListSessions()))
    assert (await heard(supervisor)).operation == ListSessions(), "nothing was sent in between"
    again.cancel()
    await asyncio.wait({again})


# --- the client, which makes the connection again when it broke ------------------------------

COMMAND = RunCommand(argv=("true",), directory=Path("/"), timeout=1)


@pytest.fixture
async def client(supervisor: Supervisor, tmp_path: Path) -> AsyncIterator[SupervisorClient]:
    with short_directory() as runtime:
        config = make_config(runtime, tmp_path)
        async with await asyncio.start_unix_server(supervisor.converse, config.socket):
            supervisor.obeys = True
            client = client_of(config)
            yield client
            await client.close()


async def test_all_who_ask_at_once_share_one_connection(
    client: SupervisorClient, supervisor: Supervisor
) -> None:
    answers = await asyncio.gather(*(client.sessions() for _ in range(10)))
    assert answers == [()] * 10
    assert supervisor.connections == 1


async def test_a_caller_that_goes_away_leaves_the_connection_to_the_others(
    client: SupervisorClient, supervisor: Supervisor
) -> None:
    first, second = (asyncio.create_task(client.open()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).alive
    assert supervisor.connections == 1


async def test_a_close_that_is_cancelled_leaves_the_attempt_to_the_others(
    client: SupervisorClient,
) -> None:
    """A supervisor that was just started would else be left without an owner."""
    opening = asyncio.create_task(client.open())
    await asyncio.sleep(0)
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    closing.cancel()
    assert (await opening).alive


async def test_what_does_no_harm_twice_is_asked_again_on_a_new_connection(
    client: SupervisorClient, supervisor: Supervisor
) -> None:
    lost = asyncio.Event()
    client.watch(lambda _: None, lost.set)
    supervisor.breaks = 2
    assert await client.sessions() == ()
    assert supervisor.asked() == [ListSessions()] * 3
    assert supervisor.connections == 3
    assert lost.is_set()


async def test_the_use_that_was_told_before_the_hub_listened_is_told_with_the_sessions(
    client: SupervisorClient,
) -> None:
    """A hub proves the sandbox by the connection before it adopts the sessions."""
    await client.open()
    news: asyncio.Queue[News] = asyncio.Queue()
    client.watch(lambda _: None, lambda: None, news.put_nowait)
    await client.sessions()
    assert await asyncio.wait_for(news.get(), PATIENCE) == USED


async def test_what_may_have_been_done_is_not_done_twice(
    client: SupervisorClient, supervisor: Supervisor
) -> None:
    supervisor.breaks = 1
    with pytest.raises(ConnectionLost, match="was lost"):
        await client.run(COMMAND, lambda _: None)
    assert supervisor.asked() == [COMMAND]
    assert await client.run(COMMAND, lambda _: None) == 3


async def test_a_supervisor_that_hangs_does_not_answer_and_is_asked_once_for_all(
    client: SupervisorClient, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped, or waits in the kernel for a share; its connection is open."""
    assert await client.answers()
    supervisor.hangs, before = True, supervisor.greetings
    with monkeypatch.context() as patch:
        patch.setattr(connection_module, "_ASK_SECONDS", 0.5)
        answers = await asyncio.gather(*(client.answers() for _ in range(10)))
    assert answers == [False] * 10
    assert supervisor.greetings == before + 1
    supervisor.hangs = False
    assert await client.answers()
    assert supervisor.connections == 1


async def test_a_supervisor_that_is_nowhere_is_told_and_asked_for_again(tmp_path: Path) -> None:
    with short_directory() as runtime:
        config = make_config(runtime, tmp_path)
        client, supervisor = client_of(config), Supervisor()
        assert not await client.answers()
        async with await asyncio.start_unix_server(supervisor.converse, config.socket):
            assert await client.answers()
            await client.close()
