"""The system that this process runs on."""

from __future__ import annotations

import pytest

from mograder.core.operating_system import system_of


@pytest.mark.parametrize(
    ("platform", "system"),
    [("linux", "linux"), ("darwin", "macos"), ("win32", "windows"), ("freebsd14", "macos")],
)
def test_a_platform_of_python_is_one_of_three_systems(platform: str, system: str) -> None:
    assert system_of(platform) == system
