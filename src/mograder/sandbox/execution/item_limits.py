"""The limits of an item's sessions, of the runs of its notebooks, and of the files beside them."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.core.errors import TooLarge
from mograder.core.sections.settings_model import (
    ItemLimits,
    ItemSettings,
    LimitsSettings,
    Settings,
)
from mograder.notebook.pep723 import Script
from mograder.sandbox.protocol import Limits


def limits_of(section: LimitsSettings) -> Limits:
    return Limits(
        processes=section.processes,
        open_files=section.open_files,
        file_size_mb=section.file_size_mb,
        tmp_mb=section.tmp_mb,
        memory_mb=section.memory_mb,
        memory_soft_mb=section.memory_soft_mb,
        cpu_weight=section.cpu_weight,
        workspace_mb=section.workspace_mb,
    )


def limits_for(settings: Settings, script: Script, item: str) -> Limits:
    return limited(limits_of(settings.limits), script, settings.of_item(item))


def limited(ordinary: Limits, script: Script, decided: ItemSettings | None) -> Limits:
    """Return the limits of an item's sessions: ``[limits]``, the header, ``[items.NAME.limits]``.

    Later sources override earlier ones. The header may exceed ``[limits]``: instructors are
    trusted with the machine's resources, and the memory of all sessions is limited separately.
    """
    limits = _overlaid(ordinary, script.limits)
    return limits if decided is None else _overlaid(limits, decided.limits)


def _overlaid(below: Limits, above: ItemLimits) -> Limits:
    given: dict[str, int] = above.model_dump(exclude_none=True)
    memory = given.get("memory_mb", below.memory_mb)
    if given.keys() & {"memory_mb", "memory_soft_mb"}:
        # 0 is just below the hard limit: far below it a session freezes instead of being ended.
        given["memory_soft_mb"] = min(given.get("memory_soft_mb", 0), memory)
    return below.model_copy(update=given)


_SKIPPED = frozenset(("__pycache__", "__marimo__", "node_modules"))


@dataclass(frozen=True, slots=True)
class CopyBounds:
    """Limits for a notebook's support files: their number and their sum in megabytes."""

    files: int = 500
    mb: int = 256


AUTHORS_BOUNDS = CopyBounds(files=10_000, mb=1000)
"""The same limits as for the files of a release beside its notebooks."""


def too_large(bounds: CopyBounds) -> TooLarge:
    return TooLarge(
        f"The notebook's folder holds more than {bounds.files} files or {bounds.mb} MB.",
        hint="Remove what the notebook does not need.",
    )


def is_needed(name: str) -> bool:
    """Return whether a notebook may need a file or folder: not hidden, not a tool's cache."""
    return not name.startswith(".") and name not in _SKIPPED
