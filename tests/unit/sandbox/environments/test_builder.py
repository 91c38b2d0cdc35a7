"""Environments: locked once, built once, shared, complete or not there (B96, B111).

The commands run in a fake that does what uv would, without uv; the real build is in
``tests/contract/test_environments.py``.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, SandboxUnavailable
from mograder.core.tasks import Progress
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments import static_assets
from mograder.sandbox.environments.builder import (
    Environment,
    EnvironmentRoot,
    Environments,
    SharedLocks,
)
from mograder.sandbox.environments.record import RECORD, read_record
from mograder.sandbox.environments.static_assets import ASSETS, read_assets
from mograder.sandbox.protocol import RunCommand
from tests.support.session_pools import ignore_progress

UV_SAYS = ("  × No solution found when resolving dependencies:", "  ╰─▶ Because nope was not found")
PREFERRED = "marimo==0.25.2\n"
NUMPY = Script(dependencies=("numpy",))


@dataclass
class Uv:
    """Fakes the commands of a build; ``lock`` is the lock file for any requirements."""

    lock: str = "marimo==0.25.2\nnumpy==2.1\n"
    fails_at: str = ""
    asset_url: bool = True
    commands: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    before_warm: Callable[[Path], object] = lambda _: None

    async def run(self, command: RunCommand, on_line: Progress) -> int:
        what = _verb(command.argv)
        self.commands.append(what)
        self.begun.set()
        if self.hold is not None:
            await self.hold.wait()
        if what == self.fails_at:
            for line in UV_SAYS:
                on_line(line)
            return 1
        for line in self._do(what, command.directory):
            on_line(line)
        return 0

    def builds(self) -> int:
        """How many environments were made."""
        return self.commands.count("venv")

    def _do(self, what: str, directory: Path) -> list[str]:
        if what == "compile":
            assert (directory / "pyproject.toml").is_file()
            if (directory / "lock.txt").read_text() == PREFERRED:  # else it fits already
                (directory / "lock.txt").write_text(self.lock)
        elif what == "sed":
            return (directory / "lock.txt").read_text().splitlines()
        elif what == "venv":
            python = directory / "env" / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.write_text("#!/bin/sh\n")
            python.chmod(0o700)
            (directory / "env" / "secret.py").touch(0o600)
            static = _static_files(directory / "env")
            static.mkdir(parents=True)
            (static / "index.js").write_text("42")
        elif what == "warm":
            self.before_warm(directory)
            return ["a warning", "MARIMO 0.25.2", f"ASSET-URL {'yes' if self.asset_url else 'no'}"]
        return []


def _static_files(env: Path) -> Path:
    """Where marimo keeps its page's files; the interpreter of a build is the tests' own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return env / "lib" / version / "site-packages/marimo/_static"


def _verb(argv: tuple[str, ...]) -> str:
    if argv[0].endswith("/sed"):
        return "sed"
    if argv[0] != "uv":
        return "warm"
    return argv[2] if argv[1] == "pip" else argv[1]


@pytest.fixture
def uv() -> Uv:
    return Uv()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


@pytest.fixture
def environments(root: Path, uv: Uv, tmp_path: Path) -> Environments:
    return make(root, uv, tmp_path)


def make(
    root: Path,
    uv: Uv,
    place: Path,
    wheel: str = "mograder-1-py3-none-any.whl",
    locks: SharedLocks | None = None,
) -> Environments:
    """Environments below ``root``, as the next hub's would be."""
    (place / wheel).touch()
    return Environments(root, uv, wheel=place / wheel, marimo="0.25.2", timeout=60, locks=locks)


async def test_it_is_built_once_and_known_from_then_on(
    environments: Environments, uv: Uv, root: Path
) -> None:
    assert environments.ready(NUMPY) is None
    first = await environments.prepare(NUMPY, ignore_progress)
    assert await environments.prepare(NUMPY, ignore_progress) == first == environments.ready(NUMPY)
    assert first.directory == root / first.key
    assert (first.directory / "env/bin/python").exists()
    assert (first.directory / "lock.txt").read_text() == uv.lock
    assert read_record(first.directory).marimo == "0.25.2"
    assert uv.builds() == 1


