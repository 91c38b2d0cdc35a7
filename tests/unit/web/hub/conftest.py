"""Fixtures of the hub's own routes."""

from __future__ import annotations

from tests.support.hub_app import hub, hub_of

__all__ = ["hub", "hub_of"]
