"""The hub's operations on files, each with its state before and after, to be interrupted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.errors import Busy
from mograder.core.files.disk import DISK, Disk
from mograder.core.item_dates import Visibility
from mograder.core.names import ItemName, Username
from mograder.store.copies.merged_files import KnownFiles
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.allowlist import Allowlist
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.releases.releases import Release, Releases
from mograder.store.submissions.submissions import Submissions
from tests.support.releases import publish

ALICE = Username.parse("alice")
A1 = ItemName.parse("A1")
NOW = datetime(2026, 9, 1, 9, 0, tzinfo=UTC)
WORK = b"the student's work\n" * 50
SENT = b"what the student sent\n" * 50
EARLIER = b"an earlier version\n" * 50
KEPT = "A1.bak.20260801T090000.py"
HANDED_IN = "alice_20260901T090000.py"
FIRST = {"A1.py": b"released first\n", "data.csv": b"1\n"}
SECOND = {"A1.py": b"released anew\n", "data.csv": b"2\n", "more.csv": b"3\n"}


@dataclass(frozen=True, slots=True)
class Operation:
    """``state`` returns "old" or "new", and fails for anything else; ``act`` may be repeated."""

    name: str
    prepare: Callable[[Path], None]
    act: Callable[[Path, Disk], object]
    state: Callable[[Path], str]


def litter(home: Path) -> set[str]:
    """Temporary files that must be gone, or renamed, when an operation has ended."""
    staged = [path for each in home.glob("*/.staging") for path in each.iterdir()]
    return {path.name for path in [*staged, *home.rglob("*.tmp")]}


def _spaces(home: Path, disk: Disk = DISK) -> Workspaces:
    return Workspaces(home / "hub-notebooks", disk=disk)


def _release(home: Path) -> Release:
    release = Releases(home / "hub-release").get(A1)
    assert release is not None
    return release


def _publish(home: Path, files: dict[str, bytes], disk: Disk = DISK) -> None:
    publish(Releases(home / "hub-release", disk=disk), files)


def _released(home: Path) -> None:
    _publish(home, FIRST)


def _worked(home: Path) -> None:
    """A copy that was worked on, with an earlier version beside it."""
    _released(home)
    folder = _spaces(home).ensure(ALICE, _release(home))
    (folder / "A1.py").write_bytes(WORK)
    (folder / KEPT).write_bytes(EARLIER)


def _submitted(home: Path) -> None:
    _worked(home)
    Submissions(home / "submitted").add(ALICE, A1, EARLIER, NOW)


def _copy_became(new: bytes) -> Callable[[Path], str]:
    """The copy is the student's work, or what replaced it; the work is never without a name."""

    def state(home: Path) -> str:
        folder = home / "hub-notebooks" / "alice" / "A1"
        held = [path.read_bytes() for path in folder.glob("A1*.py")]
        assert WORK in held, "the student's work is gone"
        assert EARLIER in held, "an earlier version is gone"
        now = (folder / "A1.py").read_bytes()
        assert now in (WORK, new), f"half a notebook: {now!r}"
        return "old" if now == WORK else "new"

    return state


def _published_anew(home: Path) -> None:
    _worked(home)
    _publish(home, SECOND)


def _merge(home: Path, disk: Disk) -> None:
    digest = hashlib.sha256(FIRST["data.csv"]).hexdigest()
    known = KnownFiles({"data.csv": frozenset({digest})})
    _spaces(home, disk).merge(ALICE, _release(home), SENT, known, NOW)


def _merged(home: Path) -> str:
    """The text comes last: a merged one has all data files."""
    state = _copy_became(SENT)(home)
    folder = home / "hub-notebooks" / "alice" / "A1"
    assert (folder / "data.csv").read_bytes() in (FIRST["data.csv"], SECOND["data.csv"])
    if state == "new":
        found = {name: (folder / name).read_bytes() for name in ("data.csv", "more.csv")}
        assert found == {name: SECOND[name] for name in found}
    return state


def _begun(new: bytes) -> Callable[[Path], str]:
    """There is no copy yet, or a whole one."""

    def state(home: Path) -> str:
        folder = home / "hub-notebooks" / "alice" / "A1"
        if not (folder / "A1.py").exists():
            return "old"
        assert _spaces(home).text(ALICE, A1, 1_000_000).encode() == new
        assert new == SENT or (folder / "data.csv").read_bytes() == FIRST["data.csv"]
        return "new"

    return state


def _fetched(home: Path) -> None:
    """A submission, and a later one that was fetched into the place of the link."""
    _submitted(home)
    link = home / "submitted" / "A1" / "alice.py"
    link.unlink()
    link.write_bytes(SENT)


