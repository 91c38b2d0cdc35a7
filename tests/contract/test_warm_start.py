"""Sessions forked from a zygote: marimo works in them as in any other, and nothing is shared.

sessions.md, "Warm starts"; on the newest marimo and on the oldest that warm starts are supported
for. Each test counts what started how: a cold start in disguise proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.record import RECORD
from mograder.sandbox.protocol import Mode
from tests.support.launchers import (
    Local,
    address_of,
    copy_of,
    make_spec,
    open_local,
    soon_healthy,
    zygotes_of,
)
from tests.support.marimo import MarimoClient, open_editor
from tests.support.notebooks import notebook
from tests.support.supervisors import (
    live_supervisor,
    names_below,
    real_config,
    real_environments,
    short_directory,
    until,
    until_gone,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]
LONG = pytest.mark.long
NEWEST_FIRST = pytest.mark.parametrize(
    "environment", ["newest", pytest.param("oldest", marks=LONG)], indirect=True
)
"""Tests that hardly depend on marimo's version; only long runs use the oldest."""

ENVIRONMENT = os.environ.get("MOGRADER_TEST_ENVIRONMENT", "")
OLDEST = "marimo==0.23.9"
"""The oldest marimo that warm starts are supported for; said in docs/explanation/sessions.md."""


@pytest.fixture
async def local(runtime: Path, tmp_path: Path, uv_cache: Path) -> AsyncIterator[Local]:
    config = real_config(runtime, tmp_path, uv_cache)
    config = config.model_copy(update={"warm_environments": 1})
    async with open_local(config, tmp_path) as local:
        yield local


@pytest.fixture(params=["newest", "oldest"])
async def environment(request: pytest.FixtureRequest, local: Local, run_directory: Path) -> Path:
    """One with matplotlib, warmed up."""
    if ENVIRONMENT:
        if request.param != "newest":
            pytest.skip("the environment given is the newest")
        path = Path(ENVIRONMENT)
    else:
        source = real_environments(run_directory / "environments", local.launcher, local.place)
        marimo = "marimo" if request.param == "newest" else OLDEST
        script = Script(dependencies=(marimo, "matplotlib"))
        path = (await source.prepare(script, lambda _: None)).directory
    await local.warm(path)
    return path


@asynccontextmanager
async def session(
    local: Local, environment: Path, name: str, notebook: str = "", mode: Mode = Mode.EDIT
) -> AsyncIterator[MarimoClient]:
    """A warm session with its first tab, stopped in the end."""
    spec = make_spec(name, local.place, environment, mode=mode, notebook=notebook)
    before = (await local.starts()).get("warm", 0)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    counts = await local.starts()
    assert counts == {**counts, "warm": before + 1}
    async with open_editor(address_of(endpoint, spec), run=mode is Mode.EDIT) as editor:
        yield editor
    assert await local.launcher.stop(spec.session_id)


SLIDER = notebook(
    """
    import marimo as mo
    slider = mo.ui.slider(1, 10)
    slider
    return (slider,)
    """,
    'f"chosen: {slider.value * 100}"',
    end="",
)
PLOT = """import marimo

app = marimo.App()


@app.cell
def _():
    import matplotlib.pyplot as plt
    plt.plot([1, 4, 9])
    {last}
    return
"""
EMPTY = SLIDER.partition("@app.cell")[0] + "@app.cell\ndef _():\n    1\n    return\n"


async def test_a_running_cell_is_interrupted(local: Local, environment: Path) -> None:
    async with session(local, environment, "alice", EMPTY) as editor:
        endless = "open('begun', 'w').close()\nimport time\ntime.sleep(600)"
        running = asyncio.create_task(editor.edit(0, endless))
        await until((local.place / "workspace-alice" / "begun").exists)
        await editor.post("/api/kernel/interrupt", {})
        await running
        assert "42" in (await editor.edit(0, "6 * 7")).data


@LONG
async def test_a_widget_tells_its_value(local: Local, environment: Path) -> None:
    async with session(local, environment, "alice", SLIDER) as editor:
        first, second = editor.cells.ids
        found = re.search(r"object-id='([^']+)'", editor.progress.outputs[first].data)
        assert found
        body = {"objectIds": [found[1]], "values": [7]}
        await editor.post("/api/kernel/set_ui_element_value", body)
        await editor.until(lambda: "chosen: 700" in editor.progress.outputs[second].data)


