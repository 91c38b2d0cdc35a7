"""Every session has a share of the processors of its own, forked or not (cgroup v1, as root)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from bench.support.marimo import open_editor
from mograder.notebook.pep723 import Script
from mograder.sandbox import slices
from mograder.sandbox.shares import CpuShares
from tests.support.launchers import Local, address_of, make_spec, open_local, soon_healthy
from tests.support.supervisors import (
    real_config,
    real_environments,
    short_directory,
    supervisor_process,
)

NOTEBOOK = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    1\n    return\n"
DESCRIPTORS = (
    "import os\n"
    "for name in os.listdir('/proc/self/fd'):\n"
    "    try: print('HOLDS', os.readlink('/proc/self/fd/' + name))\n"
    "    except OSError: pass"
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture(params=[pytest.param("cold", marks=pytest.mark.long), "warm"])
async def local(
    request: pytest.FixtureRequest, tmp_path: Path, uv_cache: Path
) -> AsyncIterator[Local]:
    if not _has_shares():
        pytest.skip("no cgroup v1 with processors, or not root")
    with short_directory() as runtime:
        config = real_config(runtime, tmp_path, uv_cache)
        kept = 1 if request.param == "warm" else 0
        config = config.model_copy(update={"warm_environments": kept})
        async with open_local(config, tmp_path) as local:
            yield local


async def test_a_session_enters_its_share_before_the_student_does_anything(
    local: Local, run_directory: Path, request: pytest.FixtureRequest
) -> None:
    source = real_environments(run_directory / "environments", local.link, local.place)
    script = Script(dependencies=("marimo", "matplotlib"))
    environment = (await source.prepare(script, lambda _: None)).directory
    warm = "warm" in request.node.name
    if warm:
        await local.warm(environment)
    supervisor = supervisor_process(await local.link.open())
    shares = set()
    for name in ("alice", "bob"):
        before = _members(supervisor)
        spec = make_spec(name, local.place, environment, notebook=NOTEBOOK)
        endpoint = (await local.launcher.start(spec)).endpoint
        await soon_healthy(endpoint, spec)
        async with open_editor(address_of(endpoint, spec)) as editor:
            await editor.edit(0, DESCRIPTORS)
            held = editor.progress.console[editor.cells.ids[0]]
            assert "HOLDS" in held
            assert "tasks" not in held, "nothing of the cgroup is left open"
            new = {pid: leaf for pid, leaf in _members(supervisor).items() if pid not in before}
        assert len(new) >= 2, "the server and its kernel"
        assert len(set(new.values())) == 1
        if warm:  # a start is dozens of wakings: each would wait for a neighbour's whole turn
            short = [pid for pid in new if slices.slice_of(pid) == slices.SLICE]
            heeds = slices.slice_of(os.getpid()) > 0
            assert len(short) >= (2 if heeds else 0), "the server and its kernel"
        shares |= set(new.values())
    assert len(shares) == 2, "one each"
    assert bool((await local.starts()).get("warm")) is warm


def _has_shares() -> bool:
    shares = CpuShares.find(f"probe-{os.getpid()}")
    return shares is not None and shares.close()


def _members(supervisor: psutil.Process) -> dict[int, str]:
    """The processes below a supervisor that are in a session's leaf, and in which."""
    return dict(_found(supervisor))


def _found(supervisor: psutil.Process) -> Iterator[tuple[int, str]]:
    for process in supervisor.children(recursive=True):
        try:
            lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            _, names, path = line.split(":", 2)
            if "cpu" in names.split(",") and "/mograder-" in path:
                yield process.pid, path
