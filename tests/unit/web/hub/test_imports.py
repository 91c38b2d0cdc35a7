"""What a hub does not load: the libraries and modules of features that it does not have."""

from __future__ import annotations

import subprocess
import sys

import pytest

FEATURES = ("cryptography", "joserfc", "mograder.sandbox.nodes.", "mograder.sessions.nodes.")


@pytest.mark.full
def test_a_hub_of_one_machine_loads_nothing_of_nodes_and_other_systems() -> None:
    code = (
        "import sys, mograder.web.hub.server;"
        f"loaded = [name for name in sys.modules if name.startswith({FEATURES!r})];"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
