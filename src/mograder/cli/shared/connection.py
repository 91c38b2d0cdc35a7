"""The layers of options, variables and settings from which a command's connection is made.

A connection is a frozen dataclass; its fields are the values of its options. Its precedence is the
order of the arguments of :func:`first`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps

from pydantic import SecretStr

from mograder.cli.shared.options import Option, together


def first(*told: str | SecretStr | None) -> str:
    """Return the first text that is not blank, without space around it; "" if all are."""
    for each in told:
        text = (each.get_secret_value() if isinstance(each, SecretStr) else each or "").strip()
        if text:
            return text
    return ""


def gathered(name: str, kind: type, *options: Option) -> Option:
    """Return a decorator that adds options; the command gets them as one argument ``name``.

    ``kind`` is the dataclass of the argument.
    """
    keys = [each.name for each in fields(kind)]

    def decorate(command: Callable[..., object]) -> Callable[..., object]:
        @wraps(command)
        def with_connection(*args: object, **given: object) -> object:
            own = {key: given.pop(key) for key in keys}
            return command(*args, **{name: kind(**own)}, **given)

        return together(*options)(with_connection)

    return decorate
