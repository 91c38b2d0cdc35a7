"""From "alice opens A1" to all that a launcher must know, on real releases and workspaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.core.sections.settings_model import ItemLimits, ItemSettings, LimitsSettings
from mograder.core.tasks import Progress
from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.builder import Environment, Environments
from mograder.sandbox.execution.item_limits import limited, limits_of
from mograder.sandbox.protocol import Mode, StartSession
from mograder.sessions.launch_spec import Allowances, Spawner
from mograder.sessions.session import SessionKey
from mograder.store.copies.workspaces import Workspaces
from mograder.store.hub.hub_state import HubState
from mograder.store.releases.releases import ItemKind, Release, Releases
from tests.support.releases import publish
from tests.support.session_pools import ALICE, LECTURE, ignore_progress

NOTEBOOK = b"""# /// script
# dependencies = ["numpy"]
# ///
import marimo
"""


@dataclass
class Ready:
    """Environments that are there; remembers for which headers."""

    asked: list[Script] = field(default_factory=list)

    async def prepare(self, script: Script, progress: Progress) -> Environment:
        progress("Looking")
        self.asked.append(script)
        return Environment(Path("/environments/abc"))


class Numbers(HubState):
    """Everybody's number is the length of the name."""

    def __init__(self) -> None:
        """Without a database."""

    def slot_of(self, username: str) -> int:
        return len(username)


@dataclass
class Place:
    releases: Releases
    workspaces: Workspaces
    environments: Ready = field(default_factory=Ready)
    decided: dict[str, ItemSettings] = field(default_factory=dict)
    """What the administrator says of items."""

    @property
    def spawner(self) -> Spawner:
        return Spawner(
            self.releases,
            self.workspaces,
            cast(Environments, self.environments),
            Numbers(),
            limits_of(LimitsSettings()),
            self.decided,
            asset_url="../_marimo",
        )

    def publish(self, name: str, kind: ItemKind, text: bytes = NOTEBOOK) -> Release:
        return publish(self.releases, {f"{name}.py": text}, name, kind)

    def copied(self, text: bytes = NOTEBOOK, *, of: SessionKey = ALICE) -> Path:
        """Publish an assignment; return the directory of a student's copy."""
        release = self.publish(of.item, ItemKind.ASSIGNMENT, text)
        return self.workspaces.ensure(Username(of.user), release)

    async def request(self, key: SessionKey = ALICE) -> StartSession:
        """Return all that a launcher must know of a session."""
        return await self.spawner.request(key, "session-id", ignore_progress)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(Releases(tmp_path / "releases"), Workspaces(tmp_path / "workspaces"))


async def test_an_edit_is_of_the_students_copy(place: Place) -> None:
    directory = place.copied()
    request = await place.request()
    assert (request.directory, request.notebook) == (directory, "A1.py")
    assert (request.mode, request.uid_slot) == (Mode.EDIT, 5)
    assert request.base_url == "/edit/user/alice/A1"
    assert request.environment == Path("/environments/abc")
    assert request.asset_url == "../_marimo"
    assert await place.spawner.version(ALICE) == ""


async def test_a_rehearsal_is_preferred_to_nothing(place: Place) -> None:
    keys = (ALICE, SessionKey("__rehearsal-1", "A1", Mode.EDIT))
    for key in keys:
        place.copied(of=key)
    student, rehearsal = [await place.request(key) for key in keys]
    assert (student.limits.cpu_weight, student.awaited) == (100, True)
    assert (rehearsal.limits.cpu_weight, rehearsal.awaited) == (1, False)
    same = {"cpu_weight": 100}
    assert rehearsal.limits.model_copy(update=same) == student.limits


async def test_a_lecture_is_the_release_itself(place: Place) -> None:
    release = place.publish("L01", ItemKind.LECTURE)
    request = await place.request(LECTURE)
    assert (request.directory, request.base_url) == (release.directory, "/run/user/alice/L01")
    assert await place.spawner.version(LECTURE) == release.version
    again = place.publish("L01", ItemKind.LECTURE, NOTEBOOK + b"# more\n")
    assert await place.spawner.version(LECTURE) == again.version != release.version


@pytest.mark.parametrize("kind", list(ItemKind))
async def test_only_a_demo_keeps_its_code_to_itself(place: Place, kind: ItemKind) -> None:
    """compatibility-0.3.16.md 2.5."""
    place.publish(LECTURE.item, kind)
    assert (await place.request(LECTURE)).code is (kind is not ItemKind.DEMO)


async def test_names_are_encoded_in_the_address(place: Place) -> None:
    key = SessionKey("ann@x.edu", "Week 1 & 2", Mode.EDIT)
    place.copied(of=key)
    request = await place.request(key)
    assert request.base_url == "/edit/user/ann%40x.edu/Week%201%20%26%202"


async def test_a_copys_own_header_decides_nothing(place: Place) -> None:
    """A student could name any package there."""
    directory = place.copied()
    (directory / "A1.py").write_bytes(NOTEBOOK.replace(b"numpy", b"requests"))
    await place.request()
    assert [script.dependencies for script in place.environments.asked] == [("numpy",)]


LIMITED = NOTEBOOK.replace(
    b"# ///\nimport",
    b'# [tool.mograder]\n# allow = ["ai"]\n# limits = {memory_mb = 64}\n# ///\nimport',
)


