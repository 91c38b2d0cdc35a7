"""Pages as a browser parses them, and elements as marimo writes them."""

from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser


class Reader(HTMLParser):
    """A page or a part of one: its text, and its elements with their attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def hidden_field(page: str, name: str) -> str:
    """Return the value of a form's field of this name, which a person does not type."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, f"no field {name}"
    return found[1]


def barred_buttons(page: str) -> dict[str, str]:
    """Return the buttons that say that they cannot be pressed now, with the reason beside each."""
    attributes = r'type="button"[^>]* aria-disabled="true"\s+aria-describedby="([^"]+)"'
    found = {}
    for reason, label in re.findall(f"<button {attributes}>(.*?)</button>", page, re.DOTALL):
        beside = re.search(rf'id="{reason}">([^<]*)<', page)
        assert beside is not None, f"no element {reason}"
        found[Reader(label).words] = " ".join(beside[1].split())
    return found


def element(name: str, **data: object) -> str:
    """Return an element as marimo writes it: every attribute is JSON."""
    told = (f"data-{key.replace('_', '-')}='{escape(json.dumps(v))}'" for key, v in data.items())
    return f"<marimo-{name} {' '.join(told)}></marimo-{name}>"
