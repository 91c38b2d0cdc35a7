"""Items and copies as a person sees them, and the checks and titles of items.

The rules for what a student may see of an item are here: demos are never listed, and hidden items
only if the student already has a copy (compatibility-0.3.16.md 2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.clock import Clock
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.item_dates import Visibility
from mograder.core.names import ItemName, Username
from mograder.notebook.cells import parse_cells
from mograder.notebook.points import checks_in, marks_of
from mograder.notebook.title import title_of
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import CopyOf
from mograder.store.copies.merged_files import KnownFiles
from mograder.store.copies.workspaces import Workspaces
from mograder.store.course.course import read_notebook
from mograder.store.hub.board import MOST_LABEL
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.releases.releases import ItemKind, Release, Releases

MOST_CHECKS = 200
_UNKNOWN: tuple[str, tuple[Column, ...], str] = ("", (), "")
_MADE_ANEW = "There was no {0}.py in your folder any more, so it was copied anew."
_OTHERS = "Your other files were kept, such as {0}."
_VERSIONS = "What was saved before is kept under Versions."


@dataclass(frozen=True, slots=True)
class ItemView:
    release: Release
    visibility: Visibility
    visible: bool
    has_copy: bool
    updated: bool
    active: bool

    @property
    def name(self) -> str:
        return self.release.name

    @property
    def kind(self) -> ItemKind:
        return self.release.kind


def person(identity: Identity) -> Username:
    return Username.of_account(identity.username)


def mode_of(kind: ItemKind) -> Mode:
    """Return how items of a kind are opened: assignments to edit, the others to run."""
    return Mode.EDIT if kind is ItemKind.ASSIGNMENT else Mode.RUN


@dataclass(frozen=True, slots=True)
class Items:
    """The published items, and each person's view of them; the methods block.

    ``running`` returns the items and modes of a person's sessions, ``taken`` is called with each
    copy that somebody asked for, new or not. ``came_from`` returns the digest of the release that a
    copy last came from, "" for one that came from none, and ``known_files`` the digests of its data
    files.
    """

    releases: Releases
    workspaces: Workspaces
    visibility: VisibilityRules
    clock: Clock
    running: Callable[[Username], Set[tuple[str, Mode]]]
    taken: Callable[[Username, ItemName], object]
    came_from: Callable[[Username, ItemName], str]
    known_files: Callable[[Username, ItemName], KnownFiles]

    def survey(self, identity: Identity, at: datetime | None = None) -> list[ItemView]:
        moment, found = at or self.clock.now(), self.releases.all()
        rules = self.visibility.rules()  # after the releases: one is hidden before it is published
        running = self.running(person(identity))
        views = (self._view(identity, each, rules(each.name), moment, running) for each in found)
        return [view for view in views if _listed(view, identity)]

    def find(self, name: str) -> Release | None:
        """Return the release of that name, or None; an invalid name is treated as unknown."""
        item = ItemName.valid(name)
        return None if item is None else self.releases.get(item)

    def get(self, name: str, missing: str = "") -> Release:
        """Return the release of that name. Raises: NotFound, which says ``missing`` or names it."""
        release = self.find(name)
        if release is None:
            raise NotFound(missing or f"There is no item {name[:100]!r}.")
        return release

    def assignment(self, name: str) -> Release:
        """Return the release of an item to copy; raises NotFound, InvalidInput (a demo)."""
        release = self.get(name, "Assignment not found")
        if release.kind is ItemKind.DEMO:
            raise InvalidInput("Demos can only be run")
        return release

    def demand_visible(self, identity: Identity, name: str) -> None:
        """Raise NotFound for a student where an item is hidden or not open yet."""
        if refusal := self._refusal(identity, name):
            raise refusal

    def _refusal(self, identity: Identity, name: str) -> NotFound | None:
        rule, now = self.visibility.of(name), self.clock.now()
        if identity.role is Role.INSTRUCTOR or rule.visible(now):
            return None
        return rule.refusal(now)

    def shown(self, identity: Identity, copy: CopyOf) -> Release | None:
        """Return the release of a copy; None where the person may not learn what is in it.

        A copy alone is no leave for an item that is hidden or not open yet: a student may have
        uploaded a notebook of this name before there was a release.
        """
        return self.releases.get(copy.item) if self.may_know(identity, copy) else None

    def may_know(self, identity: Identity, copy: CopyOf) -> bool:
        """Return whether the person may learn an item's title and dates, as for :meth:`shown`."""
        hidden = self._refusal(identity, copy.item) is not None
        return not hidden or self.came_from(copy.user, copy.item) != ""

    def has_begun(self, user: Username, item: ItemName) -> bool:
        return self.workspaces.has_copy(user, item) and self.came_from(user, item) != ""

    def demand_shown(self, identity: Identity, copy: CopyOf) -> None:
        """Raise NotFound for a person who may not know an item's title and dates."""
        if self.shown(identity, copy) is None:
            raise NotFound(f"There is nothing of {copy.item} here.")

    def take_copy(self, identity: Identity, name: str) -> tuple[Release, bool, str | None]:
        """Create a person's copy of an item if there is none; never overwrite one (B66, B69).

        Returns the release, whether there was a copy, and a sentence where the person had the
        notebook before.

        Raises: NotFound (unknown or not available), InvalidInput (a demo).
        """
        user, note = person(identity), None
        try:
            release = self.assignment(name)
        except NotFound:
            item = ItemName.valid(name)
            if item and not self.releases.get(item) and self.workspaces.has_copy(user, item):
                raise NotFound(
                    f"Not available: {item} is not published any more.",
                    hint="Your notebook is kept: it is on the first page, under “No longer "
                    "published”.",
                ) from None
            raise
        found = self.workspaces.has_copy(user, release.name)
        if not found:
            self.demand_visible(identity, release.name)
            others = self.workspaces.others(user, release)
            words = [_OTHERS.format(", ".join(others))] if others else []
            known = KnownFiles()
            if self.came_from(user, release.name):
                words.append(_VERSIONS)
                known = self.known_files(user, release.name)
            note = " ".join((_MADE_ANEW.format(release.name), *words)) if words else None
            # Not for a copy that was there: its own session may have taken it away meanwhile.
            self.workspaces.ensure(user, release, known)
        self.taken(user, release.name)
        return release, found, note

    def ensure_files(self, identity: Identity, copy: CopyOf) -> None:
        """Give a person an item's data files, as far as they can be copied."""
        release = self.shown(identity, copy)
        if release is None or release.kind is not ItemKind.ASSIGNMENT:
            return
        if not self.workspaces.has_copy(copy.user, copy.item):
            with suppress(NotFound, InvalidInput):
                self.workspaces.ensure_files(copy.user, release)

    def _view(
        self,
        identity: Identity,
        release: Release,
        rule: Visibility,
        moment: datetime,
        running: Set[tuple[str, Mode]],
    ) -> ItemView:
        user = person(identity)
        has_copy = self.workspaces.has_copy(user, release.name)
        return ItemView(
            release=release,
            visibility=rule,
            visible=rule.visible(moment),
            has_copy=has_copy,
            updated=has_copy
            and self.workspaces.updated(user, release)
            and self.may_know(identity, CopyOf(user, release.name)),
            active=(release.name, mode_of(release.kind)) in running,
        )


