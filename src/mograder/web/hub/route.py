"""One route of the hub's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from mograder.web.hub.support.access import Access


@dataclass(frozen=True, slots=True)
class Route:
    """One route: its handler, the access that it demands, and its chapter in the documentation.

    A route without a chapter is a page for people and not part of the described API.
    """

    method: str
    path: str
    handler: Callable[..., object]
    access: Access
    chapter: str = ""
    answer: Any = None
    problems: tuple[int, ...] = ()
    extra: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    status: int = 200
