"""Helpers for the authors' commands: the course's denied code, and our wheel for its notebooks.

Separate from ``cli.shared.course_settings``, so that other commands load no parser.
"""

from __future__ import annotations

from mograder.core.settings import LoadedSettings
from mograder.notebook.denied_code import Denied
from mograder.notebook.screening import denied_by
from mograder.sandbox.environments.runtime_wheel import offer_runtime


def denied_code(loaded: LoadedSettings) -> Denied | None:
    """Return the code that students' answers should not use; None if it is not checked."""
    off = loaded.settings.security.safety_scan == "off"
    return None if off else denied_by(loaded.settings.safety)


def keep_runtime(loaded: LoadedSettings) -> None:
    """Put our wheel for notebooks at the path that the headers of the course's notebooks name."""
    offer_runtime(loaded.state_dir / "runtime")
