"""Fixtures of the hub's own routes."""

from __future__ import annotations

from tests.unit.web_hub.hubkit import hub

__all__ = ["hub"]