def _listed(view: ItemView, identity: Identity) -> bool:
    if view.kind is ItemKind.DEMO:
        return False
    kept = view.kind is ItemKind.ASSIGNMENT and view.has_copy
    return view.visible or kept or identity.role is Role.INSTRUCTOR


@dataclass(frozen=True, slots=True)
class Column:
    """One check of a release, and its question's key; ``marked`` is whether that has marks."""

    label: str
    key: str
    marked: bool


class ItemChecks:
    """Reads releases; keeps the columns and titles by item (``_known``); thread-safe."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases
        self._known: dict[str, tuple[str, tuple[Column, ...], str]] = {}

    def of(self, item: str) -> tuple[Column, ...]:
        """Return the checks whose labels the release states, none for other items; blocks."""
        name = ItemName.valid(item)
        release = None if name is None else self._releases.get(name)
        return () if release is None else self.columns(release)

    def columns(self, release: Release) -> tuple[Column, ...]:
        return self._read(release)[1]

    def title_in(self, release: Release) -> str:
        self._read(release)
        return self.title(release.name)

    def look(self) -> None:
        for each in self._releases.all():
            self._read(each)

    def title(self, item: str) -> str:
        """Return an item's title as it was read last, "" without one."""
        title = self._known.get(item, _UNKNOWN)[2]
        return "" if title == item else title

    def _read(self, release: Release) -> tuple[str, tuple[Column, ...], str]:
        known = self._known.get(release.name)
        if known is None or known[0] != release.version:
            known = (release.version, *_UNKNOWN[1:])
            try:
                text = read_notebook(release.notebook)
                known = (release.version, _columns(text, release.notebook.name), title_of(text))
            except MograderError:  # publishing told why it cannot be read
                pass
            self._known[release.name] = known
        return known


def _columns(text: str, filename: str) -> tuple[Column, ...]:
    notebook = parse_cells(text, filename)
    marks = marks_of(notebook) or {}
    keys = {each.label: each.key for each in checks_in(notebook)}
    short = [(label, key) for label, key in keys.items() if 0 < len(label) <= MOST_LABEL]
    return tuple(Column(*each, marked=each[1] in marks) for each in short[:MOST_CHECKS])
