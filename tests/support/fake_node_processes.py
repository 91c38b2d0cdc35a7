"""Fake nodes in processes of their own, which have joined a real hub."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.course import REPOSITORY
from tests.support.hub import HubProcess, outside, run_mograder
from tests.support.process import ServerProcess


@contextmanager
def fake_nodes(hub: HubProcess, count: int, place: Path) -> Iterator[dict[str, ServerProcess]]:
    """Let so many nodes join a hub that runs; yields their processes by name.

    ``place`` is a directory with a short path, for their sockets and logs.
    """
    token = join_token(hub, count)
    with ExitStack() as stack:
        nodes: dict[str, ServerProcess] = {}
        for name in (f"node-{number}" for number in range(1, count + 1)):
            node = nodes[name] = ServerProcess(name, place / f"{name}.log")
            program = [sys.executable, "-m", "tests.support.fake_node_program"]
            node.launch([*program, token, name, str(place)], outside(), REPOSITORY)
            stack.callback(node.stop)
        yield nodes


def join_token(hub: HubProcess, uses: int) -> str:
    """Return a join token that is good for so many nodes."""
    made = run_mograder(
        *("hub", "node-token", "--uses", str(uses)),
        env={"MOGRADER_HUB_SECRET": hub.config.secret},
        cwd=hub.course,
    )
    if made.status != 0:
        raise RuntimeError(f"no token was made: {made.errors}")
    return made.output.strip()
