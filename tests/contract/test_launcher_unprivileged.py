"""The launcher's contract as a service user, which a shipped hub may be.

As root only: an ordinary user's own run of ``test_launcher.py`` is the same. The other user needs
a python that it may execute, this project as an installed wheel, and a finished environment; one
virtual environment in a place that everybody may read is all three.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

from mograder.sandbox.environments.record import RECORD, EnvironmentRecord
from tests.support.course import REPOSITORY, work_place
from tests.support.hub import outside
from tests.support.programs import printed_by

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the contract itself"),
    pytest.mark.timeout(600),
]

SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = 65_534
TEST_PACKAGES = (
    "pytest",
    "pytest-asyncio",
    "pytest-timeout",
    "hypothesis",
    "psutil",
    "matplotlib",
)
NEEDED_FILES = (
    "tests/conftest.py",
    "tests/contract/test_launcher.py",
    "tests/contract/test_warm_start.py",
    "tests/support",
)
_OPTIONS = ("-p", "no:cacheprovider", "-m", "not long")
CONTRACT = ("tests/contract/test_launcher.py",)
WARM_STARTS = ("tests/contract/test_warm_start.py",)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may enter; outside ``/tmp``, where marimo does not save."""
    with work_place() as directory:
        directory.chmod(0o755)
        yield directory


@pytest.mark.long  # every run has the contract as root, or as the ordinary user who runs it
@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        pytest.param(CONTRACT, 13, id="contract"),
        pytest.param(WARM_STARTS, 8, id="warm-starts"),
    ],
)
def test_a_service_user_fulfils_the_contract(
    place: Path, modules: tuple[str, ...], expected: int
) -> None:
    if not _is_new_enough(SYSTEM_PYTHON):
        pytest.skip("no system Python that another user may execute")
    environment = _install(place)
    suite = _copy_suite(place)
    done = subprocess.run(
        [environment / "env/bin/python", "-m", "pytest", *modules, *_OPTIONS],
        cwd=suite,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(suite / "home"),
            "TMPDIR": str(suite / "tmp"),
            "MOGRADER_TEST_ENVIRONMENT": str(environment),
        },
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        umask=0o077,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{expected} passed" in done.stdout, done.stdout


def _install(place: Path) -> Path:
    """The project with what its tests need, in the form of a finished environment."""
    environment = place / "environment"
    environment.mkdir()
    _uv("build", "--wheel", "--quiet", "--out-dir", str(place / "dist"))
    _uv("venv", "--quiet", "--python", str(SYSTEM_PYTHON), str(environment / "env"))
    locked = ("--frozen", "--no-hashes", "--no-emit-project", "--all-groups", "--quiet")
    _uv("export", *locked, "--output-file", str(place / "constraints.txt"))
    (wheel,) = (place / "dist").glob("*.whl")
    into = ("--python", str(environment / "env/bin/python"), "-c", str(place / "constraints.txt"))
    _uv("pip", "install", "--quiet", *into, f"{wheel}[server]", *TEST_PACKAGES)
    (environment / "caches").mkdir()
    record = EnvironmentRecord(key="service", python="3", marimo="0", interpreter_roots=())
    (environment / RECORD).write_text(record.model_dump_json())
    return environment


def _copy_suite(place: Path) -> Path:
    suite = place / "suite"
    for name in NEEDED_FILES:
        source, target = REPOSITORY / name, suite / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
    shutil.copyfile(REPOSITORY / "pyproject.toml", suite / "pyproject.toml")
    for name in ("home", "tmp"):
        (suite / name).mkdir()
    for path in (suite, *suite.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return suite


def _uv(*arguments: str) -> None:
    """With root's own cache: the tests' belongs to the uid that builds environments."""
    variables = {**outside(), "HOME": str(Path.home())}
    printed_by(find_uv_bin(), *arguments, seconds=240, cwd=REPOSITORY, env=variables, umask=0o022)


def _is_new_enough(python: Path) -> bool:
    if not python.exists():
        return False
    check = "import sys, venv; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-I", "-c", check], check=False).returncode == 0
