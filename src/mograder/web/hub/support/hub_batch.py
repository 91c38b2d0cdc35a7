"""Grading of an item's submissions with the hub's own sandboxes, environments and secret."""

from __future__ import annotations

from collections.abc import Callable

from mograder.core.errors import MograderError
from mograder.grading.grading_jobs import Counts, GradingRequest


class HubBatch:
    """Grades the submissions that the hub has of an item."""

    async def __call__(
        self, item: str, request: GradingRequest, progress: Callable[[Counts], None]
    ) -> Counts:
        """Grade them; the result of each is kept when it is made.

        Raises:
            MograderError: The item cannot be graded at all.
        """
        raise MograderError(f"{item} cannot be graded here yet.")
