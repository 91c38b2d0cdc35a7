"""The section ``[nodes]`` of ``mograder.toml``: the machines that run the sessions of this hub."""

from __future__ import annotations

import socket
from typing import Annotated

from pydantic import AfterValidator, Field

from mograder.core.sections.settings_values import Present, Section, network_address


class NodesSettings(Section):
    """``[nodes]``: nodes, which run sessions, validations and grading on other machines."""

    listen: Annotated[str, AfterValidator(network_address)] = ""
    """The address at which nodes connect to this hub, such as "0.0.0.0:8442". Empty: sessions run
    on the hub's own machine."""
    address: Annotated[str, AfterValidator(network_address)] = ""
    """The address by which nodes reach this hub, such as "hub1.example.edu:8442". Empty: `listen`,
    with this machine's name if that is a wildcard."""
    lease_seconds: Annotated[int, Field(ge=6, le=300)] = 9
    """Seconds for which a node may run sessions after it was last in touch with a hub. A node that
    is cut off ends its sessions before then, and afterwards they may be started on another one."""
    runs_dir: Present = "hub-runs"
    """The directory of the copies that are validated and graded, which nodes must reach."""


_WILDCARDS = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 - told apart, not bound


def address_for_nodes(settings: NodesSettings) -> str:
    """Return the address by which nodes reach this hub, "" for a hub without nodes."""
    if settings.address or not settings.listen:
        return settings.address
    host, _, port = settings.listen.rpartition(":")
    return f"{socket.getfqdn()}:{port}" if host in _WILDCARDS else settings.listen
