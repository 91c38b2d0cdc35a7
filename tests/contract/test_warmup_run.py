"""A warm-up run leaves nothing in a zygote that a session would find, or is not made.

``warmup_run.py`` restores the known state and reports any rest, so that the zygote starts
again without a warm-up run. In the environments' own pythons, on each marimo that sessions are
tested with, and on the oldest that warm starts support.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

import pytest

from mograder.notebook.pep723 import Script
from mograder.sandbox.inside import serve
from mograder.sandbox.protocol import Mode
from tests.support.launchers import (
    Local,
    address_of,
    make_spec,
    open_local,
    shown,
    soon_healthy,
    zygotes_of,
)
from tests.support.marimo import open_editor
from tests.support.supervisors import real_config, real_environments

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

OLDEST = "marimo==0.23.9"
SCRIPTS = Path(serve.__file__).parent
VERSIONS: tuple[str, ...] = ast.literal_eval(
    re.findall(r"^VERSIONS = (.+)", (SCRIPTS / "warmup_run.py").read_text(), re.MULTILINE)[0]
)
NOTEBOOK = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    6 * 7\n    return\n"

DRIVER = """
import functools, gc, json, logging, os, pathlib, sys, types
import atexit, asyncio, contextlib, contextvars, random, signal, tempfile, threading
scripts, act = sys.argv[1:]
sys.path.insert(0, scripts)
import warmup_run, zygote
sys.path.remove(scripts)
problem = zygote._import_all(tuple(zygote._MARIMO.split()), ())
assert problem == zygote._fork_kernels() == zygote._render() == ""
import marimo

LOGGERS = list(logging.root.manager.loggerDict)

def shape(value, depth=0):
    whole = types.ModuleType, types.FunctionType, type, logging.Handler, logging.Logger
    if isinstance(value, whole):
        return id(value)
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        return len(value), [id(each) for each in value]
    inside = getattr(value, "__dict__", None)
    if isinstance(inside, dict) and depth < 3:
        return {k: shape(v, depth + 1) for k, v in list(inside.items()) if k[:2] != "__"}
    return id(value)

def state():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("marimo", "uvicorn", "starlette", "asyncio", "tempfile"):
            for key, value in list(vars(module).items()):
                if key[:2] != "__":
                    found[f"{name}.{key}"] = shape(value)
    system = ("argv", "path", "stdin", "stdout", "stderr", "displayhook", "excepthook")
    found |= {f"sys.{name}": shape(getattr(sys, name)) for name in system}
    found["finders"] = [(id(f), id(vars(f).get("find_spec"))) for f in sys.meta_path]
    found |= {"environ": dict(os.environ), "cwd": os.getcwd(), "main": id(sys.modules["__main__"])}
    found["umask"] = os.umask(0o22), os.umask(0o22)
    found["signals"] = [str(signal.getsignal(n)) for n in signal.valid_signals()]
    found["wakeup"], found["timer"] = signal.set_wakeup_fd(-1), signal.getitimer(signal.ITIMER_REAL)
    found["threads"] = len(os.listdir("/proc/self/task"))
    found["fds"] = sorted(os.listdir("/proc/self/fd"))
    found["children"] = found_children()
    found["context"] = len(contextvars.copy_context())
    found["files"] = sorted(map(str, pathlib.Path(tempfile.gettempdir()).iterdir()))
    tempfile.tempdir = None
    levels = {n: logging.getLogger(n) for n in LOGGERS}
    found["logs"] = {n: (g.level, g.propagate, shape(g.handlers)) for n, g in levels.items()}
    return found

def found_children():
    found = []
    for task in pathlib.Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found += map(int, task.read_text().split())
    return found

def loops():
    gc.collect()
    alive = [o for o in gc.get_objects() if isinstance(o, asyncio.AbstractEventLoop)]
    return len(alive)

code = pathlib.Path(act).read_text()
if code:
    perform = warmup_run._visit
    async def visit(*args, **kwargs):
        await perform(*args, **kwargs)
        exec(code, {"marimo": marimo, **globals()})
    warmup_run._visit = visit
warmup_run._SECONDS = 300
zygote._close_log_files()
before = state()
problem = warmup_run.perform(zygote._close_log_files)
after = state()
changed = sorted(k for k in {*before, *after} if before.get(k) != after.get(k))
print("TOLD" + json.dumps({"problem": problem, "changed": changed, "loops": loops()}))
sys.stdout.flush()
for child in found_children():
    os.kill(child, signal.SIGKILL)
"""


@pytest.fixture
async def local(runtime: Path, tmp_path: Path, uv_cache: Path) -> AsyncIterator[Local]:
    config = real_config(runtime, tmp_path, uv_cache)
    config = config.model_copy(update={"warm_environments": 1})
    async with open_local(config, tmp_path) as local:
        yield local


async def _environment(local: Local, run_directory: Path, marimo: str) -> Path:
    source = real_environments(run_directory / "environments", local.launcher, local.place)
    script = Script(dependencies=(marimo, "matplotlib"))
    return (await source.prepare(script, lambda _: None)).directory


@pytest.fixture
async def newest(local: Local, run_directory: Path) -> Path:
    return await _environment(local, run_directory, "marimo")


async def _warmed_up(environment: Path, place: Path, act: str = "") -> dict[str, object]:
    """Do a warm-up run in an environment's own python while ``act`` runs; return its report."""
    home = place / "home"
    (home / "tmp").mkdir(parents=True)
    (place / "driver.py").write_text(DRIVER)
    (place / "act.py").write_text(act)
    process = await asyncio.create_subprocess_exec(
        environment / "env" / "bin" / "python",
        place / "driver.py",
        SCRIPTS,
        place / "act.py",
        stdout=asyncio.subprocess.PIPE,
        env={"HOME": str(home), "TMPDIR": str(home / "tmp"), "PATH": "/usr/bin:/bin"},
        cwd=home,
    )
    said = (await process.communicate())[0].decode()
    assert process.returncode == 0
    assert "NEVER" not in said
    (told,) = [line[4:] for line in said.splitlines() if line.startswith("TOLD")]
    found: dict[str, object] = json.loads(told)
    return found


