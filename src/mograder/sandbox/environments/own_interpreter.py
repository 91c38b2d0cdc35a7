"""Whether the Python of a hub or supervisor can be started again."""

from __future__ import annotations

import os
import pwd
import sys

from mograder.core.errors import SandboxUnavailable

assert sys.platform == "linux"  # only supervisors ask, which need Linux


def demand_own_interpreter() -> None:
    """Check that this user may execute the Python that this process runs in.

    A process that was started as root may run in an interpreter that it cannot start again, for
    example in a virtual environment below ``/root``.
    Raises: :class:`SandboxUnavailable` with the remedy.
    """
    if os.access(sys.executable, os.X_OK, effective_ids=True):
        return
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"uid {uid}"
    raise SandboxUnavailable(
        f"The hub runs as {user}, who cannot execute the hub's own Python ({sys.executable}).",
        hint="Install mograder where that user can read and execute it, for example in a virtual "
        "environment below /opt or in the user's home; not below another user's private directory.",
    )
