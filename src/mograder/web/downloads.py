"""Files that a browser saves."""

from __future__ import annotations

from urllib.parse import quote


def attachment(filename: str) -> str:
    """Return the Content-Disposition of a file to be saved under this name."""
    quoted = quote(filename, safe="")
    shown = f'filename="{filename}"' if quoted == filename else f"filename*=utf-8''{quoted}"
    return f"attachment; {shown}"