async def test_a_kernel_restarts_without_the_one_before(local: Local, environment: Path) -> None:
    spec = make_spec("alice", local.place, environment, notebook=EMPTY)
    endpoint = (await local.launcher.start(spec)).endpoint
    draw = "import numpy, os; kept = 1; (os.getpid(), float(numpy.random.random()))"
    async with open_editor(address_of(endpoint, spec)) as editor:
        before = (await editor.edit(0, draw)).data
        await editor.post("/api/kernel/restart_session", {})
    async with open_editor(address_of(endpoint, spec)) as editor:
        assert "gone" in (await editor.edit(0, "'here' if 'kept' in globals() else 'gone'")).data
        after = (await editor.edit(0, draw)).data
    assert _numbers(before).isdisjoint(_numbers(after)), "another process, other random numbers"
    await local.launcher.stop(spec.session_id)
    assert await local.starts() == {"warm": 1}


@pytest.mark.parametrize("last", ["plt.gca()", pytest.param("plt.show()", marks=LONG)])
@pytest.mark.parametrize("mode", [Mode.EDIT, pytest.param(Mode.RUN, marks=LONG)])
async def test_a_plot_is_shown(local: Local, environment: Path, mode: Mode, last: str) -> None:
    async with session(local, environment, "alice", PLOT.format(last=last), mode) as editor:
        seen = editor.progress
        cell = editor.cells.ids[0]
        await editor.until(lambda: "image/png" in repr((seen.outputs.get(cell), seen.console)))


@LONG
async def test_two_students_share_no_random_state(local: Local, environment: Path) -> None:
    draws = []
    for name in ("alice", "bob"):
        async with session(local, environment, name, EMPTY) as editor:
            code = "import random, numpy, uuid, tempfile\n"
            code += "(random.random(), float(numpy.random.random()), "
            code += "str(uuid.uuid4()), tempfile.mktemp())"
            draws.append((await editor.edit(0, code)).data)
    assert _numbers(draws[0]).isdisjoint(_numbers(draws[1]))


@LONG
async def test_the_student_sees_the_same_world_as_from_a_cold_start(
    local: Local, environment: Path, runtime: Path, tmp_path: Path, uv_cache: Path
) -> None:
    """The same mounts, variables, limits, module path, log handlers and signals.

    So do two students whose sessions are forked one after the other.
    """
    look = (
        "import logging, os, sys, resource, signal, threading, json\n"
        "mounts = sorted(l.split(' - ')[0].split(' ')[4] for l in open('/proc/self/mountinfo'))\n"
        "status = dict(l.strip().split(':\\t') for l in open('/proc/self/status') if ':\\t' in l)\n"
        "print('WORLD' + json.dumps([mounts, sorted(os.environ.items()), sys.path, sys.flags,\n"
        "  sys.executable, sys.prefix, os.getcwd(), os.umask(0o22), os.getgroups(),\n"
        "  [resource.getrlimit(n) for n in range(16)],\n"
        "  [status[n] for n in ('Uid', 'Gid', 'CapEff', 'CapPrm', 'CapInh', 'CapBnd', 'CapAmb',\n"
        "   'NoNewPrivs', 'Seccomp', 'SigIgn', 'SigBlk')],\n"
        "  sorted(os.listdir('/')), sorted(os.listdir('/dev')),\n"
        "  sorted(os.listdir(os.environ['HOME'])), sys.getrecursionlimit(),\n"
        "  sorted(map(type, logging.root.handlers), key=str), threading.active_count(),\n"
        "  [str(signal.getsignal(n)).split(' at ')[0] for n in sorted(signal.valid_signals())],\n"
        "  sorted(os.listdir('/tmp'))], default=str))\n"
    )
    seen = []
    for name in ("first", "second"):
        async with session(local, environment, name, EMPTY) as editor:
            seen.append(await _printed(editor, look))
    assert seen[0] == seen[1]
    with short_directory() as other:
        config = real_config(other, tmp_path, uv_cache)
        cold_config = config.model_copy(update={"warm_environments": 0})
        async with open_local(cold_config, tmp_path) as cold:
            spec = make_spec("cold", cold.place, environment, notebook=EMPTY)
            endpoint = (await cold.launcher.start(spec)).endpoint
            async with open_editor(address_of(endpoint, spec)) as editor:
                assert await _printed(editor, look) == seen[0]


@NEWEST_FIRST
async def test_threads_and_processes_work_inside(local: Local, environment: Path) -> None:
    code = (
        "import multiprocessing, os, signal, subprocess, threading, concurrent.futures as c\n"
        "t = threading.Thread(target=lambda: found.append(1)); found = []; t.start(); t.join()\n"
        "with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    found += pool.map(abs, [-2, -3])\n"
        "with c.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn')) as pool:\n"
        "    found += pool.map(abs, [-4, -5])\n"
        "found.append(int(subprocess.run(['echo', '6'], capture_output=True).stdout))\n"
        "child = os.fork() or os._exit(signal.getsignal(15) != signal.SIG_DFL)\n"
        "found.append(7 + os.waitpid(child, 0)[1])\n"
        "print('WORLD' + repr(found))"
    )
    async with session(local, environment, "alice", EMPTY) as editor:
        assert await _printed(editor, code) == "[1, 2, 3, 4, 5, 6, 7]"


