"""Which python an environment gets, and which directories that needs to be seen."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, SandboxUnavailable
from mograder.sandbox.environments.interpreters import (
    demand_own_interpreter,
    find_interpreter,
    roots_of,
)


@pytest.mark.parametrize("wanted", ["", ">=3.11", f"=={platform.python_version()}"])
async def test_the_hubs_own_python_serves_where_it_can(wanted: str) -> None:
    found = await find_interpreter(wanted)
    assert found.version == platform.python_version()
    assert found.program.exists()


async def test_the_program_lies_in_what_a_sandbox_sees() -> None:
    found = await find_interpreter("")
    seen = (Path("/usr"), *found.roots)
    assert any(found.program.is_relative_to(place) for place in seen)


@pytest.mark.full
async def test_no_python_for_a_notebook_is_said_with_the_way_out() -> None:
    with pytest.raises(InvalidInput, match=r"'>=9'.*Relax requires-python"):
        await find_interpreter(">=9")


def test_the_root_of_the_machine_is_never_shown() -> None:
    """``/bin/python3`` of a merged system may call ``/`` its prefix."""
    assert roots_of("/", "/usr", "/usr/local") == ()


def test_a_prefix_is_shown_under_both_its_names(tmp_path: Path) -> None:
    real, link = tmp_path / "3.11.9", tmp_path / "3.11"
    real.mkdir()
    link.symlink_to(real)
    assert roots_of(str(link), str(link)) == (link, real)


def test_a_python_that_the_hubs_user_cannot_execute_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demand_own_interpreter()
    program = tmp_path / "python"
    program.write_text("")
    program.chmod(0o644)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(SandboxUnavailable, match="cannot execute the hub's own Python") as refused:
        demand_own_interpreter()
    assert "Install mograder where that user" in refused.value.hint


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_python_below_a_private_directory_of_roots_is_noticed(tmp_path: Path) -> None:
    """As one in the home of root is, for a hub that became another user after its start."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "python").symlink_to(sys.executable)
    code = (
        "import os, sys\n"
        "from mograder.sandbox.environments.interpreters import demand_own_interpreter as ask\n"
        "os.setresuid(65534, 65534, 65534); ask()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [str(private / "python"), "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "who cannot execute the hub's own Python" in done.stderr
