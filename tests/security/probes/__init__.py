"""What hostile student code tries; the source text of these modules is typed into a notebook.

``attempts`` keeps the list and makes them; the others hold the attempts, by what they are after.
"""

from __future__ import annotations

import inspect
import re
from types import ModuleType

from tests.security.probes import attempts, filesystem, kernel, network, privileges

MODULES: tuple[ModuleType, ...] = (attempts, filesystem, privileges, kernel, network)

_OURS = re.compile(r"^from (?:__future__|tests\.\S+) import (?:\([^)]*\)|.*)$", re.MULTILINE)


def source() -> str:
    """Return all of it as the text of one cell, which stands alone."""
    text = "\n".join(inspect.getsource(module) for module in MODULES)
    return _OURS.sub("", text)
