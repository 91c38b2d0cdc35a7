"""A feature of the hub: its addresses, and what it keeps and does while the hub runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from mograder.web.hub.core.hub_app import HubApp
from mograder.web.route import Route

Run = Callable[[], AbstractAsyncContextManager[None]]
"""Returns what works while the hub serves: loops, and what is closed at its end."""

NOTHING: Run = nullcontext
"""Of a feature that only answers requests."""


def _open_nothing(_: HubApp) -> Run:
    return NOTHING


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. ``open`` makes its state for the handlers (``hub.add``), and returns its work.

    It raises InvalidInput for settings that cannot work.
    """

    routes: tuple[Route, ...] = ()
    open: Callable[[HubApp], Run] = _open_nothing
