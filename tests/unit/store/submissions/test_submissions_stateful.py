"""The storage against a model: submit, resubmit, crash, list, grade.

The model knows what was acknowledged. Whatever fails in between, and whoever else writes, that is
on the disk, counts as it should, and its number only grows.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mograder.core.errors import InvalidInput
from mograder.core.files.disk import DISK, Disk
from mograder.core.names import ItemName, Username
from mograder.store.assignment_server.grades import Entry, Grades
from mograder.store.submissions.history import RECORD
from mograder.store.submissions.submissions import Kept, Submissions, Terms
from tests.support.fake_disks import FailingDisk, Unplugged

ITEM = ItemName.parse("A1")
USERS = st.sampled_from([Username.parse(name) for name in ("alice", "bob", "alice_2")])
DATA = st.sampled_from([b"one", b"two", b"three", b"six"])
CALLS = st.integers(0, 6)
START = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)


@dataclass
class Model:
    """The answers that one person got.

    ``linked``: a submission was acknowledged, so the link exists. A submission that a crash left
    without an answer may lack it until the next one.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    counting: bytes | None = None
    received: datetime | None = None
    sequence: int = 0
    grade: str | None = None
    linked: bool = False


class Storage(RuleBasedStateMachine):
    """Two servers on one course; each may be restarted, and its disk unplugged."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="mograder-storage-"))
        self.now = START
        self.models: dict[str, Model] = {}
        self.servers = [self._open(), self._open()]

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def _open(self, disk: Disk = DISK) -> Submissions:
        return Submissions(self.root / "submitted", records=self.root / "records", disk=disk)

    def _grades(self, disk: Disk = DISK) -> Grades:
        return Grades(self.root / "A1", disk=disk)

    def _model(self, user: str) -> Model:
        return self.models.setdefault(user, Model())

    def _recorded(self, user: str, sequence: int) -> bool:
        """Whether a record tells this number; it lacks if the disk failed after the answer."""
        records = self.root / "records" / "A1.jsonl"
        lines = records.read_text().splitlines() if records.exists() else []
        known = [RECORD.validate_json(line) for line in lines]
        return any(each.user == user and each.sequence == sequence for each in known)

    def _told(self, user: str, data: bytes, kept: Kept) -> None:
        """Note what the server said."""
        model = self._model(user)
        model.files[kept.path.name] = data
        assert kept.submission.size == len(data)
        if not kept.repeated:
            assert kept.submission.sequence > model.sequence
            model.sequence = kept.submission.sequence
        model.linked = True
        if kept.counts:
            model.counting, model.received = data, kept.submission.received

    @rule(seconds=st.integers(0, 3))
    def time_passes(self, seconds: int) -> None:
        """Often not a second."""
        self.now += timedelta(seconds=seconds)

    @rule(server=st.integers(0, 1), user=USERS, data=DATA)
    def submit(self, server: int, user: Username, data: bytes) -> None:
        """Submit, perhaps again."""
        before = self._model(user).counting
        kept = self.servers[server].add(user, ITEM, data, self.now, Terms(once=True))
        assert kept.counts
        if before == data:
            assert kept.repeated
        self._told(user, data, kept)

    @rule(server=st.integers(0, 1), user=USERS, data=DATA, sure=st.booleans())
    def submit_late(self, server: int, user: Username, data: bytes, sure: bool) -> None:
        """Submit after the due date; an earlier one on time is kept unless the person confirms."""
        self.now += timedelta(seconds=2)
        due = self.now - timedelta(seconds=1)
        model = self._model(user)
        on_time = model.received is not None and model.received <= due
        same = model.counting == data
        terms = Terms(due=due, replace=sure, once=True)
        kept = self.servers[server].add(user, ITEM, data, self.now, terms)
        assert kept.counts == (same or sure or not on_time)
        self._told(user, data, kept)

    @rule(user=USERS, data=DATA, calls=CALLS)
    def submit_while_the_disk_goes(self, user: Username, data: bytes, calls: int) -> None:
        """A server fails at any write; the next one finds the old state or the new."""
        model = self._model(user)
        # A directory's time has ticks of milliseconds: within one, the other servers would not see
        # a file without a record.
        time.sleep(0.02)
        server = self._open(FailingDisk(calls))
        try:
            kept = server.add(user, ITEM, data, self.now, Terms(once=True))
        except InvalidInput:
            counting = self.servers[0].counting(user, ITEM)
            path = self.root / "submitted" / "A1" / (counting.filename if counting else "-")
            now = path.read_bytes() if counting else None
            assert now in (model.counting, data)
            model.counting = now
            model.received = counting.received if counting else None
            model.sequence = max(model.sequence, counting.sequence if counting else 0)
        else:
            self._told(user, data, kept)

    @rule(server=st.integers(0, 1))
    def restart(self, server: int) -> None:
        self.servers[server] = self._open()

    @rule(user=USERS, grade=st.sampled_from(["1", "2.5"]), calls=CALLS)
    def grade(self, user: Username, grade: str, calls: int) -> None:
        """Upload a grade, perhaps while the disk goes."""
        model = self._model(user)
        try:
            self._grades(FailingDisk(calls)).merge([Entry({"userid": user, "grade": grade}, user)])
        except Unplugged:
            mark = self._grades().of(user)
            seen = mark.grade if mark else None
            assert seen in (model.grade, grade)
            model.grade = seen
        else:
            model.grade = grade

    @precondition(lambda self: any(len(each.files) > 1 for each in self.models.values()))
    @rule(user=USERS)
    def the_instructor_removes_an_old_one(self, user: Username) -> None:
        """Remove a version that does not count.

        Not while the record of the newest number is lost: numbers then follow from the files.
        """
        model = self._model(user)
        if not self._recorded(user, model.sequence):
            return
        counting = self.servers[0].counting(user, ITEM)
        for name in list(model.files)[:1]:
            if counting is not None and name != counting.filename:
                (self.root / "submitted" / "A1" / name).unlink()
                del model.files[name]

    @invariant()
    def everything_that_was_acknowledged_is_there(self) -> None:
        """Assert that each file has its reported name, and the link points to the counted one."""
        place = self.root / "submitted" / "A1"
        for user, model in self.models.items():
            for name, data in model.files.items():
                assert (place / name).read_bytes() == data
            if model.linked:
                assert (place / f"{user}.py").read_bytes() == model.counting
            mark = self._grades().of(user)
            assert (mark.grade if mark else None) == model.grade

    @invariant()
    def both_servers_tell_the_same(self) -> None:
        """Assert that both servers list the same people and counted versions."""
        people = [server.people(ITEM) for server in self.servers]
        counting = [
            {name: each.counting.filename for name, each in found.items() if each.counting}
            for found in people
        ]
        assert counting[0] == counting[1]
        told = {name for name, model in self.models.items() if model.counting is not None}
        assert set(counting[0]) == told


def test_the_storage_keeps_what_it_acknowledged() -> None:
    few = settings(max_examples=10, stateful_step_count=15, deadline=None, database=None)
    run_state_machine_as_test(Storage, settings=few)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_storage_keeps_what_it_acknowledged_whatever_comes() -> None:
    many = settings(max_examples=300, stateful_step_count=40, deadline=None, database=None)
    run_state_machine_as_test(Storage, settings=many)
