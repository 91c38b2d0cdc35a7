"""The OpenAPI description of the hub, and the files of the page that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.resources import files
from typing import Any

from fastapi import FastAPI

from mograder.web.hub.core.models import Problem
from mograder.web.templating import StaticFile, static_file

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {"model": Problem, "description": "The request failed, or was refused."}
}
"""The answers of every route but the successful one."""

_REFUSALS = ("text/plain", "text/html")
_VIEWER = "fastapi-offline"
_VIEWER_FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}


def describe(app: FastAPI) -> Mapping[str, object]:
    """Return the schema as our routes answer: every failure is a problem, or a refusal as text."""
    schema = app.openapi()
    models = schema["components"]["schemas"]
    for operation in (each for path in schema["paths"].values() for each in path.values()):
        operation.pop("description", None)  # the whole docstring, meant for readers of the code
        # For callers that are not signed in, or not on the list.
        content = operation["responses"]["default"]["content"]
        content |= {kind: {"schema": {"type": "string"}} for kind in _REFUSALS}
        for body in operation.get("requestBody", {}).get("content", {}).values():
            models |= body["schema"].pop("$defs", {})
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
