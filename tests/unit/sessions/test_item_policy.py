"""The features of a page are read from the release, and not from a student's copy."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest

from mograder.core.names import ItemName
from mograder.core.settings_model import ItemLimits, ItemSettings, LimitsSettings
from mograder.notebook.pep723 import Script
from mograder.sessions.item_policy import Allowances, limited
from mograder.sessions.launch_spec import limits_of
from mograder.store.releases import ItemKind, Releases

ALLOWING = b"""# /// script
# dependencies = []
# [tool.mograder]
# allow = ["terminal"]
# ///
import marimo
"""


def publish(releases: Releases, name: str, text: bytes) -> None:
    with releases.stage(ItemName.parse(name)) as staged:
        staged.add(f"{name}.py", BytesIO(text))
        staged.commit(ItemKind.ASSIGNMENT)


async def test_only_what_the_release_names_is_allowed(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    publish(releases, "A1", ALLOWING)
    publish(releases, "A2", b"import marimo\n")
    allowances = Allowances(releases)
    assert await allowances.allows("A1", "terminal")
    assert not await allowances.allows("A1", "ai")
    assert not await allowances.allows("A2", "terminal")


async def test_a_release_published_again_counts_at_once(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    allowances = Allowances(releases)
    publish(releases, "A1", ALLOWING)
    assert await allowances.allows("A1", "terminal")
    publish(releases, "A1", b"import marimo\n")
    assert not await allowances.allows("A1", "terminal")


async def test_what_cannot_be_read_allows_nothing(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    allowances = Allowances(releases)
    assert not await allowances.allows("gone", "terminal")
    publish(releases, "A1", ALLOWING.replace(b"[tool.mograder]", b"[tool.mograder"))
    assert not await allowances.allows("A1", "terminal")
    publish(releases, "A1", b"\xff\xfe")
    assert not await allowances.allows("A1", "terminal")


async def test_the_administrators_word_beats_the_headers(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    publish(releases, "A1", ALLOWING)
    publish(releases, "A2", ALLOWING)
    publish(releases, "A3", ALLOWING)
    decisions = {
        "A1": ItemSettings(allow=("ai",)),
        "A2": ItemSettings(allow=()),
        "A3": ItemSettings(limits=ItemLimits(processes=9)),
    }
    allowances = Allowances(releases, decisions)
    assert await allowances.allows("A1", "ai")
    assert not await allowances.allows("A1", "terminal")
    assert not await allowances.allows("A2", "terminal"), "nothing is not unset"
    assert await allowances.allows("A3", "terminal")


ORDINARY = limits_of(LimitsSettings(memory_mb=1000, memory_soft_mb=900, processes=50))


@pytest.mark.parametrize(
    ("header", "decided", "memory", "soft", "processes"),
    [
        (ItemLimits(), None, 1000, 900, 50),
        (ItemLimits(), ItemSettings(), 1000, 900, 50),
        (ItemLimits(memory_mb=4000), None, 4000, 3000, 50),
        (ItemLimits(memory_mb=4000, memory_soft_mb=0), None, 4000, 3000, 50),
        (ItemLimits(memory_mb=4000, memory_soft_mb=3900), None, 4000, 3900, 50),
        (ItemLimits(memory_soft_mb=5000), None, 1000, 1000, 50),
        (ItemLimits(memory_mb=500), None, 500, 375, 50),
        (ItemLimits(memory_mb=4000, processes=9), {"memory_mb": 2000}, 2000, 1500, 9),
        (ItemLimits(processes=9), {"memory_soft_mb": 0}, 1000, 750, 9),
        (ItemLimits(processes=9), {"processes": 100}, 1000, 900, 100),
    ],
)
def test_each_bound_is_the_last_one_that_anybody_set(
    header: ItemLimits,
    decided: ItemSettings | dict[str, int] | None,
    memory: int,
    soft: int,
    processes: int,
) -> None:
    """``[limits]``, then the header, then ``[items.NAME.limits]``; the soft bound stays below."""
    if isinstance(decided, dict):
        decided = ItemSettings(limits=ItemLimits(**decided))
    limits = limited(ORDINARY, Script(limits=header), decided)
    assert (limits.memory_mb, limits.memory_soft_mb, limits.processes) == (memory, soft, processes)
    assert limits.tmp_mb == ORDINARY.tmp_mb


def test_every_bound_of_a_session_may_be_set_for_an_item() -> None:
    names = ItemLimits.model_fields
    script = Script(limits=ItemLimits.model_validate(dict.fromkeys(names, 77)))
    limits = limited(ORDINARY, script, None)
    assert limits.model_dump() == dict.fromkeys(names, 77)
