"""The made-up id_tokens of LTI, and the clock, the platform and the keys that belong to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mograder.auth.jose import KeySet
from mograder.core.external_settings import LtiPlatform

DATA = Path(__file__).parents[1] / "data" / "lti"
NOW = datetime.fromtimestamp(1795300000, UTC)
HUB = "https://hub.example.org"
PLATFORM = LtiPlatform(
    issuer="https://moodle.example.org",
    client_id="client-full",
    deployments=("1",),
    courses=("4",),
)
OTHER = PLATFORM.model_copy(update={"issuer": "https://other.example.org"})


@dataclass(frozen=True, slots=True)
class MadeUp:
    """One token; ``changed`` are the claims that differ from those of the good one."""

    name: str
    accepted: bool
    changed: dict[str, Any]
    token: str


def made_up() -> tuple[MadeUp, ...]:
    """Return the tokens in the order of the file."""
    lines = (DATA / "tokens.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(
        MadeUp(row["name"], row["expect"] == "accept", row["changed"], row["token"]) for row in rows
    )


def key_set(name: str) -> KeySet:
    """Return the public keys of a file in ``keys``, such as "platform"."""
    return KeySet.parse(json.loads((DATA / "keys" / f"{name}.public.json").read_text()))


TOKENS = made_up()
