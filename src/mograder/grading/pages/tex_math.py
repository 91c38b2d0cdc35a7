"""Formulas of a notebook as MathML, which browsers show without scripts."""

from __future__ import annotations

import re
from functools import lru_cache

from latex2mathml.converter import convert

_LONGEST = 4000
_DELIMITERS = (("||(", "||)"), (r"\(", r"\)"), ("$", "$"))
_DISPLAYED = (("||[", "||]"), (r"\[", r"\]"), ("$$", "$$"))
_ALIGNED = re.compile(r"(\\(?:begin|end)\{)(?:aligned|split|alignedat|gathered)\}")
_UNKNOWN = re.compile(r"\\|<m[ion]>&(?:amp;)?</m[ion]>|linebreak")


def split_delimiters(text: str) -> tuple[str, bool]:
    """Return a formula without the marks around it, and whether it stands on its own line."""
    plain = text.strip()
    for displayed, pairs in ((True, _DISPLAYED), (False, _DELIMITERS)):
        for first, last in pairs:
            if plain.startswith(first) and plain.endswith(last) and len(plain) > len(first):
                return plain[len(first) : -len(last)].strip(), displayed
    return plain, False


@lru_cache(maxsize=2000)
def mathml_of(tex: str, *, displayed: bool) -> str:
    """Return a formula as MathML, not yet sanitised; "" if it cannot be converted as a whole."""
    if len(tex) > _LONGEST:
        return ""
    try:
        found = convert(_ALIGNED.sub(r"\1align*}", tex), display="block" if displayed else "inline")
    except Exception:  # noqa: BLE001 - the converter raises StopIteration, RecursionError and more
        return ""
    return "" if _UNKNOWN.search(found) else str(found)
