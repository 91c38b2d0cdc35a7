"""The OpenAPI description of the hub, and the files of the page that shows it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from importlib.resources import files

from fastapi import FastAPI

from mograder.web.templating import StaticFile, static_file

_REFUSALS = ("text/plain", "text/html")
_VIEWER = "fastapi-offline"
_VIEWER_FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}


def summary_of(handler: Callable[..., object]) -> str:
    """Return the first line of a handler's docstring as plain text."""
    return (inspect.getdoc(handler) or "").partition("\n")[0].replace("``", "")


def describe(app: FastAPI) -> Mapping[str, object]:
    """Return the schema as our routes answer: malformed requests get 400, not FastAPI's 422."""
    schema = app.openapi()
    for operation in (each for path in schema["paths"].values() for each in path.values()):
        operation.pop("description", None)  # the whole docstring, meant for readers of the code
        if operation["responses"].pop("422", None):
            problem = {"$ref": "#/components/schemas/Problem"}
            content = {"application/json": {"schema": problem}}
            refusal = {"description": "Bad Request", "content": content}
            operation["responses"].setdefault("400", refusal)
        if "403" in operation["responses"]:
            content = operation["responses"]["403"]["content"]
            # For callers that are not signed in, or not on the list.
            content |= {kind: {"schema": {"type": "string"}} for kind in _REFUSALS}
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema


@cache
def viewer_version() -> str:
    """Return the version of Swagger UI's package, which is part of the files' addresses."""
    return metadata.version(_VIEWER)


@cache
def viewer_file(name: str) -> StaticFile | None:
    """Return a file of Swagger UI, read at its first request; None for other names."""
    media_type = _VIEWER_FILES.get(name)
    if media_type is None:
        return None
    return static_file((files("fastapi_offline") / "static" / name).read_bytes(), media_type)