@NEWEST_FIRST
async def test_a_killed_zygote_takes_no_session_along_and_is_replaced(
    local: Local, environment: Path
) -> None:
    """SIGKILL to a zygote."""
    async with session(local, environment, "alice", EMPTY) as alice:
        (zygote,) = await zygotes_of(local)
        zygote.kill()
        await until_gone([zygote])
        assert "42" in (await alice.edit(0, "6 * 7")).data
        await local.warm(environment)
        async with session(local, environment, "bob", EMPTY) as bob:
            assert "43" in (await bob.edit(0, "6 * 7 + 1")).data
        assert "44" in (await alice.edit(0, "6 * 7 + 2")).data
    assert await local.launcher.sessions() == ()


async def test_a_crash_inside_is_told_with_its_status(local: Local, environment: Path) -> None:
    local.launcher.watch(local.recorder.ended, local.recorder.lose)
    spec = make_spec("alice", local.place, environment, notebook=EMPTY)
    endpoint = (await local.launcher.start(spec)).endpoint
    async with open_editor(address_of(endpoint, spec)) as editor:
        with contextlib.suppress(Exception):
            await editor.edit(0, "import os, signal; os.kill(os.getppid(), signal.SIGKILL)")
    await local.recorder.wait_until(lambda: bool(local.recorder.exits))
    assert [(e.session_id, e.status) for e in local.recorder.exits] == [("session-alice", 137)]
    assert await local.launcher.sessions() == ()


@NEWEST_FIRST
async def test_many_at_once_are_all_warm_and_leave_nothing(local: Local, environment: Path) -> None:
    specs = [make_spec(f"s{n}", local.place, environment, notebook=EMPTY) for n in range(8)]
    launched = await asyncio.gather(*(local.launcher.start(spec) for spec in specs))
    for spec, one in zip(specs, launched, strict=True):
        await soon_healthy(one.endpoint, spec)
    assert await local.starts() == {"warm": 8}
    await asyncio.gather(*(local.launcher.stop(spec.session_id) for spec in specs))
    supervisor = await live_supervisor(local.launcher)
    # The namespace helper, the zygote group and its zygote.
    left = ["bwrap", "bwrap", "cat", "python", "python"]
    await until(lambda: names_below(supervisor) == left)


@LONG
async def test_a_replaced_environment_gets_a_zygote_of_its_own(
    local: Local, environment: Path, tmp_path: Path
) -> None:
    place = _copy_of(environment, tmp_path)
    await local.warm(place)
    (first,) = await zygotes_of(local)
    record = (place / RECORD).read_text()
    (place / RECORD).unlink()
    (place / RECORD).write_text(record)
    await local.warm(place)
    async with session(local, place, "alice", EMPTY) as alice:
        assert "42" in (await alice.edit(0, "6 * 7")).data
    await until_gone([first])


THREAD = (
    "import threading as t, time\nt.Thread(target=time.sleep, args=(9e3,), daemon=True).start()\n"
)


@LONG
async def test_a_package_that_starts_threads_is_left_to_the_sessions(
    local: Local, environment: Path, tmp_path: Path
) -> None:
    place = _copy_of(environment, tmp_path)
    (_packages(place) / "plotly.py").write_text(THREAD)
    await local.warm(place)
    async with session(local, place, "alice", EMPTY) as alice:
        said = (await alice.edit(0, "import sys; 'in' if 'plotly' in sys.modules else 'out'")).data
        assert "out" in said


@NEWEST_FIRST
async def test_a_killed_supervisor_takes_the_yard_along(local: Local, environment: Path) -> None:
    spec = make_spec("alice", local.place, environment, notebook=EMPTY)
    await soon_healthy((await local.launcher.start(spec)).endpoint, spec)
    supervisor = await live_supervisor(local.launcher)
    family = supervisor.children(recursive=True)
    assert len(family) >= 8, "a yard, its zygote, a sandbox and what is in it"
    supervisor.kill()
    await until(lambda: not list(filter(_lives, family)))
    assert await local.launcher.sessions() == (), "of the next supervisor"


def _lives(process: psutil.Process) -> bool:
    """Reap the orphans, which are children of this process by now."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return process.is_running()


def _copy_of(environment: Path, place: Path) -> Path:
    return copy_of(environment, place / "other-environment", linked=not ENVIRONMENT)


def _packages(environment: Path) -> Path:
    (packages,) = (environment / "env" / "lib").glob("python3*/site-packages")
    return packages


async def _printed(editor: MarimoClient, code: str) -> str:
    await editor.edit(0, code)
    return editor.progress.console[editor.cells.ids[0]].partition("WORLD")[2].partition("\n")[0]


def _numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+\.\d{4,}|\b\d{2,}\b|/tmp/\w+", text))
