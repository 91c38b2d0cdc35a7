"""A served course for the tests of the assignment server's routes."""

from __future__ import annotations

from tests.support.assignment_app import course

__all__ = ["course"]
