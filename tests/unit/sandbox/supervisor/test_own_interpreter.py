"""A hub whose user may not execute the Python that it runs in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.supervisor.config import demand_own_interpreter


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
        "from mograder.sandbox.supervisor.config import demand_own_interpreter as ask\n"
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
