"""Begins the pretence in each Python process that has this directory in its ``PYTHONPATH``."""

from __future__ import annotations

import os
import sys

if os.environ.get("PRETENDED_SYSTEM", "linux") != "linux":
    try:
        from tests.support.other_system.start.pretended_modules import begin

        begin(os.environ["PRETENDED_SYSTEM"])
    except BaseException:  # noqa: BLE001 - each failure has to end the process
        sys.excepthook(*sys.exc_info())
        # Python only mentions an error of this module, and would go on as on Linux.
        os._exit(99)
