"""A command's own supervisor beside a running hub's."""

from __future__ import annotations

from pathlib import Path

from mograder.sandbox.client.bootstrap import command_config
from tests.support.supervisors import make_config


def test_it_has_its_own_files_and_touches_no_cgroup_of_the_hubs(tmp_path: Path) -> None:
    """At its end a supervisor that divides cgroups removes the zygotes' group, and kills in it."""
    hubs = make_config(tmp_path / "hub", tmp_path, owned=False)
    own = command_config(hubs, tmp_path / "own", warm=3)
    assert hubs.divide_cgroups
    assert not own.divide_cgroups
    assert own.socket.parent == own.runtime == tmp_path / "own"
    assert own.log == tmp_path / "own" / "supervisor.log"
    assert (own.owned, own.warm_environments) == (True, 3)
    assert own.uv_cache == hubs.uv_cache
