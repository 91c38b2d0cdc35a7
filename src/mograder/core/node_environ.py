"""The variables of ``mograder node``; its options take precedence over them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from mograder.core.errors import InvalidInput

DRAIN_SECONDS = 20.0
"""The default time between a node's signal to end and the end of its last sessions."""


@dataclass(frozen=True, slots=True)
class NodeEnviron:
    """The settings of a node.

    ``state`` is the directory of its identity, environments and logs; ``shares`` are the
    directories that it has in common with the hubs. ``token`` is a join token. ``memory_mb`` is
    for all sessions together, 0 for nine tenths of the machine's. ``drain_seconds`` is the time
    between the signal to end and the end of the last session.
    """

    state: Path = Path("mograder-node")
    shares: tuple[Path, ...] = ()
    name: str = ""
    token: SecretStr | None = None
    memory_mb: int = 0
    drain_seconds: float = DRAIN_SECONDS
    uv_cache: Path | None = None


def node_environ(environ: Mapping[str, str], home: Path, token: str) -> NodeEnviron:
    """Return the settings of a node from ``MOGRADER_NODE_*``; ``token`` is a credential's text.

    The state is in ``MOGRADER_NODE_STATE``, in the directory that systemd has made
    (``StateDirectory=``), or in the home.

    Raises: :class:`InvalidInput` for a number that is none.
    """
    state = environ.get("MOGRADER_NODE_STATE") or environ.get("STATE_DIRECTORY", "").split(":")[0]
    cache = environ.get("MOGRADER_NODE_UV_CACHE", "")
    given = environ.get("MOGRADER_NODE_TOKEN", "").strip() or token
    return NodeEnviron(
        state=Path(state) if state else home / ".local/state/mograder-node",
        shares=tuple(map(Path, filter(None, environ.get("MOGRADER_NODE_SHARE", "").split(":")))),
        name=environ.get("MOGRADER_NODE_NAME", "") or socket.gethostname().partition(".")[0],
        token=SecretStr(given) if given else None,
        memory_mb=int(_number(environ, "MOGRADER_NODE_MEMORY_MB", 0)),
        drain_seconds=_number(environ, "MOGRADER_NODE_DRAIN_SECONDS", DRAIN_SECONDS),
        uv_cache=Path(cache) if cache else None,
    )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        raise InvalidInput(f"{name} is not a number: {text[:40]!r}.")
    return number
