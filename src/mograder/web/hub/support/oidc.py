"""The objects that the handlers of OpenID Connect use, made once when the hub starts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OidcSignIn:
    """OpenID Connect of this hub."""
