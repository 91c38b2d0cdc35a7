"""Rendering of the configurations' templates."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: object) -> str:
    """Return the text of a template of this package."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    """Return the environment, without HTML escaping: ``front.front_of`` validates the values."""
    return Environment(
        loader=PackageLoader("mograder.operations.fronts", "."),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
