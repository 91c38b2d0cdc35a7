"""What a session's code can do with the pipe of its check reports (security.md): write, no more."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from mograder.sandbox.client.connection import connect
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.protocol import Checked, News, Subscribe
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.supervisors import (
    Sessions,
    make_config,
    supervised,
    supervisor_process,
    until,
)

pytestmark = pytest.mark.full

LINE = '{"label": "Q1", "status": "success", "earned": 1.0, "total": 1.0}'
PIPE = """
fd=$(printf %s "$2" | sed 's/.*"checks": *\\([0-9]*\\).*/\\1/')
pipe=/proc/$$/fd/$fd
"""
"""Shell that finds the pipe as ``serve.py`` does."""


def reports(text: str = LINE) -> str:
    """Shell that reports a line from another process than marimo's, as the kernel is."""
    return f'{PIPE}\nexport pipe; sh -c \'printf "%s\\n" "$0" > $pipe\' {json_quoted(text)}\n'


def json_quoted(text: str) -> str:
    """A text between single quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


class Heard:
    """The reports that a client hears, by session."""

    def __init__(self, client: SupervisorClient) -> None:
        self.messages: list[Checked] = []
        client.watch(lambda _: None, lambda: None, self._hear)

    def _hear(self, news: News) -> None:
        if isinstance(news, Checked):
            self.messages.append(news)

    def lines(self, name: str) -> list[str]:
        """The lines of one session, in order."""
        found = [each for news in self.messages for each in news.sessions]
        return [
            line for each in found if each.session_id == f"session-{name}" for line in each.reports
        ]


async def test_a_session_reports_from_any_of_its_processes(
    client: SupervisorClient, sessions: Sessions
) -> None:
    heard = Heard(client)
    await sessions.start("a", f"{reports()} touch up; exec sleep 600")
    await until(lambda: bool(heard.lines("a")))
    assert heard.lines("a") == [LINE]


async def test_an_unconfined_session_reports_as_well(runtime: Path, tmp_path: Path) -> None:
    async with supervised(make_config(runtime, tmp_path, sandbox="none")) as client:
        sessions = Sessions(client, tmp_path)
        heard = Heard(client)
        await sessions.start("a", f"{reports()} touch up; exec sleep 600")
        await until(lambda: bool(heard.lines("a")))
        assert heard.lines("a") == [LINE]


async def test_a_lecture_has_no_pipe(client: SupervisorClient, sessions: Sessions) -> None:
    request = sessions.request("lecture", 'printf "%s" "$2"; exit 3', mode="run")
    await client.start(request)
    told = await sessions.outcome("lecture")
    assert "checks" not in json.loads(told.log_tail)


async def test_a_hub_of_an_earlier_release_hears_no_reports(
    client: SupervisorClient, sessions: Sessions, config: SupervisorConfig
) -> None:
    older = await connect(config.socket)
    news: list[News] = []
    older.watch(lambda _: None, lambda: None, news.append)
    await older.call(Subscribe())
    heard = Heard(client)
    await sessions.start("a", f"{reports()} touch up; exec sleep 600")
    await until(lambda: bool(heard.lines("a")) and bool(news))
    await older.call(Subscribe())  # what was sent to it before is heard before this answer
    assert not [each for each in news if isinstance(each, Checked)]
    await older.close()


async def test_code_cannot_read_the_pipe_or_make_more_of_it(
    client: SupervisorClient, sessions: Sessions, tmp_path: Path
) -> None:
    """The pipe's read end is the supervisor's; bytes that are written cannot be had back."""
    if os.geteuid() != 0:
        pytest.skip("a sandbox of this user owns the pipe, and may read what itself has written")
    heard = Heard(client)
    tries = "(dd if=$pipe bs=1 count=1 iflag=nonblock; chmod 777 $pipe) 2> said"
    await sessions.start("a", f"{reports()} {tries}; touch up; exec sleep 600")
    said = (tmp_path / "workspace-a" / "said").read_text()
    assert said.count("Permission denied") + said.count("not permitted") == 2, said
    await until(lambda: bool(heard.lines("a")))


async def test_a_flood_costs_nobody_else_anything(
    client: SupervisorClient, sessions: Sessions
) -> None:
    heard = Heard(client)
    loud = f"{PIPE} touch up; while :; do yes '{LINE}' > $pipe; done"
    garbage = f"{PIPE} touch up; while :; do cat /dev/urandom > $pipe; done"
    await sessions.start("loud", loud)
    await sessions.start("garbage", garbage)
    await until(lambda: len(heard.lines("loud")) >= 100)
    process = supervisor_process(client)
    before, memory = process.cpu_times(), process.memory_info().rss
    heard.messages.clear()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await sessions.start("quiet", f"{reports()} touch up; exec sleep 600")
    await until(lambda: bool(heard.lines("quiet")))
    await until(lambda: loop.time() - began > 5)
    seconds, after = loop.time() - began, process.cpu_times()
    assert len(heard.lines("loud")) <= 5 * seconds + 25
    assert after.user + after.system - before.user - before.system < 0.1 * seconds
    assert process.memory_info().rss - memory < 20 << 20
    assert len(heard.messages) <= 5 * seconds + 1
    assert len(await client.sessions()) == 3
    for name in ("loud", "garbage", "quiet"):
        await client.stop(f"session-{name}")


async def test_a_session_that_ends_leaves_no_pipe_behind(
    client: SupervisorClient, sessions: Sessions
) -> None:
    await sessions.start("first", f"{reports()} touch up; exec sleep 600")
    await client.stop("session-first")
    process = supervisor_process(client)
    await sessions.outcome("first")
    descriptors = process.num_fds()
    for n in range(5):
        await sessions.start(f"s{n}", f"{PIPE} touch up; yes > $pipe & exec sleep 600")
        await client.stop(f"session-s{n}")
        await sessions.outcome(f"s{n}")
    await until(lambda: process.num_fds() <= descriptors)
