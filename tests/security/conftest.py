"""Security tests use the same real parts as the journeys."""

from __future__ import annotations

from tests.support.fixtures import people, start_front, start_hub, work_directory

__all__ = ["people", "start_front", "start_hub", "work_directory"]
