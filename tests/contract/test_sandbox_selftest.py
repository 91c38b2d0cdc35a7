"""Sandboxed or not is decided by proof at the hub's start, and never silently (B22, security.md).

bubblewrap is taken away, or broken, by the ``PATH`` of the supervisor's process alone.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.core.settings import load_settings, read_environ
from mograder.sandbox.client.bootstrap import open_sandbox, supervisor_config
from mograder.sandbox.client.supervisor_client import connect
from mograder.sandbox.isolation.policy import ASSET_URL
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.supervisors import make_config, short_directory

REFUSAL = "bwrap: No permissions to create new namespace, likely because the kernel does not allow"


@contextmanager
def supervisor_with(config: SupervisorConfig, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A supervisor whose PATH is one directory; the hub finds it there already."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mograder.sandbox.supervisor.server", config.model_dump_json()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"PATH": str(path)},
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@contextmanager
def ready_supervisor(config: SupervisorConfig, path: Path) -> Iterator[subprocess.Popen[str]]:
    """One that says that it is ready."""
    with supervisor_with(config, path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.fixture
def refusing() -> Iterator[Path]:
    """A directory with a bwrap that prints the real one's message for a refusing kernel."""
    with short_directory() as directory:
        directory.chmod(0o755)  # the sandboxes' own users execute it
        (directory / "bwrap").write_text(f"#!/bin/sh\necho '{REFUSAL} it.' >&2\nexit 1\n")
        (directory / "bwrap").chmod(0o755)
        yield directory


@pytest.mark.full
async def test_where_it_works_sessions_are_sandboxed(config: SupervisorConfig) -> None:
    link, sandboxed = await open_sandbox(config, None, dev=False)
    assert sandboxed
    assert (await link.open()).hello.sandbox == "bubblewrap"
    await link.close()
    assert not list(config.runtime.glob("proof-*"))


@pytest.mark.full
async def test_without_bubblewrap_there_is_no_supervisor_and_the_remedy_is_said(
    config: SupervisorConfig, tmp_path: Path
) -> None:
    with supervisor_with(config, tmp_path / "empty") as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert process.wait(30) == 78
    assert said.startswith("failed bubblewrap (bwrap) is not installed")
    assert "apt install bubblewrap" in said
    assert not list(config.runtime.glob("mograder-mounts-*"))


@pytest.mark.full
@pytest.mark.parametrize(("use_bubblewrap", "dev"), [(None, False), (True, False), (True, True)])
async def test_where_the_kernel_refuses_it_the_hub_does_not_start(
    config: SupervisorConfig, refusing: Path, use_bubblewrap: bool | None, dev: bool
) -> None:
    """``use_bubblewrap = true`` is a demand; ``--dev`` does not weaken it."""
    with ready_supervisor(config, refusing) as process:
        with pytest.raises(SandboxUnavailable, match="AppArmor") as refusal:
            await open_sandbox(config, use_bubblewrap, dev=dev)
        assert REFUSAL in refusal.value.message
        assert process.wait(30) == 0, "the supervisor is not left behind"


@pytest.mark.full
async def test_development_goes_on_without_a_sandbox_and_says_so(
    config: SupervisorConfig, refusing: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ready_supervisor(config, refusing), caplog.at_level(logging.WARNING):
        link, sandboxed = await open_sandbox(config, None, dev=True)
    assert not sandboxed
    assert (await link.open()).hello.sandbox == "none"
    await link.close()
    assert "without a sandbox" in caplog.text


@pytest.mark.full
async def test_switched_off_it_runs_and_warns(
    runtime: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_config(runtime, tmp_path, sandbox="none")
    with caplog.at_level(logging.WARNING):
        link, sandboxed = await open_sandbox(config, False, dev=False)
    assert not sandboxed
    assert "use_bubblewrap is false" in caplog.text
    await link.close()


@pytest.mark.full
async def test_a_kept_supervisor_without_a_sandbox_is_refused(
    runtime: Path, tmp_path: Path
) -> None:
    """A service manager's that was set up otherwise than this hub."""
    loose = make_config(runtime, tmp_path, sandbox="none", owned=False)
    with ready_supervisor(loose, Path("/usr/bin")):
        wanted = loose.model_copy(update={"sandbox": "bubblewrap"})
        with pytest.raises(SandboxUnavailable, match="makes no sandboxes"):
            await open_sandbox(wanted, None, dev=False)
        still = await connect(loose.socket)
        await still.close()


@pytest.mark.full
async def test_a_kept_supervisor_may_live_elsewhere_than_this_hub_would(
    runtime: Path, tmp_path: Path
) -> None:
    kept = make_config(runtime, tmp_path, owned=False)
    with ready_supervisor(kept, Path("/usr/bin")):
        hubs = kept.model_copy(update={"runtime": tmp_path / "never-made"})
        link, sandboxed = await open_sandbox(hubs, None, dev=False)
        assert sandboxed
        await link.close()


def test_sessions_with_an_origin_each_load_the_editors_files_from_the_hubs(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path, environ={})
    assert supervisor_config(loaded, read_environ({})).asset_url == ASSET_URL
    own = {
        "hub.public_url": "https://hub.example.org",
        "hub.session_url": "https://{session}.example.net",
        "hub.base_url": "/live/hub",
    }
    loaded = load_settings(tmp_path, overrides=own, environ={})
    found = supervisor_config(loaded, read_environ({})).asset_url
    assert found == "https://hub.example.org/live/hub/s/_marimo"


def test_each_course_has_a_supervisor_of_its_own(tmp_path: Path) -> None:
    configs = []
    for name in ("spring", "autumn"):
        (tmp_path / name).mkdir()
        loaded = load_settings(tmp_path / name, environ={})
        configs.append(supervisor_config(loaded, read_environ({})))
    one, two = configs
    assert one.runtime != two.runtime
    assert one.socket != two.socket
    assert one.course != two.course
    assert one.owned
    assert len(os.fsencode(one.socket)) < 108