async def test_a_hub_that_waits_locks_what_the_one_at_work_has_locked(tmp_path: Path) -> None:
    at_work, waits = (SharedLocks(tmp_path / "locks", writes=writes) for writes in (True, False))
    earlier = make(tmp_path / "one", Uv(), tmp_path, locks=at_work)
    built = await earlier.prepare(NUMPY, ignore_progress)
    later = Uv(lock="marimo==0.26.0\nnumpy==2.2\n")  # an index that has moved on
    other = make(tmp_path / "two", later, tmp_path, locks=waits)
    assert (await other.prepare(NUMPY, ignore_progress)).key == built.key
    await other.prepare(Script(dependencies=("scipy",)), ignore_progress)
    (kept,) = (tmp_path / "locks").iterdir()
    long_ago = time.time() - 500 * 86_400
    os.utime(kept, (long_ago, long_ago))
    await earlier.prepare(Script(dependencies=("scipy",)), ignore_progress)
    assert kept not in (tmp_path / "locks").iterdir()


async def test_all_who_ask_at_once_share_one_build_and_hear_of_it(
    environments: Environments, uv: Uv
) -> None:
    told: list[str] = []
    built = await asyncio.gather(*(environments.prepare(NUMPY, told.append) for _ in range(3)))
    assert len(set(built)) == 1
    assert uv.builds() == 1
    assert told.count("Downloading and installing packages") == 3


async def test_requests_that_come_to_the_same_lock_share_one_environment(
    environments: Environments, uv: Uv
) -> None:
    """``numpy`` and ``numpy>=2`` are two requests and, today, one environment."""
    scripts = (NUMPY, Script(dependencies=("numpy>=2",)))
    built = await asyncio.gather(
        *(environments.prepare(script, ignore_progress) for script in scripts)
    )
    assert built[0] == built[1]
    assert uv.commands.count("compile") == 2
    assert uv.builds() == 1


async def test_another_lock_is_another_environment(environments: Environments, uv: Uv) -> None:
    first = await environments.prepare(NUMPY, ignore_progress)
    uv.lock = "marimo==0.25.2\npandas==2\n"
    second = await environments.prepare(Script(dependencies=("pandas",)), ignore_progress)
    assert second.key != first.key
    assert first.directory.is_dir(), "those who use it go on using it"


async def test_the_next_hub_finds_it_without_locking_again(
    environments: Environments, uv: Uv, root: Path, tmp_path: Path
) -> None:
    first = await environments.prepare(NUMPY, ignore_progress)
    uv.commands.clear()
    assert await make(root, uv, tmp_path).prepare(NUMPY, ignore_progress) == first
    assert uv.commands == []


