"""Messages of validation errors in the terms of TOML files, not of pydantic.

Settings and notebook headers are checked by the same models, and share these messages.
"""

from __future__ import annotations

from pydantic_core import ErrorDetails

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "list": "a list",
    "mapping": "a table",
    "dict": "a table",
    "model": "a table",
}


def complaint(error: ErrorDetails, *, secret: bool = False) -> str:
    """Return a predicate such as "must be at least 1, not 0", without a full stop.

    ``secret`` hides the value. Unknown keys are not handled here: only the caller knows the table's
    other keys, of which one may have been meant.
    """
    kind = error["type"]
    context = error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        expected = f"one of {context['expected']}".replace("'", '"')
    elif kind in {"greater_than_equal", "less_than_equal"}:
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        expected = bound
    else:
        expected = _EXPECTED.get(kind.split("_")[0], "of another type")
    shown = "" if secret else f", not {clipped(error['input'])}"
    return f"must be {expected}{shown}"


def clipped(value: object) -> str:
    """Return a value as TOML writes it, cut off after 60 characters."""
    text = repr(value) if isinstance(value, str) else str(value)
    if isinstance(value, bool):
        text = text.lower()
    return text if len(text) <= 60 else text[:57] + "..."
