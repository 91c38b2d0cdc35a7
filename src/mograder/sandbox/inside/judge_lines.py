"""The lines of the judge's report, limited in size: an answer may determine long messages."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from typing import Any

_MOST_TEXT = 40_000
"""Characters of the texts about one check; the supervisor refuses a line that is too long."""
_MOST_CONDITIONS = 1000
_MOST_CLAIMS = 100
_MESSAGE, _REASON, _CLAIM = 1000, 3000, 300


class JudgeLines:
    """Writes a report line by line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the report in this process, which will write no line."""
        os.close(self._descriptor)

    def say(self, kind: str, **more: Any) -> None:
        """Write one line."""
        text = json.dumps({"kind": kind, **_finite(more)}, ensure_ascii=False)
        data = text.encode("utf-8", "replace") + b"\n"
        while data:
            data = data[os.write(self._descriptor, data) :]

    def tell_check(
        self,
        part: dict[str, Any],
        verdict: Any,
        labels: list[dict[str, Any]],
        claims: Iterable[str],
        calls: list[dict[str, Any]],
    ) -> None:
        """Report a check of the plan: its state, its labels, and how the answers were used."""
        texts = _Texts()
        self.say(
            "judged",
            cell=part["cell"],
            line=part["line"],
            hidden=part["check"]["hidden"],
            state=verdict.state,
            reason=texts.cut(verdict.reason, _REASON),
            labels=[{**each, "conditions": texts.conditions(each)} for each in labels],
            claims=[each[:_CLAIM] for each in sorted(claims)[:_MOST_CLAIMS]],
            calls=[texts.call(each) for each in calls],
        )


class _Texts:
    """Shortens the texts of one line; those that come last are left out first."""

    def __init__(self) -> None:
        self._left = _MOST_TEXT
        self._conditions = _MOST_CONDITIONS

    def cut(self, text: str, most: int) -> str:
        text = text[: min(most, self._left)]
        self._left -= len(text)
        return text

    def conditions(self, label: dict[str, Any]) -> list[dict[str, Any]]:
        kept = label["conditions"][: self._conditions]
        self._conditions -= len(kept)
        return [
            {
                **each,
                "message": self.cut(each["message"], _MESSAGE),
                "reason": self.cut(each["reason"], _MESSAGE),
            }
            for each in kept
        ]

    def call(self, call: dict[str, Any]) -> dict[str, Any]:
        texts = [name for name in ("call", "result") if name in call]
        return call | {name: self.cut(call[name], _MESSAGE) for name in texts}


def _finite(value: Any) -> Any:
    """Return a report without NaN, which is no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return 0.0
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
