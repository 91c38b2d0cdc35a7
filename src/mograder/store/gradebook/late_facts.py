"""Extensions, exemptions, groups and stored policies in force, from the changes so far; pure.

A change replaces the one before of the same entry. The gradebook keeps every change; a preview
applies changes that are not recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from pydantic import AwareDatetime, ConfigDict

from mograder.core.item_dates import NO_DATES, ItemDates
from mograder.core.sections.settings_model import CourseRule

ALL_ASSIGNMENTS = ""
"""The assignment of an exemption, and of a policy, for the whole course."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A later due date of a student or of a group, or an exemption from deductions.

    Exactly one of ``student`` and ``group`` is not empty. ``until`` is None for an exemption.
    ``removed`` withdraws the entry. ``by`` and ``at`` are empty until it is recorded.
    """

    assignment: str
    student: str = ""
    group: str = ""
    until: datetime | None = None
    exempt: bool = False
    reason: str = ""
    removed: bool = False
    by: str = ""
    at: str = ""

    @property
    def entry(self) -> tuple[str, str, str]:
        """The assignment, student and group: a later extension for the same replaces it."""
        return self.assignment, self.student, self.group


@dataclass(frozen=True, slots=True)
class Membership:
    """A student who enters a group, or leaves it."""

    group: str
    student: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """The policy of late work in the gradebook, of an assignment or of the course.

    Attributes:
        rule: Keys that count before those of the settings; None for none.
        due: The due date that `mograder feedback --due-date` gave, None without.
        off: `mograder feedback --no-penalties` was the last run.
        set_due: The due date that an instructor set, None for the one in the settings.
        closes: When submissions end, as an instructor set it; None for the time in the settings.
        told: The dates that a learning platform told at the last launch by one of its instructors.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")  # it is stored as JSON

    rule: CourseRule | None = None
    due: AwareDatetime | None = None
    off: bool = False
    set_due: AwareDatetime | None = None
    closes: AwareDatetime | None = None
    told: ItemDates = NO_DATES


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A new stored policy of an assignment, or of the course."""

    assignment: str
    policy: StoredPolicy


Change = Extension | Membership | PolicyChange


@dataclass(frozen=True, slots=True)
class LateFacts:
    """The extensions, groups and policies in force after some changes.

    ``extensions`` are by entry, ``members`` are (group, student), ``policies`` by assignment.
    ``version`` is that of the recorded changes, for :meth:`LateWork.record` of one made from them.
    """

    extensions: Mapping[tuple[str, str, str], Extension] = field(default_factory=dict)
    members: frozenset[tuple[str, str]] = frozenset()
    policies: Mapping[str, StoredPolicy] = field(default_factory=dict)
    version: str = ""

    def after(self, changes: Iterable[Change]) -> LateFacts:
        """Return what is in force after further changes."""
        extensions, members, policies = (
            dict(self.extensions),
            set(self.members),
            dict(self.policies),
        )
        for change in changes:
            match change:
                case Extension(removed=True):
                    extensions.pop(change.entry, None)
                case Extension():
                    extensions[change.entry] = change
                case Membership(removed=True):
                    members.discard((change.group, change.student))
                case Membership():
                    members.add((change.group, change.student))
                case PolicyChange():
                    policies[change.assignment] = change.policy
        return LateFacts(extensions, frozenset(members), policies, self.version)

    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Return the students of each group, both in alphabetical order."""
        found: dict[str, list[str]] = defaultdict(list)
        for group, student in sorted(self.members):
            found[group].append(student)
        return {group: tuple(students) for group, students in found.items()}

    def of_assignment(self, assignment: str) -> tuple[Extension, ...]:
        """Return what is in force for an assignment, with exemptions from all."""
        wanted = (assignment, ALL_ASSIGNMENTS)
        found = (each for each in self.extensions.values() if each.assignment in wanted)
        return tuple(sorted(found, key=lambda each: (each.group, each.student, each.assignment)))

    def by_student(self, assignment: str) -> Mapping[str, tuple[Extension, ...]]:
        """Return what concerns each student with an extension, in person or by a group."""
        in_force = self.of_assignment(assignment)
        members = self.groups() if any(each.group for each in in_force) else {}
        found: dict[str, tuple[Extension, ...]] = {}
        for each in in_force:
            for student in (each.student,) if each.student else members.get(each.group, ()):
                found[student] = (*found.get(student, ()), each)
        return found

    def policy(self, assignment: str) -> StoredPolicy:
        """Return the stored policy of an assignment, or of the course for an empty name."""
        return self.policies.get(assignment, StoredPolicy())

    def with_dates(
        self, assignment: str, due: datetime | None, closes: datetime | None
    ) -> PolicyChange:
        """Return the change by which dates are stored; None for those in the settings.

        The date of an earlier `mograder feedback --due-date` does not count any more.
        """
        held = self.policy(assignment)
        return PolicyChange(assignment, replace(held, due=None, set_due=due, closes=closes))

    def with_told(self, assignment: str, told: ItemDates) -> PolicyChange:
        """Return the change by which a learning platform's dates are stored."""
        return PolicyChange(assignment, replace(self.policy(assignment), told=told))

    def with_rule(self, assignment: str, rule: CourseRule | None) -> PolicyChange:
        """Return the change by which a rule is stored, or withdrawn."""
        return PolicyChange(assignment, replace(self.policy(assignment), rule=rule))
