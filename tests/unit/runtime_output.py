"""Parsers for the callouts of ``mograder.runtime`` and for its sidecar file."""

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
    """Return the text of a callout, as displayed or read aloud."""
    return html.unescape(re.sub(r"<[^>]*>", "", body_of(box)))


def lines_of(sidecar: Path) -> list[dict[str, object]]:
    """The records of a sidecar."""
    return [json.loads(line) for line in sidecar.read_text().splitlines()]
