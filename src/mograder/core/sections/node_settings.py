"""The section ``[nodes]`` of ``mograder.toml``: the machines that run the sessions of this hub."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mograder.core.sections.settings_values import Present, Section


class NodesSettings(Section):
    """``[nodes]``: nodes, which run sessions, validations and grading on other machines."""

    enabled: bool = False
    """Whether sessions run on nodes, which connect at the hub's own address. False: they run on
    the hub's own machine."""
    lease_seconds: Annotated[int, Field(ge=6, le=300)] = 9
    """Seconds for which a node may run sessions after it was last in touch with a hub. A node that
    is cut off ends its sessions before then, and afterwards they may be started on another one."""
    runs_dir: Present = "hub-runs"
    """The directory of the copies that are validated and graded, which nodes must reach."""