async def test_our_own_wheel_is_a_part_of_what_was_asked_for(
    environments: Environments, uv: Uv, root: Path, tmp_path: Path
) -> None:
    """A hub that was upgraded builds with its new runtime."""
    first = await environments.prepare(NUMPY, ignore_progress)
    upgraded = make(root, uv, tmp_path, "mograder-2-py3-none-any.whl")
    assert (await upgraded.prepare(NUMPY, ignore_progress)).key != first.key


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "lost",
    [
        "environments",
        "environments/requests",
        "environments/assets",
        "environments/KEY",
        "environments/KEY/env",
        "environments/KEY/env/bin/python",
        "environments/KEY/environment.json",
        "mograder-1-py3-none-any.whl",
    ],
)
async def test_d3_every_derived_file_may_be_deleted_at_any_time(
    environments: Environments,
    uv: Uv,
    root: Path,
    tmp_path: Path,
    lost: str,
    restarted: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the next use and at the next start: built again, or taken out again."""
    monkeypatch.setattr(
        "mograder.sandbox.environments.builder.build_runtime_wheel",
        lambda place: (place / "mograder-1-py3-none-any.whl").touch(),
    )
    first = await environments.prepare(NUMPY, ignore_progress)
    path = tmp_path / lost.replace("KEY", first.key)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert "KEY" not in lost or environments.ready(NUMPY) is None
    hub = make(root, uv, tmp_path) if restarted else environments
    again = await hub.prepare(NUMPY, ignore_progress)
    assert again == first == hub.ready(NUMPY)
    assert (again.directory / "env/bin/python").exists()
    assert read_assets(root / ASSETS, read_record(again.directory).assets).files
    assert lost != "environments/assets" or uv.builds() == 1, "they are taken out, not built"
    if lost.endswith(".whl"):  # and what needs it can be built
        uv.lock = "marimo==0.25.2\npandas==2\n"
        await hub.prepare(Script(dependencies=("pandas",)), ignore_progress)


async def test_d11_a_directory_that_cannot_be_made_is_named_with_its_remedy(
    environments: Environments, root: Path
) -> None:
    await asyncio.to_thread(root.write_text, "a file in its place")
    with pytest.raises(SandboxUnavailable, match=rf"{root} cannot be written") as failure:
        await environments.prepare(NUMPY, ignore_progress)
    assert f"install -d -o USER -m 755 {root}" in failure.value.hint


@pytest.mark.parametrize("place", ["assets", "KEY"])
async def test_what_cannot_be_put_in_place_is_no_fault_of_ours_and_is_tried_again(
    environments: Environments, uv: Uv, root: Path, place: str
) -> None:
    """As where the disk is full when all packages have been installed."""
    uv.before_warm = lambda workshop: _block(root, workshop, place)
    with pytest.raises(SandboxUnavailable, match=rf"{root} cannot be written"):
        await environments.prepare(NUMPY, ignore_progress)
    assert "cannot be written" in environments.trouble(NUMPY)
    left = await asyncio.to_thread(os.listdir, root)
    assert not [name for name in left if name.startswith(".")], "a disk that is full gets no fuller"
    uv.before_warm = lambda _: _unblock(root, place)
    assert await environments.prepare(NUMPY, ignore_progress) == environments.ready(NUMPY)


def _block(root: Path, workshop: Path, place: str) -> None:
    """Have the static files, or the environment itself, not be put in place."""
    if place == "assets":
        (root / "assets").write_text("a file in the place of the directory")
    else:
        (workshop / "caches").rmdir()


def _unblock(root: Path, place: str) -> None:
    if place == "assets":
        (root / "assets").unlink()


async def test_an_environment_is_of_use_though_it_cannot_be_written_down_for_whom_it_is(
    environments: Environments, root: Path
) -> None:
    await asyncio.to_thread(root.mkdir)
    await asyncio.to_thread((root / "requests").write_text, "a file in the place of the directory")
    assert await environments.prepare(NUMPY, ignore_progress) == environments.ready(NUMPY)


async def test_one_that_lost_its_record_is_replaced(
    environments: Environments, uv: Uv, root: Path, tmp_path: Path
) -> None:
    """A power cut may leave the directory and not what was written in it last."""
    first = await environments.prepare(NUMPY, ignore_progress)
    (first.directory / RECORD).write_text("")
    again = await make(root, uv, tmp_path).prepare(NUMPY, ignore_progress)
    assert again == first
    assert (first.directory / RECORD).stat().st_size > 0
    assert _leavings(root) == []


async def test_a_directory_that_another_process_finished_first_wins(
    environments: Environments, uv: Uv, root: Path, tmp_path: Path
) -> None:
    uv.hold = asyncio.Event()
    slow = asyncio.create_task(environments.prepare(NUMPY, ignore_progress))
    await uv.begun.wait()
    quick = await make(root, Uv(), tmp_path).prepare(NUMPY, ignore_progress)
    (quick.directory / "in use").touch()
    uv.hold.set()
    assert await slow == quick
    assert (quick.directory / "in use").exists()
    assert _leavings(root) == []


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("compile", "requirements cannot be met"),
        ("venv", "cannot be built"),
        ("install", "cannot be built"),
        ("warm", "does not start"),
    ],
)
async def test_a_failure_gives_the_tools_own_words_and_keeps_nothing(
    environments: Environments, uv: Uv, root: Path, step: str, words: str
) -> None:
    uv.fails_at = step
    told: list[str] = []
    with pytest.raises(InvalidInput, match=words) as failure:
        await environments.prepare(NUMPY, told.append)
    for line in UV_SAYS:
        assert line in failure.value.message
        assert line.strip() not in told, "the error says it, and once is enough"
    assert environments.ready(NUMPY) is None
    assert _leavings(root) == []
    assert _finished(root) == []
    uv.fails_at = ""
    await environments.prepare(NUMPY, ignore_progress)


async def test_one_who_gives_up_does_not_stop_the_build(environments: Environments, uv: Uv) -> None:
    uv.hold = asyncio.Event()
    impatient = asyncio.create_task(environments.prepare(NUMPY, ignore_progress))
    await uv.begun.wait()
    impatient.cancel()
    await asyncio.wait({impatient})
    uv.hold.set()
    await environments.prepare(NUMPY, ignore_progress)
    assert uv.builds() == 1


async def test_a_hub_that_ends_leaves_no_half_build(
    environments: Environments, uv: Uv, root: Path
) -> None:
    uv.hold = asyncio.Event()
    waiting = asyncio.create_task(environments.prepare(NUMPY, ignore_progress))
    await uv.begun.wait()
    await environments.close()
    await asyncio.wait({waiting})
    assert _leavings(root) == []
    assert _finished(root) == []


async def test_sessions_of_other_uids_can_read_it_whatever_our_umask_is(
    environments: Environments,
) -> None:
    before = os.umask(0o077)
    try:
        built = await environments.prepare(NUMPY, ignore_progress)
    finally:
        os.umask(before)
    for path in (built.directory, *built.directory.rglob("*")):
        mode = path.stat().st_mode
        assert mode & 0o004, path
        assert not path.is_dir() or mode & 0o001, path
    assert (built.directory / "env/bin/python").stat().st_mode & 0o111 == 0o111
    assert _is_closed(built)


async def test_an_environment_in_a_shared_course_folder_has_no_set_group_id_bit(
    environments: Environments, root: Path
) -> None:
    """The hub's service may not set it (RestrictSUIDSGID), and so not keep it either."""
    _share(root)
    built = await environments.prepare(NUMPY, ignore_progress)
    assert _is_closed(built)


def _share(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o2755)


def _is_closed(built: Environment) -> bool:
    """Return whether only the owner may write, and the programs in it run as their caller."""
    return not any(p.stat().st_mode & 0o6022 for p in built.directory.rglob("*"))


def _leavings(root: Path) -> list[str]:
    return [path.name for path in root.glob(".*")] if root.is_dir() else []


async def test_what_a_killed_build_or_prune_left_is_swept_a_day_later(
    environments: Environments, root: Path
) -> None:
    young = root / ".building-young"
    names = (".building-old", ".broken-old", ".pruned-old", f"{ASSETS}/.collecting-old")
    old = [root / name for name in names]
    for left in (*old, young):
        left.mkdir(parents=True)
    for left in old:
        os.utime(left, (0, 0))
    await environments.prepare(NUMPY, ignore_progress)
    assert not any(left.exists() for left in old)
    assert young.exists(), "another process may be at it"


def _finished(root: Path) -> list[str]:
    return [path.parent.name for path in root.glob(f"*/{RECORD}")]


async def test_the_editors_files_are_kept_once_for_all_environments(
    environments: Environments, uv: Uv, root: Path
) -> None:
    first = await environments.prepare(NUMPY, ignore_progress)
    uv.lock = "marimo==0.25.2\npandas==2\n"
    second = await environments.prepare(Script(dependencies=("pandas",)), ignore_progress)
    kept = {read_record(each.directory).assets for each in (first, second)}
    assert kept == {each.name for each in (root / ASSETS).iterdir()}
    assert read_assets(root / ASSETS, *kept).read("index.js") == b"42"


async def test_a_marimo_that_cannot_load_them_from_elsewhere_serves_its_own(
    environments: Environments, uv: Uv, root: Path
) -> None:
    uv.asset_url = False
    built = await environments.prepare(NUMPY, ignore_progress)
    assert read_record(built.directory).assets == ""
    assert not (root / ASSETS).exists()


async def test_files_that_are_lost_for_good_are_no_longer_promised(
    environments: Environments, uv: Uv, root: Path, tmp_path: Path
) -> None:
    built = await environments.prepare(NUMPY, ignore_progress)
    shutil.rmtree(root / ASSETS)
    shutil.rmtree(_static_files(built.directory / "env"))
    assert await make(root, uv, tmp_path).prepare(NUMPY, ignore_progress) == built
    assert read_record(built.directory).assets == ""


async def test_a_disk_that_is_full_once_does_not_end_the_sharing_of_the_editors_files(
    environments: Environments, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = await environments.prepare(NUMPY, ignore_progress)
    shutil.rmtree(root / ASSETS)
    with monkeypatch.context() as full:
        full.setattr(static_assets, "_write_set", _fail_as_full)
        assert EnvironmentRoot(root).load(built.key).assets == ""
    assert EnvironmentRoot(root).load(built.key).assets == built.assets != ""


def _fail_as_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


HASHED = """\
marimo==0.25.2 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
numpy==2.1
"""


async def test_the_digests_of_files_do_not_change_the_name(
    environments: Environments, uv: Uv, root: Path, tmp_path: Path
) -> None:
    """Environments of earlier releases, whose locks have none, are found again."""
    first = await environments.prepare(NUMPY, ignore_progress)
    uv.lock = HASHED
    again = await environments.prepare(Script(dependencies=("numpy>2",)), ignore_progress)
    assert again == first
    shutil.rmtree(root)
    hashed = await make(root, uv, tmp_path).prepare(NUMPY, ignore_progress)
    assert hashed.key == first.key
    assert (hashed.directory / "lock.txt").read_text() == HASHED
