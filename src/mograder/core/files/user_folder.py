"""The folder for what mograder keeps for a person on their computer, outside of any course."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from mograder.core.operating_system import SYSTEM

_NAME = "mograder"


def user_folder(home: Path) -> Path:
    """Return the folder; it may not exist yet.

    On Linux it is ``~/.config/mograder`` whatever XDG_CONFIG_HOME is, since 0.3.16 ignores that. On
    macOS it is in ``~/Library/Application Support``; on Windows in ``%APPDATA%``, which only the
    user and administrators may read.
    """
    if SYSTEM == "linux":
        return earlier_folder(home)
    return platformdirs.user_config_path(_NAME, appauthor=False, roaming=True)


def user_cache(home: Path) -> Path:
    """Return the folder for what can be made again, such as environments; it may not exist yet."""
    if SYSTEM == "linux":
        return home / ".cache" / _NAME
    return platformdirs.user_cache_path(_NAME, appauthor=False)


def earlier_folder(home: Path) -> Path:
    """Return the folder of 0.3.16, which is the same on all systems."""
    return home / ".config" / _NAME
