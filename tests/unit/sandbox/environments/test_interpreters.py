"""Which python an environment gets, and which directories that needs to be seen."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.sandbox.environments.record import find_interpreter, roots_of


@pytest.mark.parametrize("wanted", ["", ">=3.11", f"=={platform.python_version()}"])
async def test_the_hubs_own_python_serves_where_it_can(wanted: str) -> None:
    found = await find_interpreter(wanted)
    assert found.version == platform.python_version()
    assert found.program.exists()


async def test_the_program_lies_in_what_a_sandbox_sees() -> None:
    found = await find_interpreter("")
    seen = (Path("/usr"), *found.roots)
    assert any(found.program.is_relative_to(place) for place in seen)


@pytest.mark.full
async def test_no_python_for_a_notebook_is_said_with_the_way_out() -> None:
    with pytest.raises(InvalidInput, match=r"'>=9'.*Relax requires-python"):
        await find_interpreter(">=9")


def test_the_root_of_the_machine_is_never_shown() -> None:
    """``/bin/python3`` of a merged system may call ``/`` its prefix."""
    assert roots_of("/", "/usr", "/usr/local") == ()


def test_a_prefix_is_shown_under_both_its_names(tmp_path: Path) -> None:
    real, link = tmp_path / "3.11.9", tmp_path / "3.11"
    real.mkdir()
    link.symlink_to(real)
    assert roots_of(str(link), str(link)) == (link, real)
