"""A client keeps one connection, makes it again when it broke, and repeats only what it may."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.sandbox.client.supervisor_client import ConnectionLost, SupervisorClient
from mograder.sandbox.protocol import (
    CALL,
    Done,
    Hello,
    ListSessions,
    Operation,
    RunCommand,
    Subscribe,
    encode,
)
from tests.support.supervisors import client_of, make_config, short_directory

COMMAND = RunCommand(argv=("true",), directory=Path("/"), timeout=1)


class Supervisor:
    """Answers what it is asked; ``breaks`` is how many calls still cost the connection."""

    def __init__(self) -> None:
        self.connections = 0
        self.asked: list[Operation] = []
        self.breaks = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.closing(writer):
            while line := await reader.readline():
                call = CALL.validate_json(line)
                if self._breaks_at(call.operation):
                    return
                writer.write(encode(Done(id=call.id, version="0.1", status=3)))

    def _breaks_at(self, operation: Operation) -> bool:
        if isinstance(operation, Hello | Subscribe):
            return False
        self.asked.append(operation)
        self.breaks -= 1
        return self.breaks >= 0


@pytest.fixture
async def supervisor() -> Supervisor:
    return Supervisor()


@pytest.fixture
async def client(supervisor: Supervisor, tmp_path: Path) -> AsyncIterator[SupervisorClient]:
    with short_directory() as runtime:
        config = make_config(runtime, tmp_path)
        async with await asyncio.start_unix_server(supervisor.converse, config.socket):
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


async def test_what_does_no_harm_twice_is_asked_again_on_a_new_connection(
    client: SupervisorClient, supervisor: Supervisor
) -> None:
    lost = asyncio.Event()
    client.watch(lambda _: None, lost.set)
    supervisor.breaks = 2
    assert await client.sessions() == ()
    assert supervisor.asked == [ListSessions()] * 3
    assert supervisor.connections == 3
    assert lost.is_set()


async def test_what_may_have_been_done_is_not_done_twice(
    client: SupervisorClient, supervisor: Supervisor
) -> None:
    supervisor.breaks = 1
    with pytest.raises(ConnectionLost, match="was lost"):
        await client.run(COMMAND, lambda _: None)
    assert supervisor.asked == [COMMAND]
    assert await client.run(COMMAND, lambda _: None) == 3


async def test_a_supervisor_that_is_nowhere_is_told_and_asked_for_again(tmp_path: Path) -> None:
    with short_directory() as runtime:
        config = make_config(runtime, tmp_path)
        client, supervisor = client_of(config), Supervisor()
        assert not await client.answers()
        async with await asyncio.start_unix_server(supervisor.converse, config.socket):
            assert await client.answers()
            await client.close()
