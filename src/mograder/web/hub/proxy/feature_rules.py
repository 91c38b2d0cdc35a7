"""The requests of a session's page that need an instructor's permission. Pure.

marimo's own settings could switch these features off, but a workspace's configuration belongs to
the student, so the proxy decides (sessions.md, "What is switched off"). The rule is about the
page's requests and no security boundary: the sandbox bounds what a notebook's code can do.

Not here: ``save_user_config``. It writes only the student's own settings in their own workspace,
which their code can write anyway; refusing it would show an error at each change of the theme. Nor
the read-only requests for the list of packages.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

BY_ITSELF = frozenset({"api/lsp/health", "api/usage"})
"""Requests that an open page repeats without user action, so no sign that it is in use."""

_END = r"(?![\w-])"
_GUARDED = re.compile(
    rf"""/*(?:
    (?P<terminal>terminal{_END})
    |(?P<lsp>lsp{_END}|api/+lsp/+restart{_END})
    |(?P<ai>mcp{_END}|api/+ai{_END})
    |(?P<packages>
        api/+packages(?!/+(?:sandbox|list|tree)/*$){_END}
        |api/+kernel/+install_missing_packages{_END}
        |api/+export/+requirements{_END})
    |(?P<secrets>api/+secrets{_END})
    |(?P<execute>api/+kernel/+execute{_END})
    |(?P<rename>api/+kernel/+rename{_END})
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_NAMES = {
    "terminal": "The terminal",
    "lsp": "The language server",
    "ai": "AI assistance",
    "packages": "Installing packages",
    "secrets": "The panel for secrets",
    "execute": "Running code from outside the page",
}
_KEEPS_ITS_NAME = (
    "The notebook keeps its name, because the hub finds your work by it. "
    "To have it under another name, export it and rename the file that you get."
)
"""The message for ``rename``, which is not among the features that an instructor can allow."""


def guarded_feature(rest: str) -> str:
    """Return the feature that a path below a session's base belongs to, or "".

    ``rest`` is percent-encoded; it is read as marimo's server will read it, once decoded.
    """
    found = _GUARDED.match(unquote(rest) if "%" in rest else rest)
    return (found.lastgroup or "") if found else ""


def denial(feature: str) -> str:
    """Return the message for a page that requests a feature without permission."""
    if feature == "rename":
        return _KEEPS_ITS_NAME
    return f"{_NAMES[feature]} is switched off for this notebook. Your instructor can allow it."
