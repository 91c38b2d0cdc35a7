"""Checks report from notebooks; code can write to the pipe and do no more (security.md)."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sessions.check_reports import CheckReport, report_of
from tests.support.check_news import Heard
from tests.support.launchers import address_of, make_spec, open_local
from tests.support.marimo import open_editor
from tests.support.notebooks import notebook
from tests.support.supervisors import (
    Sessions,
    make_config,
    real_config,
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


NOTEBOOK = notebook(
    """
    from mograder.runtime import Grader, check
    check("Q1: the mean", [(True, "fine"), (False, "not yet", 2)])
    return (Grader,)
    """,
    'Grader({"Q2": 5}).check("Q2", [(True, "fine")])',
    end="",
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_both_kinds_of_check_report_from_marimo(
    warm: bool, runtime: Path, tmp_path: Path, uv_cache: Path, run_directory: Path
) -> None:
    config = real_config(runtime, tmp_path, uv_cache)
    config = config.model_copy(update={"warm_environments": int(warm)})
    async with open_local(config, tmp_path) as local:
        environment = await local.environment(run_directory, "marimo", "mograder")
        heard = Heard(local.launcher)
        spec = make_spec("a", tmp_path, environment, notebook=NOTEBOOK)
        endpoint = (await local.launcher.start(spec)).endpoint
        async with open_editor(address_of(endpoint, spec)) as editor:
            await until(lambda: len(heard.lines("a")) == 2)
            assert {report_of(line) for line in heard.lines("a")} == {
                CheckReport("Q1: the mean", "partial", 1, 3),
                CheckReport("Q2", "success", 1, 1),
            }
            await editor.edit(1, 'Grader({"Q2": 5}).check("Q2", [(False, "not now")])')
            await until(lambda: len(heard.lines("a")) == 3)
        assert report_of(heard.lines("a")[-1]) == CheckReport("Q2", "danger", 0, 1)
        assert ("warm" in await local.starts()) is warm


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
