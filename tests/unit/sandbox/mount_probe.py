"""Checks of a mount namespace, each in its own process with a namespace of its own.

``python mount_probe.py CHECK DIRECTORY``, as root; :mod:`test_mounts` starts it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.isolation.mounts import MountSpace


def every_uid_finds_it(space: MountSpace, place: Path) -> None:
    """Below a directory that others may not enter."""
    work, single = space.own(place / "course/work"), space.shared(place / "course/file")
    assert _as_nobody(lambda: (work / "A1.py").read_text() + single.read_text() == "A1file")
    assert _as_nobody(lambda: not os.access(place / "course", os.R_OK))


def nothing_piles_up(space: MountSpace, place: Path) -> None:
    """A supervisor lives for months."""
    known = space.shared(place / "course/file")
    before = _mounts()
    for _ in range(5):
        assert space.shared(place / "course/../course/file") == known
        space.release(space.own(place / "course/work"))
    assert _mounts() == before
    space.close()
    assert not space.place.exists()


def what_was_replaced_is_shown_anew(space: MountSpace, place: Path) -> None:
    """A lecture that was published again has the same path and another directory."""
    first = space.shared(place / "course/work")
    (place / "course/work").rename(place / "course/old")
    (place / "course/work").mkdir()
    (place / "course/work/new").touch()
    assert [path.name for path in space.shared(place / "course/work").iterdir()] == ["new"]
    assert not first.exists()


def a_link_is_never_bound(space: MountSpace, place: Path) -> None:
    """It leads wherever whoever made it wants."""
    (place / "course/link").symlink_to("/etc")
    before, refused = _mounts(), False
    try:
        space.own(place / "course/link")
    except SandboxUnavailable:
        refused = True
    assert refused
    assert _mounts() == before


def the_way_is_opened_in_here(space: MountSpace, place: Path) -> None:
    """Passed, but not listed; also to what is made later; and nothing to what is not there."""
    space.open_way(place / "course/work")
    assert _as_nobody(lambda: (place / "course/work/A1.py").read_text() == "A1")
    assert _as_nobody(lambda: not os.access(place / "course", os.R_OK))
    space.open_way(place / "course/nowhere/at/all")
    assert not (place / "course/nowhere").exists()


CHECKS: tuple[Callable[[MountSpace, Path], None], ...] = (
    every_uid_finds_it,
    nothing_piles_up,
    what_was_replaced_is_shown_anew,
    a_link_is_never_bound,
    the_way_is_opened_in_here,
)


def _mounts() -> int:
    return len(Path("/proc/self/mountinfo").read_text().splitlines())


def _as_nobody(holds: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os._exit(0 if holds() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def main(name: str, place: Path) -> None:
    """Run one check in a mount space."""
    check = next(check for check in CHECKS if check.__name__ == name)
    space = MountSpace((place, Path("/run"), Path("/tmp")), f"test-{os.getpid()}")
    check(space, place)
    if space.place.exists():
        space.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
