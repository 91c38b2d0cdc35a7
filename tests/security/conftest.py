"""Security tests use the same real parts as the journeys."""

from __future__ import annotations

from tests.support.fixtures import (
    browser,
    caches,
    people,
    shared_hub,
    start_front,
    start_hub,
    work_directory,
)
from tests.support.oidc_provider import start_openid_provider
from tests.support.sandbox_fixtures import cold_or_warm, runtime

__all__ = [
    "browser",
    "caches",
    "cold_or_warm",
    "people",
    "runtime",
    "shared_hub",
    "start_front",
    "start_hub",
    "start_openid_provider",
    "work_directory",
]
