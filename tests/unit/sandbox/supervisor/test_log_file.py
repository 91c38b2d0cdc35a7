"""The supervisor's log file has a bound, and holds what is written to standard error."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import logging, os, sys
from pathlib import Path
from mograder.core.log import configure_logging
from mograder.sandbox.supervisor.config import LogFile
configure_logging(to=LogFile(Path(sys.argv[1])))
log = logging.getLogger("mograder.supervisor")
for number in range(300):
    log.info("%d %s", number, "x" * 10_000)
os.write(2, b"the last words")
"""


@pytest.mark.full
def test_an_older_file_is_kept_and_standard_error_follows_to_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "state" / "supervisor.log"
    subprocess.run([sys.executable, "-c", _PROGRAM, str(path)], check=True)
    older = path.with_name("supervisor.log.1")
    assert sorted(path.parent.iterdir()) == [path, older]
    assert max(path.stat().st_size, older.stat().st_size) <= 1 << 20
    text = path.read_text()
    assert "299 xxx" in text
    assert text.endswith("the last words")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
