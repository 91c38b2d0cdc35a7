"""A real build: real uv, in a real sandbox, with packages from the index (B96, B111)."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from importlib import metadata
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.pep723 import Script
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.environments.builder import Environment, Environments
from mograder.sandbox.environments.locked_builds import LockedBuilds, order_of
from mograder.sandbox.environments.record import read_record
from mograder.sandbox.environments.static_assets import ASSETS, read_assets
from mograder.sandbox.protocol import RunCommand
from tests.support.programs import printed_by
from tests.support.supervisors import (
    Sessions,
    make_config,
    real_config,
    real_environments,
    shell,
    supervised,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


@pytest.fixture
async def client(runtime: Path, tmp_path: Path, uv_cache: Path) -> AsyncIterator[SupervisorClient]:
    client = SupervisorClient(real_config(runtime, tmp_path, uv_cache))
    yield client
    await client.close()


@pytest.fixture
def environments(client: SupervisorClient, run_directory: Path, tmp_path: Path) -> Environments:
    return real_environments(run_directory / "environments", client, tmp_path)


async def test_a_notebook_gets_marimo_and_our_own_runtime(environments: Environments) -> None:
    """And not what the index has under our name (decision 5)."""
    built = await environments.prepare(Script(dependencies=("mograder",)), lambda _: None)
    code = "import mograder.runtime, importlib.metadata as m; print(m.version('mograder'))"
    assert "+runtime." in _python(built, code)
    assert read_record(built.directory).marimo == metadata.version("marimo")
    again = await environments.prepare(Script(), lambda _: None)
    assert again == built, "they come to the same lock"


async def test_the_files_of_its_editor_can_be_shared(
    environments: Environments, run_directory: Path
) -> None:
    """The real marimo has ``--asset-url`` in both modes, and its files where we look."""
    built = await environments.prepare(Script(), lambda _: None)
    name = read_record(built.directory).assets
    assert name.startswith(f"{read_record(built.directory).marimo}-")
    kept = read_assets(run_directory / "environments" / ASSETS, name)
    own = {path.suffix for path in _static(built).rglob("*") if path.is_file()}
    left_out = own - {Path(path).suffix for path in kept.files}
    assert left_out == {".html", ".md"}
    assert len(kept.files) > 500


def _static(built: Environment) -> Path:
    (static,) = (built.directory / "env/lib").glob("python3*/site-packages/marimo/_static")
    return static


async def test_it_is_compiled_and_belongs_to_no_session(environments: Environments) -> None:
    built = await environments.prepare(Script(), lambda _: None)
    found = _python(
        built, "import marimo, pathlib; print(pathlib.Path(marimo.__cached__).exists())"
    )
    assert found == "True"
    writable = [
        p for p in built.directory.rglob("*") if p.lstat().st_mode & 0o022 and not p.is_symlink()
    ]
    assert writable == []
    assert not (built.directory / "caches" / "marimo").exists(), "each session would copy the log"


async def test_a_requirement_that_cannot_be_met_is_told_in_uvs_words(
    client: SupervisorClient, tmp_path: Path
) -> None:
    own = tmp_path / "environments"  # in the shared one, others may be building
    environments = real_environments(own, client, tmp_path)
    script = Script(dependencies=("marimo==0.0.0.1",))
    with pytest.raises(InvalidInput, match=r"cannot be met") as failure:
        await environments.prepare(script, lambda _: None)
    assert "No solution found" in failure.value.message
    assert "marimo==0.0.0.1" in failure.value.message
    assert list(own.glob(".building-*")) == []


async def test_the_kernel_would_end_a_build_before_the_supervisor(
    client: SupervisorClient, tmp_path: Path
) -> None:
    """As a session: a service of ours has a score that protects it, which its children inherit."""
    said: list[str] = []
    directory = tmp_path / "work"
    directory.mkdir()
    look = ("/usr/bin/cat", "/proc/self/oom_score_adj")
    command = RunCommand(argv=look, directory=directory, timeout=60)
    assert await client.run(command, said.append) == 0
    assert said == ["600"]


async def test_d3_uvs_cache_may_be_deleted_at_any_time(
    tmp_path: Path, runtime: Path, workshop: Path
) -> None:
    """Between two starts of the hub too: sessions start, and a build makes it again."""
    cache = tmp_path / "home" / ".cache" / "uv"
    async with supervised(make_config(runtime, tmp_path, uv_cache=cache)) as client:
        sessions = Sessions(client, tmp_path)
        shutil.rmtree(tmp_path / "home")
        await sessions.start("one", "touch up; exec sleep 600")
        assert await client.run(shell(workshop, "true"), lambda _: None) == 0
        assert cache.is_dir()


async def test_a_build_cannot_read_the_course(environments: Environments, tmp_path: Path) -> None:
    """A requirement may name a file: what it finds there must not be the hub's."""
    secret = tmp_path / "requirements.txt"
    secret.write_text("the-secret-of-the-course\n")
    script = Script(dependencies=(f"thing @ file://{secret}",))
    with pytest.raises(InvalidInput) as failure:
        await environments.prepare(script, lambda _: None)
    assert "the-secret-of-the-course" not in failure.value.message


def _python(built: Environment, code: str) -> str:
    return printed_by(built.directory / "env/bin/python", "-I", "-c", code).strip()


async def test_a_node_builds_the_same_by_the_lock(
    client: SupervisorClient, environments: Environments, tmp_path: Path
) -> None:
    """The lock has the digests of all files, and uv refuses others."""
    built = await environments.prepare(Script(), lambda _: None)
    order = order_of(built.directory)
    assert "--hash=sha256:" in order.lock
    builds = LockedBuilds(tmp_path / "node", client, seconds=240)
    again = await builds.prepare(order, lambda _: None)
    assert again.directory == tmp_path / "node" / built.key
    assert again.assets == built.assets
    names = "sorted((d.name, d.version) for d in m.distributions())"
    freeze = f"import importlib.metadata as m; print({names})"
    assert _python(again, freeze) == _python(built, freeze)
    forged = re.sub("sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", order.lock)
    digest = hashlib.sha256(forged.encode()).hexdigest()
    other = order.model_copy(update={"key": "another-key", "lock": forged, "digest": digest})
    with pytest.raises(InvalidInput, match="Hash mismatch"):
        await builds.prepare(other, lambda _: None)
