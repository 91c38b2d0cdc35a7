"""A node as a process: ``python -m tests.support.node_program SUPERVISOR REST``, both JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mograder.core.log import configure_logging
from mograder.core.systemd import NO_SERVICE
from mograder.sandbox.nodes.node_config import NodeConfig
from mograder.sandbox.nodes.node_dialer import Hub
from mograder.sandbox.nodes.node_supervisor import serve_node
from mograder.sandbox.supervisor.config import SupervisorConfig


def _run(supervisor: str, rest: str) -> None:
    given = json.loads(rest)
    hub, secret = Hub.parse(given.pop("hub")), given.pop("secret")
    config = NodeConfig(
        state=Path(given.pop("state")),
        shares=tuple(map(Path, given.pop("shares"))),
        supervisor=SupervisorConfig.model_validate_json(supervisor),
        **given,
    )
    configure_logging()
    serve_node(config, hub, secret, NO_SERVICE)


if __name__ == "__main__":
    _run(*sys.argv[1:])
