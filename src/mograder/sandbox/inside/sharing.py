"""The judge's side of objects that both ends have (``shared_objects.py``), for one check.

With each request the worker gets what the check has changed of them, and with each answer the judge
gets what the answer has. What a check then sees is what it would see in one process. None of it has
to be believed: ``beyond`` says whether anything came of it that the contract does not allow, and
then the check is judged again without sharing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import answer_session  # type: ignore[import-not-found]  # in this file's directory
import argument_pickle  # type: ignore[import-not-found]
import shared_objects  # type: ignore[import-not-found]
import value_encoder  # type: ignore[import-not-found]


class Sharing:
    """The shared objects of one check."""

    def __init__(self, number_of: Callable[[object], int | None]) -> None:
        """``number_of`` finds the objects of the worker that stand-ins stand for."""
        self.links = shared_objects.Links(value_encoder.data_bytes)
        self.beyond = False
        self._number_of = number_of
        self._last = 0

    def packed(self, value: object) -> bytes:
        """Return a request's value, with all that has changed; raises what pickle raises."""
        dropped = self.links.unused()
        changed = self.links.changed()
        contents = [shared_objects.contents(self.links.get(number)) for number in changed]
        new = self._new([value, *contents])
        request = {
            "value": value,
            "first": self._last + 1,
            "new": new,
            "changes": list(zip(changed, contents, strict=True)),
            "dropped": dropped,
            "scattered": [n for n, each in enumerate(new, self._last + 1) if _is_scattered(each)],
        }
        data: bytes = argument_pickle.dumps(request, self._number_of, self.links.number)
        for number in dropped:
            self.links.drop(number)
        self._give(new)
        return data

    def offered(self, names: dict[str, Any]) -> dict[str, list[int]]:
        """Give numbers to the author's own objects of these names; return them by name."""
        offers = {}
        for name, value in names.items():
            parts = shared_objects.reachable([value], self._is_the_workers)
            if parts and parts[-1] is value:
                offers[name] = self._give(parts)
        return offers

    def withdrawn(self, offers: dict[str, list[int]], linked: object) -> None:
        """Forget the objects of names that the worker has not linked; the others' tops alone."""
        for name, numbers in offers.items():
            whole = type(linked) is dict and linked.get(name)
            for number in [] if whole == "all" else numbers[:-1] if whole == "top" else numbers:
                self.links.drop(number)

    def changes(self, found: dict[int, Any], allowed: Collection[int] = ()) -> None:
        """Change shared objects as the answer has; ``allowed`` are the ids of some that it may."""
        self.beyond |= bool(self.links.traits)
        for number, contents in found.items():
            value = self.links.get(number)
            self.beyond |= id(value) not in allowed
            try:
                shared_objects.refill(value, contents)
            except (ValueError, TypeError, KeyError, BufferError) as error:
                raise answer_session.NotJudgeable(
                    f"An argument was changed in a way that cannot be carried: {error}."
                ) from None
            self.links.told(number)

    def met(self, allowed: Iterable[object] = ()) -> None:
        """Note whether the last answer referred to objects that were there before."""
        known = {self.links.number(each) for each in allowed}
        self.beyond |= not self.links.met <= known
        self.links.met = set()

    def _give(self, objects: list[Any]) -> list[int]:
        """Share objects under the next numbers, and return these."""
        first = self._last + 1
        self._last += len(objects)
        for number, each in enumerate(objects, first):
            self.links.given(each, number)
        return list(range(first, self._last + 1))

    def _new(self, values: list[Any]) -> list[Any]:
        found = shared_objects.reachable(values, self._is_the_workers)
        return [each for each in found if self.links.number(each) is None]

    def _is_the_workers(self, value: object) -> bool:
        return self._number_of(value) is not None


def _is_scattered(value: Any) -> bool:
    return type(value).__name__ == "ndarray" and not value.flags.c_contiguous
