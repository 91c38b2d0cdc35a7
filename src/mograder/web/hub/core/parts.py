"""What a handler knows of the hub: the person who asks, and the parts that it names by their type.

The middleware puts one object into the request's scope, of which a handler takes a part
(:func:`use`), never from globals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Path, Request

from mograder.auth.identity import Identity
from mograder.web.pages import APP

T = TypeVar("T")
Number = Annotated[int, Path(ge=1, lt=2**31)]
"""A handler's parameter: a number in the path that a table of the database may hold."""
IDENTITY = "mograder.identity"

TURN = "mograder.turn"
"""Scope key of the ``ExitStack`` whose closing ends the turn of a student's request."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a hub, and the state of each feature while it runs, by their types."""

    _by_type: dict[type, object] = field(default_factory=dict, init=False, repr=False)

    def add(self, part: T) -> T:
        self._by_type[type(part)] = part
        return part

    def of(self, kind: type[T]) -> T:
        return cast(T, self._by_type[kind])

    def find(self, kind: type[T]) -> T | None:
        return cast("T | None", self._by_type.get(kind))


def part(request: Request, kind: type[T]) -> T:
    parts: Parts = request.scope[APP]
    return parts.of(kind)


def use(kind: type[T]) -> Any:
    """Return the dependency of a handler's parameter: ``Annotated[Kind, use(Kind)]``."""

    # Not part itself: FastAPI runs every dependency that is not async in a thread.
    async def found(request: Request) -> T:
        return part(request, kind)

    return Depends(found)


def identity_of(request: Request) -> Identity | None:
    """Return the identity found by ``access.admit``; None for a request without a login."""
    identity: Identity | None = request.scope.get(IDENTITY)
    return identity
