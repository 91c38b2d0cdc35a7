"""Attacks of hostile student code; the source text of these modules is typed into a notebook.

``attempts`` keeps the list and runs it; the other modules contain the attempts, by their target.
"""

from __future__ import annotations

import inspect
import re
from types import ModuleType

from tests.security.probes import attempts, filesystem, kernel, network, privileges

MODULES: tuple[ModuleType, ...] = (attempts, filesystem, privileges, kernel, network)

_OURS = re.compile(r"^from (?:__future__|tests\.\S+) import (?:\([^)]*\)|.*)$", re.MULTILINE)


def source() -> str:
    """Return the modules as the text of one self-contained cell."""
    text = "\n".join(inspect.getsource(module) for module in MODULES)
    return _OURS.sub("", text)
