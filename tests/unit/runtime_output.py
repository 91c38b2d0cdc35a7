"""What tests read from the boxes of ``mograder.runtime`` and from its sidecar."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import marimo as mo


def kind_of(box: mo.Html) -> str:
    """The kind of a callout, which gives its colour."""
    match = re.search(r"data-kind='([^']*)'", box.text)
    assert match
    return str(json.loads(html.unescape(match[1])))


def body_of(box: mo.Html) -> str:
    """The HTML inside a callout."""
    match = re.search(r"data-html='([^']*)'", box.text)
    assert match
    return str(json.loads(html.unescape(match[1])))


def words_of(box: mo.Html) -> str:
    """What a reader sees in a callout, or hears."""
    return html.unescape(re.sub(r"<[^>]*>", "", body_of(box)))


def lines_of(sidecar: Path) -> list[dict[str, object]]:
    """The records of a sidecar."""
    return [json.loads(line) for line in sidecar.read_text().splitlines()]
