"""What the commands for authors share: what their course denies, and our wheel for its notebooks.

Apart from ``cli.course``, which commands need that load no parser.
"""

from __future__ import annotations

from mograder.core.settings import LoadedSettings
from mograder.notebook.denied_code import Denied
from mograder.notebook.screening import denied_by
from mograder.sandbox.environments.runtime_wheel import offer_runtime


def denied_code(loaded: LoadedSettings) -> Denied | None:
    """Return what students' answers should do without; None where nobody looks."""
    off = loaded.settings.security.safety_scan == "off"
    return None if off else denied_by(loaded.settings.safety)


def keep_runtime(loaded: LoadedSettings) -> None:
    """Put our wheel for notebooks where the headers of the course's notebooks say that it is."""
    offer_runtime(loaded.state_dir / "runtime")
