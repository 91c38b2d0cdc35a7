"""The values that checks may expect of answers, recorded while the author's solution is judged.

Answers choose what they return, and some objects could decide a check themselves: an instance whose
``__eq__`` is always true, an argument that is emptied, a list that sets the number of conditions.
So the judge takes from an answer only what the author's own solution has shown: by *path*, such as
``area()`` for the result of ``area``, ``Rect.area()`` for that of its method, ``adder()()`` for
that of a function that ``adder`` returns, ``gen()[]`` for the items of an iterator.

A contract belongs to one plan. It is no secret, and contains no code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

VERSION: Literal[6] = 6
_STRICT = {"extra": "forbid", "strict": True}
"""How the hub reads these records from JSON (:mod:`mograder.sandbox.execution.judging`)."""


@dataclass(frozen=True, slots=True)
class Use:
    """The value that a path of the author's solution gave.

    ``kinds`` are those of objects that stay in the worker ("function", "class", "instance",
    "iterator"), empty for data, and the traits of data (``codec_rules.TRAITS``). ``example``
    says in words what it was. ``changes`` are the arguments that it changes in place, by position
    or name, and ``same`` the positions of those that it returned itself. ``owner`` is the path to
    whose members those of its objects belong, where that is another: that of the first object of
    the class. So a list of nodes may be longer than the author's, or a tree deeper.
    """

    __pydantic_config__ = _STRICT
    path: str
    kinds: tuple[str, ...] = ()
    example: str = ""
    changes: tuple[int | str, ...] = ()
    same: tuple[int, ...] = ()
    owner: str = ""


@dataclass(frozen=True, slots=True)
class ExpectedLabel:
    """A label that a check cell records, its question's key, its weight, and its conditions."""

    __pydantic_config__ = _STRICT
    cell: int
    label: str
    key: str
    total: float
    conditions: int


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract of a source; ``seeds`` is whether its checks seed random numbers.

    ``copies`` are the checks, by their cells, that hold for the author's own solution only where
    arguments and results are copies.
    """

    __pydantic_config__ = _STRICT
    source_sha256: str
    uses: tuple[Use, ...]
    labels: tuple[ExpectedLabel, ...]
    seeds: bool = False
    copies: tuple[int, ...] = ()
    version: Literal[6] = VERSION


def render_contract(contract: Contract) -> str:
    """Return a contract as JSON; equal contracts give equal texts."""
    return json.dumps(asdict(contract), indent=1, sort_keys=True) + "\n"


def read_contract(found: dict[str, Any]) -> Contract:
    """Return the contract that the hub has checked and rendered, from its parsed JSON.

    Raises ``ValueError`` for another version: a supervisor may be older than the hub.
    """
    if found["version"] != VERSION:
        raise ValueError("a contract of another version")
    uses = tuple(Use(**each) for each in found["uses"])
    labels = tuple(ExpectedLabel(**each) for each in found["labels"])
    return Contract(**{**found, "uses": uses, "labels": labels})


class Enforced:
    """A contract that is kept; it has the same methods as ``Recording``."""

    records = False

    def __init__(self, contract: Contract) -> None:
        self.seeds = contract.seeds
        self._uses = {each.path: each for each in contract.uses}

    def allows(self, path: str, kind: str) -> bool:
        """Whether an object of a kind may come by a path."""
        return kind in self.use(path).kinds

    def knows(self, path: str) -> bool:
        """Whether the author's solution has come by a path."""
        return path in self._uses

    def use(self, path: str) -> Use:
        """Return what a path may give; nothing but data for one that is unknown."""
        return self._uses.get(path) or Use(path)

    def owner(self, path: str, name: str) -> str:
        """Return the path to whose members those of the objects of a path belong."""
        return self.use(path).owner or path

    def note(self, path: str, **more: Any) -> None:
        """Ignore what was seen."""

    def note_seeds(self) -> None:
        """Ignore it."""


class Recording:
    """Allows everything, and notes it for the contract."""

    records = True
    seeds = True

    def __init__(self) -> None:
        self._seen: dict[str, Use] = {}
        self._owners: dict[str, str] = {}
        self._seeds = False

    def allows(self, path: str, kind: str) -> bool:
        """Note that an object of a kind came by a path."""
        self.note(path, kinds=(kind,))
        return True

    def knows(self, path: str) -> bool:
        """Every path is allowed."""
        return True

    def use(self, path: str) -> Use:
        """Return a use that allows nothing more than what is noted."""
        return Use(path)

    def owner(self, path: str, name: str) -> str:
        """Note that an object of a class of this name came by a path, and return its owner."""
        known = self._seen.get(path, Use(path)).owner
        self.note(path, owner=known or self._owners.setdefault(name, path))
        return self._seen[path].owner

    def note(
        self,
        path: str,
        *,
        kinds: tuple[str, ...] = (),
        example: str = "",
        changes: tuple[int | str, ...] = (),
        same: tuple[int, ...] = (),
        owner: str = "",
    ) -> None:
        """Note that a path was seen, with what else was seen there."""
        use = self._seen.get(path, Use(path))
        self._seen[path] = Use(
            path,
            tuple(sorted({*use.kinds, *kinds})),
            use.example or example,
            tuple(sorted({*use.changes, *changes}, key=str)),
            tuple(sorted({*use.same, *same})),
            use.owner or owner,
        )

    def note_seeds(self) -> None:
        """Note that a check has seeded random numbers, or drawn some."""
        self._seeds = True

    def contract(self, source_sha256: str, labels: tuple[ExpectedLabel, ...]) -> Contract:
        uses = tuple(use for _, use in sorted(self._seen.items()))
        return Contract(source_sha256, uses, labels, self._seeds)
