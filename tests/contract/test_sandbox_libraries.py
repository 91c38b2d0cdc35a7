"""Scientific programs work inside the sandbox in spite of its restrictions.

The other half of the system-call filter's contract (security.md, "The sandbox"): numpy, pandas,
matplotlib, native threads and process pools work in a real session, started cold and forked from a
zygote, and each call that the filter is there for is refused by it.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import json
import platform
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mograder.notebook.pep723 import Script
from mograder.sandbox.isolation.seccomp import CHECKED, FORBIDDEN
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support import filter_probe, library_probe
from tests.support.launchers import Local, address_of, make_spec, open_local, soon_healthy
from tests.support.marimo import MarimoClient, open_editor
from tests.support.supervisors import real_config, real_environments

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

EMPTY = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    return\n"
PROCESSES, OPEN_FILES = 180, 333
"""An item's own limits, different from the ordinary ones."""

HIDDEN: Mapping[str, tuple[int, int]] = {
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "seccomp": (317, 277),
    "landlock_create_ruleset": (444, 444),
    "get_mempolicy": (239, 236),
    "move_pages": (279, 239),
    "fanotify_mark": (301, 263),
    "vmsplice": (278, 75),
    "sync": (162, 81),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "above the list": (600, 600),
}
"""Calls that the filter answers with ENOSYS, so that libraries fall back; by number on x86-64 and
on 64-bit ARM."""

CLONE = CHECKED["clone"]
NUMBERS = {**FORBIDDEN, **HIDDEN}
UNKNOWN_FAMILIES = ("packet", "packet raw", "vsock", "alg", "bluetooth", "xdp")
TORCH = "torch==2.13.0"
ARM = platform.machine() == "aarch64"


@pytest.fixture
def config(runtime: Path, tmp_path: Path, uv_cache: Path) -> SupervisorConfig:
    return real_config(runtime, tmp_path, uv_cache)


@pytest.fixture(params=["cold", pytest.param("warm", marks=pytest.mark.long)])
async def local(
    request: pytest.FixtureRequest, config: SupervisorConfig, tmp_path: Path
) -> AsyncIterator[Local]:
    kept = 1 if request.param == "warm" else 0
    config = config.model_copy(update={"warm_environments": kept})
    async with open_local(config, tmp_path) as local:
        yield local


@pytest.fixture
async def environment(local: Local, run_directory: Path) -> Path:
    """numpy, pandas and matplotlib; built once in a run."""
    return await local.environment(run_directory, "marimo", "numpy", "pandas", "matplotlib")


@asynccontextmanager
async def session(local: Local, environment: Path) -> AsyncIterator[MarimoClient]:
    """An editor of a workspace that holds the probe as a module, started as it should be."""
    spec = make_spec("alice", local.place, environment, notebook=EMPTY)
    more = {"processes": PROCESSES, "open_files": OPEN_FILES}
    spec = spec.model_copy(update={"limits": spec.limits.model_copy(update=more)})
    for probe in (library_probe, filter_probe):
        name = f"{probe.__name__.rpartition('.')[2]}.py"
        (spec.directory / name).write_text(inspect.getsource(probe))
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    assert await local.starts() == ({"warm": 1} if local.kept else {})
    async with open_editor(address_of(endpoint, spec)) as editor:
        yield editor
    await local.launcher.stop(spec.session_id)


async def told(editor: MarimoClient, expression: str) -> object:
    """Return the value of an expression with the probes in the kernel."""
    probes = "import json, filter_probe, library_probe, resource"
    code = f"{probes}\nprint('TOLD' + json.dumps({expression}))"
    editor.progress.console.clear()
    await editor.edit(0, code)
    said = editor.progress.console.get(editor.cells.ids[0], "")
    assert "TOLD" in said, said
    answer: object = json.loads(said.partition("TOLD")[2].partition("\n")[0])
    return answer


@pytest.mark.parametrize("group", [name for name in library_probe.GROUPS if name != "libraries"])
async def test_what_programs_do_all_day_works(local: Local, environment: Path, group: str) -> None:
    async with session(local, environment) as editor:
        assert await told(editor, f"library_probe.run({group!r})") == {}


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_large_libraries_work(local: Local, run_directory: Path) -> None:
    """polars, scikit-learn, duckdb, pyarrow and torch; numpy, pandas and matplotlib are above.

    torch comes by pip, from wherever pip is told to look: its wheel for the CPU is on an index of
    its own (PIP_INDEX_URL), and the one of the usual index brings a gigabyte of CUDA with it.
    """
    source = real_environments(run_directory / "environments", local.launcher, local.place)
    others = ("numpy", "pandas", "matplotlib", "polars", "scikit-learn", "duckdb", "pyarrow")
    script = Script(dependencies=("marimo", "pip", *others))
    directory = (await source.prepare(script, lambda _: None)).directory
    pip = [str(directory / "env" / "bin" / "python"), "-m", "pip", "install", "-q", TORCH]
    await asyncio.to_thread(subprocess.run, pip, check=True)
    if local.kept:
        await local.warm(directory)
    async with session(local, directory) as editor:
        assert await told(editor, "library_probe.run('libraries')") == {}
        assert await told(editor, "library_probe.run('numbers')") == {}


async def test_each_call_that_the_filter_is_there_for_is_refused_by_it(
    local: Local, environment: Path
) -> None:
    numbers = {name: n for name, pair in NUMBERS.items() if (n := pair[ARM]) is not None}
    async with session(local, environment) as editor:
        said = await told(editor, f"filter_probe.refusals({numbers}, {CLONE[ARM]})")
    assert isinstance(said, dict)
    assert {name: errno.errorcode.get(said[name], said[name]) for name in said} == _expected()


def _expected() -> dict[str, str]:
    calls = {name: "EPERM" for name, pair in FORBIDDEN.items() if pair[ARM] is not None}
    calls |= dict.fromkeys(HIDDEN, "ENOSYS")
    spaces = ("cgroup", "uts", "ipc", "user", "pid", "net", "mount", "time")
    calls |= {f"{call} {space}": "EPERM" for call in ("unshare", "clone") for space in spaces}
    families = {f"socket {name}": "EAFNOSUPPORT" for name in UNKNOWN_FAMILIES}
    kinds = ("raw", "raw 6", "raw, not blocking", "old packet")
    return {
        **calls,
        **families,
        **{f"socket {kind}": "EPERM" for kind in kinds},
        "ptrace of a child": "EPERM",
    }


@pytest.mark.skipif(ARM, reason="only x86-64 has a 32-bit door")
async def test_a_call_as_a_32_bit_program_ends_its_process(local: Local, environment: Path) -> None:
    async with session(local, environment) as editor:
        ended_by = await told(editor, "filter_probe.end_of_one_who_takes_the_32_bit_door()")
        assert ended_by in {signal.SIGSYS, signal.SIGSEGV}, "SIGSEGV where the kernel has no door"
        assert "42" in (await editor.edit(0, "6 * 7")).data, "and nobody else's"


async def test_the_limits_of_the_item_are_those_inside(local: Local, environment: Path) -> None:
    async with session(local, environment) as editor:
        for name, expected in (("NPROC", PROCESSES), ("NOFILE", OPEN_FILES)):
            limit = f"resource.getrlimit(resource.RLIMIT_{name})"
            assert await told(editor, limit) == [expected, expected]
