"""One row of the table of the hub's routes, and what describes its request in the API."""

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


def form_of(field: str, schema: Mapping[str, object], **more: object) -> Mapping[str, object]:
    """Return the description of a multipart form with one field."""
    form = {"type": "object", "required": [field], "properties": {field: schema}}
    content = {"multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}, **more}


def body_of(properties: Mapping[str, object], *, required: bool = True) -> Mapping[str, object]:
    """Return the description of a JSON body; the handler itself reads it within limits."""
    content = {"application/json": {"schema": {"type": "object", "properties": dict(properties)}}}
    return {"requestBody": {"required": required, "content": content}}
