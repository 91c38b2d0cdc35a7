"""The pages of the fake platform that a browser sees."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping

from tests.support.lti.exchange import Reply

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<body><h1>{title}</h1>{body}"""


def page(title: str, body: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a page; ``body`` is markup."""
    text = _PAGE.format(title=html.escape(title), body=body)
    return Reply(200, text.encode(), "text/html; charset=utf-8", headers=headers or {})


def posting_form(address: str, fields: Mapping[str, str]) -> Reply:
    """Return a page that posts a form by itself, which is how the platform sends a browser on."""
    inputs = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
    form = f'<form action="{html.escape(address)}" method="post">{inputs}</form>'
    return page("Going on", f"{form}<script>document.forms[0].submit()</script>")


def frame(title: str, address: str, script: str = "") -> Reply:
    """Return a page with one frame, named ``tool``."""
    shown = (
        f'<iframe name="tool" title="The tool" src="{html.escape(address)}"'
        ' style="width:100%;height:600px"></iframe><p id="told"></p>'
    )
    return page(title, f"{shown}<script>{script}</script>")


def link(address: str, text: str, more: str = "") -> str:
    """Return the markup of a link in a list."""
    return f'<li><a href="{html.escape(address)}" {more}>{html.escape(text)}</a></li>'


REGISTERING = (
    "addEventListener('message', (event) => {"
    "const data = typeof event.data === 'string' ? JSON.parse(event.data) : event.data;"
    "document.getElementById('told').textContent = data.subject;});"
)
"""The administrator's page shows what the tool's registration page has told it."""


def picked(titles: list[str]) -> Reply:
    """Return the page after a deep linking response: it tells the page around it."""
    told = html.escape(json.dumps(", ".join(titles)), quote=False)
    script = f"parent.document.getElementById('told').textContent = {told}"
    return page("Picked", f"<script>{script}</script>")
