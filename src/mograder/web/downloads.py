"""Files that a browser saves."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response


def attachment(filename: str) -> str:
    """Return the Content-Disposition of a file to be saved under this name."""
    quoted = quote(filename, safe="", errors="replace")
    shown = f'filename="{filename}"' if quoted == filename else f"filename*=utf-8''{quoted}"
    return f"attachment; {shown}"


def saved_file(data: bytes | str, filename: str, media_type: str) -> Response:
    """Return a response that a browser saves under this name and no cache keeps."""
    headers = {"Content-Disposition": attachment(filename), "Cache-Control": "no-store"}
    return Response(data, media_type=media_type, headers=headers)
