"""The templates of pages made of students' texts: reports, notebooks and feedback.

The templates escape every value. Characters that would change how a page reads (control
characters, changes of text direction) are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import cycle

from jinja2 import Environment, PackageLoader, StrictUndefined

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_CODE = re.compile(r"`([^`\n]+)`")
_STRONG = re.compile(r"\*\*([^*\n]+)\*\*")


def render_page(template: str, **values: object) -> str:
    return _environment().get_template(template).render(values)


def readable(text: str) -> str:
    """Return a text without terminal colours, and with its unseen characters replaced."""
    return _UNSEEN.sub("\ufffd", _COLOURS.sub("", text))


def styled(text: str) -> Iterator[tuple[str, str]]:
    """Yield the code and emphasis of an author's Markdown as elements, other text as ""."""
    for index, part in enumerate(_CODE.split(text)):
        if index % 2:
            yield "code", part
        else:
            yield from zip(cycle(("", "strong")), _STRONG.split(part), strict=False)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("mograder.grading.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        # A template's own markup stays as it is.
        finalize=lambda each: each if hasattr(each, "__html__") else readable(str(each)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