def _picked(home: Path) -> str:
    place = home / "submitted" / "A1"
    assert {path.read_bytes() for path in place.glob("alice*.py")} == {EARLIER, SENT}
    counting = Submissions(home / "submitted").counting(ALICE, A1)
    assert counting is not None
    return "new" if counting.filename == HANDED_IN else "old"


def _exported(home: Path) -> str:
    folder = home / "hub-notebooks" / "alice" / "A1"
    assert (folder / "A1.py").read_bytes() == WORK
    return "new" if (folder / ".exported").exists() else "old"


def _handed_in(home: Path) -> str:
    place = home / "submitted" / "A1"
    whole = {path.name: path.read_bytes() for path in place.glob("alice_*.py")}
    assert whole[HANDED_IN] == EARLIER, "an earlier submission is gone"
    assert set(whole.values()) <= {EARLIER, WORK}, "half a submission"
    latest = (place / "alice.py").read_bytes()
    assert latest in (EARLIER, WORK)
    return "old" if latest == EARLIER else "new"


def _published(home: Path) -> str:
    release = _release(home)
    files = {name: (release.directory / name).read_bytes() for name in release.files}
    assert files in (FIRST, SECOND), f"a mixture: {files}"
    return "old" if files == FIRST else "new"


def _report(home: Path, disk: Disk) -> None:
    if not _spaces(home, disk).put_report(ALICE, A1, "new report"):
        raise Busy("The report was not left.")


def _reported(home: Path) -> str:
    report = home / "hub-notebooks" / "alice" / "A1" / "A1.html"
    if not report.exists():
        return "old"
    assert report.read_text() == "new report"
    return "new"


def _rules(home: Path, disk: Disk = DISK) -> VisibilityRules:
    return VisibilityRules(home / "hub-release" / ".visibility.json", disk=disk)


def _hidden_first(home: Path) -> None:
    _released(home)
    _rules(home).change({"A1": Visibility(visible_from=NOW)})


def _hide(home: Path, disk: Disk) -> None:
    _rules(home, disk).change({"A2": Visibility(hidden=True)})


def _hidden(home: Path) -> str:
    rules = _rules(home).all()
    assert rules["A1"] == Visibility(visible_from=NOW), "another rule is gone"
    return "new" if rules.get("A2") == Visibility(hidden=True) else "old"


def _listed_first(home: Path) -> None:
    Allowlist(home / "allowed_users.txt").replace(["alice"])


def _listed(home: Path) -> str:
    listed = Allowlist(home / "allowed_users.txt").listed()
    assert listed in (("alice",), ("alice", "bob")), f"half a list: {listed}"
    return "old" if listed == ("alice",) else "new"


def _nothing(home: Path) -> None:
    os.makedirs(home / "hub-notebooks", exist_ok=True)  # noqa: PTH103 - as short as the others


OPERATIONS = (
    Operation(
        "download",
        _released,
        lambda home, disk: _spaces(home, disk).ensure(ALICE, _release(home)),
        _begun(FIRST["A1.py"]),
    ),
    Operation(
        "first upload",
        _nothing,
        lambda home, disk: _spaces(home, disk).upload(ALICE, A1, SENT, NOW),
        _begun(SENT),
    ),
    Operation(
        "upload",
        _worked,
        lambda home, disk: _spaces(home, disk).upload(ALICE, A1, SENT, NOW),
        _copy_became(SENT),
    ),
    Operation(
        "reset",
        _worked,
        lambda home, disk: _spaces(home, disk).renew(ALICE, _release(home), NOW),
        _copy_became(FIRST["A1.py"]),
    ),
    Operation(
        "restore",
        _worked,
        lambda home, disk: _spaces(home, disk).restore(ALICE, A1, EARLIER, NOW),
        _copy_became(EARLIER),
    ),
    Operation("merge", _published_anew, _merge, _merged),
    Operation(
        "export",
        _worked,
        lambda home, disk: _spaces(home, disk).mark_exported(ALICE, A1),
        _exported,
    ),
    Operation(
        "submit",
        _submitted,
        lambda home, disk: Submissions(home / "submitted", disk=disk).add(ALICE, A1, WORK, NOW),
        _handed_in,
    ),
    Operation(
        "pick",
        _fetched,
        lambda home, disk: Submissions(home / "submitted", disk=disk).pick(ALICE, A1, 1),
        _picked,
    ),
    Operation("publish", _released, lambda home, disk: _publish(home, SECOND, disk), _published),
    Operation("validation report", _worked, _report, _reported),
    Operation("visibility", _hidden_first, _hide, _hidden),
    Operation(
        "sync-users",
        _listed_first,
        lambda home, disk: Allowlist(home / "allowed_users.txt", disk=disk).replace(
            ["bob", "alice"]
        ),
        _listed,
    ),
)
"""Every operation by which the hub changes files that must not be lost."""
