"""A session's limits when the machine grants less than these."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.sandbox.inside import serve

pytestmark = pytest.mark.full

CODE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
sys.path.insert(0, sys.argv[1])
import serve
serve.set_limits({{"RLIMIT_NOFILE": {wanted}}})
print(resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def _limited(wanted: int) -> str:
    place = str(Path(serve.__file__).parent)
    command = [sys.executable, "-c", CODE.format(wanted=wanted), place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_a_limit_beyond_the_machines_is_cut_to_that() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 64
    assert _limited(1 << 20) == "(64, 64)"
    assert _limited(32) == "(32, 32)"
