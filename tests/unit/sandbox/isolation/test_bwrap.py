"""Which bubblewrap is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.isolation.bwrap import find_bubblewrap


def _bwrap(place: Path, commands: str) -> Path:
    """Return a program that runs these commands of a shell."""
    program = place / "bwrap"
    program.write_text(f"#!/bin/sh\n{commands}\n")
    program.chmod(0o755)
    return program


@pytest.mark.full
@pytest.mark.parametrize(
    "commands",
    [
        *(f"echo bubblewrap {each}" for each in ("0.8.0", "0.11.1", "1.0")),
        "echo 'bwrap: No permissions to create new namespace' >&2; exit 1",
    ],
)
def test_one_that_is_new_enough_is_taken_or_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str
) -> None:
    """A sandbox is tried anyway, before it is relied on."""
    program = _bwrap(tmp_path, commands)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_bubblewrap() == str(program)


@pytest.mark.full
@pytest.mark.parametrize("version", ["0.6.1", "0.7.0"])
def test_an_old_one_is_refused_with_the_version_that_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """It refuses options that each sandbox has."""
    program = _bwrap(tmp_path, f"echo bubblewrap {version}")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable) as refusal:
        find_bubblewrap()
    said = f"bubblewrap 0.8.0 or newer is needed, and {program} is {version}."
    assert refusal.value.message == said
    assert "use_bubblewrap = false" in refusal.value.hint


def test_without_one_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="is not installed") as refusal:
        find_bubblewrap()
    assert "apt install bubblewrap" in refusal.value.hint
