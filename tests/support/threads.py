"""Doing one thing in many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mograder.core.errors import MograderError


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """Run a function in many threads that start together; return what each gave or raised."""
    results: list[object] = [None] * count
    start = threading.Barrier(count)

    def one(number: int) -> None:
        start.wait()
        try:
            results[number] = work(number)
        except MograderError as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
