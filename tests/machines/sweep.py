"""Remove what a killed run of ``scripts/test-machines`` left behind: ``python -m`` of this module.

The machines themselves end with the test's process; namespaces, links, cgroups and files do not.
"""

from __future__ import annotations

from pathlib import Path

from tests.machines.docker_machine import PREFIX, remove_cgroups, remove_network, remove_place
from tests.machines.slurm import remove_slurm_cgroups


def main() -> None:
    """Remove everything whose name begins with the rig's prefix."""
    remove_network()
    remove_cgroups(f"{PREFIX}*")
    remove_slurm_cgroups()
    for place in Path("/var/tmp").glob(f"{PREFIX}-*"):
        remove_place(place)


if __name__ == "__main__":
    main()
