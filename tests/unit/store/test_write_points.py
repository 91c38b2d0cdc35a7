"""A kill -9 or a full disk at every write of every operation leaves the old or the new state.

files.md, "How files are written". ``write_points`` does it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.course import REPOSITORY
from tests.unit.store.operations import OPERATIONS
from tests.unit.store.write_points import FAULTS

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, object]]:
    """The program's findings, by operation and fault."""
    told = run("write_points", tmp_path_factory.mktemp("points"))
    assert isinstance(told, list)
    return {(each["operation"], each["fault"]): each for each in told}


def run(program: str, place: Path) -> object:
    """Run one of the programs beside this file to its end; what it printed."""
    told = subprocess.run(
        [sys.executable, "-m", f"tests.unit.store.{program}", str(place)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert told.returncode == 0, told.stderr[-3000:]
    printed: object = json.loads(told.stdout)
    return printed


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", [each.name for each in OPERATIONS])
def test_every_write_of_an_operation_may_be_the_last_one(
    found: dict[tuple[str, str], dict[str, object]], operation: str, fault: str
) -> None:
    """Also: what is refused on a full disk leaves no litter, and can be done again afterwards."""
    told = found[operation, fault]
    assert "why" not in told, told["why"]
    assert int(str(told["points"])) >= 3
    assert int(str(told["old"])) > 0


def test_a_revocation_counts_or_does_not_wherever_the_database_is_cut_off(tmp_path: Path) -> None:
    """Also: what was told as done is done, and what was refused can be asked for again."""
    found = run("sql_points", tmp_path)
    assert isinstance(found, dict)
    killed, full = found["killed"], found["full"]
    assert set(killed) <= {"-25: 1", "-25: 2", "0: 2"}, killed
    assert set(full) <= {"3: 1", "0: 2"}, full
    assert "-25: 1" in killed
    assert "3: 1" in full
    assert "0: 2" in killed.keys() & full.keys()
