"""The JSON of the routes about updates of copies."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from mograder.sessions.updates.standing import Standing
from mograder.store.copy_updates import PreviewState, UpdateState


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UpdateLine(_Body):
    """What an update would do to one student's copy.

    ``replaced``, ``added`` and ``removed`` count the author's cells. ``reason`` is why the copy
    cannot be merged, else "".
    """

    student: str
    changed: bool
    replaced: int
    added: int
    removed: int
    conflicts: int
    reason: str


class UpdatePreview(_Body):
    """The last preview of the published release; ``at`` is a Unix time."""

    state: PreviewState
    at: float
    total: int
    completed: int
    copies: list[UpdateLine]


class UpdatedCopy(_Body):
    """What the last offer has done to one student's copy; ``at`` is a Unix time."""

    student: str
    state: UpdateState
    at: float
    conflicts: int
    reason: str


class UpdateStatus(_Body):
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


class UpdateUndone(_Body):
    """What undoing an update did, by student.

    ``undone`` have their text from before. ``kept`` have worked on the merged copy since, and keep
    it unless they choose otherwise. ``waiting`` have it open, and follow when they open it next.
    """

    status: Literal["ok"] = "ok"
    undone: list[str]
    kept: list[str]
    waiting: list[str]
    failed: dict[str, str]


class PreviewCancelled(_Body):
    """Whether a preview was being computed."""

    cancelled: bool


class UpdateConflict(_Body):
    """A place that the student has to look at, by its line in the notebook."""

    cell: str
    line: int
    reason: str


class CopyUpdated(_Body):
    """What was done to a copy; the lists describe the author's cells."""

    status: Literal["ok"] = "ok"
    state: Standing
    reason: str = ""
    replaced: list[str] = []
    added: list[str] = []
    removed: list[str] = []
    conflicts: list[UpdateConflict] = []
    files: list[str] = []


class NotebookUpdate(_Body):
    """What the bar above a notebook says of an update; ``number`` tells offers apart."""

    state: Standing
    number: int
    conflicts: int = 0
    changes: int = 0