def test_the_marimo_of_this_package_is_warmed_up() -> None:
    assert metadata.version("marimo") in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
async def test_everything_is_as_it_was_before_it(
    local: Local, run_directory: Path, tmp_path: Path, version: str
) -> None:
    """marimo's variables, loops, files, descriptors, signals, settings and log files."""
    environment = await _environment(local, run_directory, f"marimo=={version}")
    told = await _warmed_up(environment, tmp_path)
    assert told == {"problem": "", "changed": [], "loops": 0}


CHANGES = """
import asyncio, atexit, logging, os, signal, sys
import marimo._loggers, marimo._server.ai.tools.tool_manager as tools
os.environ["SEEN"] = "yes"
os.chdir("/")
tools._TOOL_MANAGER = object()
marimo._loggers._LOGGERS["other"] = logging.getLogger("marimo")
signal.signal(signal.SIGTERM, lambda *_: None)
atexit.register(print, "NEVER")
sys.path.insert(0, "/other")
sys.argv.append("other")
sys.excepthook = sys.displayhook = print
asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
logging.getLogger("marimo").setLevel(1)
"""


async def test_what_it_changes_is_put_back(newest: Path, tmp_path: Path) -> None:
    told = await _warmed_up(newest, tmp_path, CHANGES)
    assert (told["problem"], told["changed"]) == ("", [])


ENDING = """
listed = pathlib.Path.glob
pathlib.Path.glob = lambda path, pattern: [*listed(path, pattern), path / "0" / "children"]
"""


async def test_a_thread_that_ends_while_it_is_looked_at_is_no_problem(
    newest: Path, tmp_path: Path
) -> None:
    told = await _warmed_up(newest, tmp_path, ENDING)
    assert (told["problem"], told["changed"]) == ("", [])


LEAVES = """
import os, signal, subprocess, sys, threading, time, types
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
os.dup(0)
nothing = subprocess.DEVNULL
marimo.kept = subprocess.Popen(["sleep", "60"], stdin=nothing, stdout=nothing)
os.umask(0o77)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
sys.modules["marimo.new"] = types.ModuleType("marimo.new")
"""
KINDS = ("threads", "descriptors", "children", "umask", "blocked", "modules")


async def test_what_cannot_be_put_back_is_told(newest: Path, tmp_path: Path) -> None:
    told = await _warmed_up(newest, tmp_path, LEAVES)
    said = str(told["problem"])
    assert [kind for kind in KINDS if f"{kind}: " not in said] == [], said


HANGS = "import warmup_run, time; warmup_run.signal.setitimer(0, 0.01, 1); time.sleep(60)"


@pytest.mark.parametrize(
    ("act", "reason"), [("raise RuntimeError('another marimo')", "another marimo"), (HANGS, "more")]
)
async def test_one_that_fails_or_hangs_says_why(
    newest: Path, tmp_path: Path, act: str, reason: str
) -> None:
    told = await _warmed_up(newest, tmp_path, act)
    assert reason in str(told["problem"])


def _seen_of(pid: int) -> tuple[list[str], set[str]]:
    """Return a process's open files, and the names in its temporary directory."""
    process = Path(f"/proc/{pid}")
    held = [str(each.readlink()) for each in (process / "fd").iterdir()]
    return held, {each.name for each in (process / "root" / "tmp").iterdir()}


async def test_a_session_after_a_warmup_run_is_no_other_than_the_first(
    local: Local, newest: Path
) -> None:
    """The zygote in its zygote group has one thread, no child, no file of marimo's, and no
    loop's."""
    await local.warm(newest)
    (zygote_process,) = await zygotes_of(local)
    assert zygote_process.num_threads() == 1
    assert zygote_process.children() == []
    held, files = _seen_of(zygote_process.pid)
    assert not any("eventpoll" in name or "marimo" in name for name in held), held
    assert files <= {"cache"}
    spec = make_spec("alice", local.place, newest, mode=Mode.EDIT, notebook=NOTEBOOK)
    endpoint = (await local.launcher.start(spec)).endpoint
    async with open_editor(address_of(endpoint, spec)) as editor:
        assert "42" in await shown(editor)
    await local.launcher.stop(spec.session_id)
    assert await local.counts() == {"warm": 1}, "and no zygote without a warm-up run"


@pytest.mark.long
async def test_a_session_without_a_warmup_run_is_warm_and_counted(
    local: Local, run_directory: Path, runtime: Path
) -> None:
    """With a marimo whose warm-up run is not tested, a zygote only imports."""
    environment = await _environment(local, run_directory, OLDEST)
    await local.warm(environment)
    spec = make_spec("alice", local.place, environment, notebook=NOTEBOOK)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    await local.launcher.stop(spec.session_id)
    assert await local.counts() == {"warm": 1, "no_warmup": 1}
    log = (local.place / ".mograder" / "supervisor.log").read_text()
    assert "did no warm-up run: marimo 0.23.9 is not one of " in log
