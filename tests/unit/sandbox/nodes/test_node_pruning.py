"""A node removes environments that were not used for a month, and no others."""

from __future__ import annotations

import os
import time
from pathlib import Path

from mograder.sandbox.environments.builder import LOCK
from mograder.sandbox.environments.pruning import finished_environments
from mograder.sandbox.environments.record import keep
from mograder.sandbox.nodes.node_supervisor import prune_unused
from tests.support.supervisors import shell_environment

DAY = 86_400


def environment(root: Path, name: str, days: float) -> None:
    """An environment that was last used some days ago."""
    shell_environment(root / name, "true")
    (root / name / LOCK).write_text("")
    then = time.time() - days * DAY
    os.utime(root / name / LOCK, (then, then))


def test_only_what_was_not_used_for_a_month_is_removed(tmp_path: Path) -> None:
    for name, days in (("recent-1", 29.0), ("unused-1", 31.0), ("running-", 31.0)):
        environment(tmp_path, name, days)

    kept = keep(tmp_path / "running-")
    assert prune_unused(tmp_path) == ("unused-1",)
    os.close(kept)
    left = [path.name for path in finished_environments(tmp_path)]
    assert left == ["recent-1", "running-"]
