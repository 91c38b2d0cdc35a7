"""The objects that the handlers of LTI 1.3 use, made once when the hub starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LtiService:
    """LTI 1.3 of this hub."""
