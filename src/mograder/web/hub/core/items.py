"""Items and copies as a person sees them, and as an address names them.

The rules for what a student may see of an item are here: demos are never listed, and hidden items
only if the student already has a copy (compatibility-0.3.16.md 2.3).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends

from mograder.auth.credentials import Role
from mograder.auth.identity import Identity
from mograder.core.clock import Clock
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.item_dates import Visibility
from mograder.core.names import ItemName, Username
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import CopyOf, SessionKey
from mograder.store.copies.workspaces import Workspaces
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.releases.releases import ItemKind, Release, Releases
from mograder.web.hub.core.parts import use

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

    ``is_active`` returns whether a session runs, ``taken`` is called with each copy that somebody
    asked for, new or not. ``came_from`` returns the digest of the release that a copy last came
    from, "" for one that came from none.
    """

    releases: Releases
    workspaces: Workspaces
    visibility: VisibilityRules
    clock: Clock
    is_active: Callable[[SessionKey], bool]
    taken: Callable[[Username, ItemName], object]
    came_from: Callable[[Username, ItemName], str]

    def survey(self, identity: Identity, at: datetime | None = None) -> list[ItemView]:
        moment, found = at or self.clock.now(), self.releases.all()
        rules = self.visibility.rules()  # after the releases: one is hidden before it is published
        views = (self._view(identity, each, rules(each.name), moment) for each in found)
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
            if self.came_from(user, release.name):
                words.append(_VERSIONS)
            note = " ".join((_MADE_ANEW.format(release.name), *words)) if words else None
            # Not for a copy that was there: its own session may have taken it away meanwhile.
            self.workspaces.ensure(user, release)
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
        self, identity: Identity, release: Release, rule: Visibility, moment: datetime
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
            active=self.is_active(SessionKey(user, release.name, mode_of(release.kind))),
        )


CurrentItems = Annotated[Items, use(Items)]


def _listed(view: ItemView, identity: Identity) -> bool:
    if view.kind is ItemKind.DEMO:
        return False
    kept = view.kind is ItemKind.ASSIGNMENT and view.has_copy
    return view.visible or kept or identity.role is Role.INSTRUCTOR


def item_name(name: str) -> ItemName:
    """Return the name of an item in a request; raise InvalidInput if it cannot be one."""
    if name in ItemName.reserved:
        raise InvalidInput(f"'{name}' is reserved and cannot be used as a name")
    return ItemName.parse(name)


def item_page(name: str) -> str:
    return f"/course/items/{quote(name, safe='')}"


def copy_page(kind: str, copy: CopyOf) -> str:
    """Return the address of one of a copy's pages, below the prefix."""
    return f"/{kind}/{quote(copy.user, safe='')}/{quote(copy.item, safe='')}"


def copy_in(user: str, name: str) -> CopyOf:
    """Return the copy that an address names. Raises: :class:`InvalidInput`."""
    return CopyOf(Username.of_account(user), ItemName.parse(name))


async def known_copy(user: str, a: str) -> CopyOf:
    """Return the copy that a path names. Raises: :class:`NotFound`."""
    try:
        return copy_in(user, a)
    except InvalidInput as error:
        raise NotFound("Notebook not found") from error


KnownCopy = Annotated[CopyOf, Depends(known_copy)]
"""A handler's parameter: the copy that the path names; else the response is 404."""
