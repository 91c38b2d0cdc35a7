"""The JSON of the routes about updates of copies."""

from __future__ import annotations

from pydantic import Field

from mograder.sessions.copy_updates import Standing
from mograder.store.copies.copy_updates import PreviewState, UpdateState
from mograder.web.hub.core.models import Body, Done


class UpdateLine(Body):
    """What an update would do to one student's copy.

    ``replaced``, ``added`` and ``removed`` count the author's cells. ``reason`` is why the copy
    cannot be merged, else "".
    """

    student: str = Field(validation_alias="user")
    changed: bool
    replaced: int
    added: int
    removed: int
    conflicts: int
    reason: str


class UpdatePreview(Body):
    """The last preview of the published release; ``at`` is a Unix time."""

    state: PreviewState
    at: float
    total: int
    completed: int
    copies: list[UpdateLine]


class UpdatedCopy(Body):
    """What the last offer has done to one student's copy; ``at`` is a Unix time."""

    student: str
    state: UpdateState
    at: float
    conflicts: int
    reason: str


class UpdateStatus(Body):
    """An item's update: whether the published release is offered, and what became of it.

    ``by`` offered it ``at`` a Unix time; ``withdrawn`` is whether the last offer was withdrawn.
    ``preview`` is null without one of the published release.
    """

    item: str
    offered: bool
    withdrawn: bool
    by: str | None
    at: float | None
    preview: UpdatePreview | None
    copies: list[UpdatedCopy]


class UpdateUndone(Done):
    """What undoing an update did, by student.

    ``undone`` have their text from before. ``kept`` have worked on the merged copy since, and keep
    it unless they choose otherwise. ``waiting`` have it open, and follow when they open it next.
    """

    undone: list[str]
    kept: list[str]
    waiting: list[str]
    failed: dict[str, str]


class PreviewCancelled(Body):
    """Whether a preview was being computed."""

    cancelled: bool


class UpdateConflict(Body):
    """A place that the student has to look at, by its line in the notebook."""

    cell: str
    line: int
    reason: str


class CopyUpdated(Done):
    """What was done to a copy; the lists describe the author's cells."""

    state: Standing
    reason: str = ""
    replaced: list[str] = Field(default_factory=list)
    added: list[str] = Field(default_factory=list)
    removed: list[str] = Field(default_factory=list)
    conflicts: list[UpdateConflict] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
