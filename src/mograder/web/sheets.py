"""Long lists in pages of fifty lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request

T = TypeVar("T")
_PAGE = 50
_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Sheet(Generic[T]):
    """One page of a long list; ``before`` and ``following`` are 0 at its ends."""

    lines: Sequence[T]
    total: int
    first: int
    before: int
    following: int


def sheet_of(lines: Sequence[T], request: Request) -> Sheet[T]:
    """Return the page of a list that the request names, ``?page=2``."""
    last = max(1, -(-len(lines) // _PAGE))
    number = min(max(1, number_in(request, "page")), last)
    start = (number - 1) * _PAGE
    following = number + 1 if number < last else 0
    return Sheet(lines[start : start + _PAGE], len(lines), start + 1, number - 1, following)


def number_in(request: Request, name: str) -> int:
    """Return a number in the query, 0 for anything else."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