async def test_the_release_says_what_a_session_may_use_and_a_copy_does_not(place: Place) -> None:
    directory = place.copied(LIMITED)
    asked_for_more = LIMITED.replace(b"= 64", b"= 64000").replace(b"ai", b"terminal")
    assert asked_for_more != LIMITED
    (directory / "A1.py").write_bytes(asked_for_more)
    request = await place.request()
    assert (request.limits.memory_mb, request.limits.memory_soft_mb, request.allow) == (
        64,
        0,
        ("ai",),
    )
    assert request.limits.processes == LimitsSettings().processes


async def test_the_administrator_says_more_than_the_release(place: Place) -> None:
    place.copied(LIMITED)
    place.publish("L01", ItemKind.LECTURE, LIMITED)
    place.decided["A1"] = ItemSettings(allow=("lsp",), limits=ItemLimits(memory_mb=128))
    request = await place.request()
    assert (request.limits.memory_mb, request.allow) == (128, ("lsp",))
    request = await place.request(LECTURE)
    assert (request.limits.memory_mb, request.allow) == (64, ("ai",)), "only the item that it names"


async def test_a_copy_whose_release_is_gone_opens_in_the_plain_environment(place: Place) -> None:
    place.copied()
    release = place.releases.get(ItemName("A1"))
    assert release is not None
    (release.directory / "A1.py").unlink()
    await place.request()
    assert place.environments.asked == [Script()]


async def test_there_must_be_something_to_open(place: Place) -> None:
    with pytest.raises(NotFound, match="Notebook not found"):
        await place.request()
    with pytest.raises(NotFound, match="Lecture not found"):
        await place.request(LECTURE)


async def test_a_link_in_place_of_the_copy_is_no_copy(place: Place) -> None:
    notebook = place.copied() / "A1.py"
    notebook.unlink()
    notebook.symlink_to("/etc/passwd")
    with pytest.raises(NotFound):
        await place.request()


async def test_a_malformed_header_is_named(place: Place) -> None:
    place.copied(b"# /// script\n# dependencies = [\n# ///\n")
    with pytest.raises(InvalidInput):
        await place.request()


async def test_a_notebook_too_large_to_be_read_whole_is_not_started(place: Place) -> None:
    with (place.copied() / "A1.py").open("r+b") as file:
        file.truncate(10 << 30)
    with pytest.raises(InvalidInput, match="larger than 16 MB"):
        await place.request()


ALLOWING = b"""# /// script
# dependencies = []
# [tool.mograder]
# allow = ["terminal"]
# ///
import marimo
"""


@pytest.mark.parametrize(
    ("released", "decided", "allowed"),
    [
        pytest.param(ALLOWING, None, {"terminal"}, id="what the release names"),
        pytest.param(b"import marimo\n", None, set(), id="nothing that it does not name"),
        pytest.param(
            ALLOWING.replace(b"[tool.mograder]", b"[tool.mograder"),
            None,
            set(),
            id="nothing by a header that cannot be read",
        ),
        pytest.param(b"\xff\xfe", None, set(), id="nothing by what is no text"),
        pytest.param(
            ALLOWING, ItemSettings(allow=("ai",)), {"ai"}, id="what the administrator says instead"
        ),
        pytest.param(
            ALLOWING, ItemSettings(allow=()), set(), id="nothing where the administrator says so"
        ),
        pytest.param(
            ALLOWING,
            ItemSettings(limits=ItemLimits(processes=9)),
            {"terminal"},
            id="what the release names where the administrator says something else",
        ),
    ],
)
async def test_a_session_may_use(
    tmp_path: Path, released: bytes, decided: ItemSettings | None, allowed: set[str]
) -> None:
    releases = Releases(tmp_path)
    allowances = Allowances(releases, {} if decided is None else {"A1": decided})
    assert not await allowances.allows("A1", "terminal"), "there is no release yet"
    publish(releases, {"A1.py": b"import marimo\n"}, "A1")
    assert not await allowances.allows("A1", "terminal")
    publish(releases, {"A1.py": released}, "A1")  # again: it counts at once
    assert {each for each in ("terminal", "ai") if await allowances.allows("A1", each)} == allowed


ORDINARY = limits_of(LimitsSettings(memory_mb=1000, memory_soft_mb=900, processes=50))


@pytest.mark.parametrize(
    ("header", "decided", "memory", "soft", "processes"),
    [
        (ItemLimits(), None, 1000, 900, 50),
        (ItemLimits(), ItemSettings(), 1000, 900, 50),
        (ItemLimits(memory_mb=4000), None, 4000, 0, 50),
        (ItemLimits(memory_mb=4000, memory_soft_mb=0), None, 4000, 0, 50),
        (ItemLimits(memory_mb=4000, memory_soft_mb=3900), None, 4000, 3900, 50),
        (ItemLimits(memory_soft_mb=5000), None, 1000, 1000, 50),
        (ItemLimits(memory_mb=500), None, 500, 0, 50),
        (ItemLimits(memory_mb=4000, processes=9), {"memory_mb": 2000}, 2000, 0, 9),
        (ItemLimits(processes=9), {"memory_soft_mb": 0}, 1000, 0, 9),
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
    """``[limits]``, then the header, then ``[items.NAME.limits]``.

    Without a soft bound beside a new hard one it is 0, just below that: a session that was given
    4 GB must not come almost to a halt at 3.
    """
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
