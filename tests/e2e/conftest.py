"""End-to-end tests: the journeys with the real hub, marimo, bubblewrap, nginx and Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fixtures import (
    browser,
    caches,
    people,
    shared_hub,
    start_front,
    start_hub,
    work_directory,
)
from tests.support.oidc_provider import start_openid_provider

__all__ = [
    "browser",
    "caches",
    "people",
    "shared_hub",
    "start_front",
    "start_hub",
    "start_openid_provider",
    "work_directory",
]

_SECONDS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give journeys more time than units; one that names its own time keeps it."""
    for item in items:
        here = Path(__file__).parent in item.path.parents
        if here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_SECONDS))
