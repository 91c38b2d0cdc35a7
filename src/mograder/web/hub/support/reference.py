"""Our own OpenAPI schema: what we say about our routes, and how the reference page shows it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import FastAPI

_NAMED = {
    "ItemKind": "assignment, lecture or demo",
    "Mode": "edit or run",
    "FileStatus": "not_started, uploaded, modified or exported",
}
_REFUSALS = ("text/plain", "text/html")
_SEED_LINES = re.compile(r" \((?:B\d+[-, ]*)+\)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that a request carries in its path or query."""

    name: str
    place: str
    required: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One status with which a route succeeds, and the shape of its body."""

    status: str
    shape: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    summary: str
    parameters: tuple[Parameter, ...]
    answers: tuple[Answer, ...]
    refusals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chapter:
    """The operations under one heading."""

    title: str
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A named JSON object and its fields."""

    name: str
    description: str
    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """Everything that the reference page tells."""

    chapters: tuple[Chapter, ...]
    shapes: tuple[Shape, ...]


def in_words(handler: Callable[..., object]) -> str:
    """A handler's first sentence, without the marks that are for the readers of the code."""
    sentence = (inspect.getdoc(handler) or "").partition("\n")[0]
    return _SEED_LINES.sub("", sentence).replace("``", "")


def describe(app: FastAPI) -> Mapping[str, object]:
    """The schema as our routes really answer: malformed requests get 400, never FastAPI's 422."""
    schema = app.openapi()
    for operation in (each for path in schema["paths"].values() for each in path.values()):
        if operation["responses"].pop("422", None):
            problem = {"$ref": "#/components/schemas/Problem"}
            content = {"application/json": {"schema": problem}}
            refusal = {"description": "Bad Request", "content": content}
            operation["responses"].setdefault("400", refusal)
        if "403" in operation["responses"]:
            content = operation["responses"]["403"]["content"]
            # Nobody is signed in, or somebody is not on the list (compat.md 2.1).
            content |= {kind: {"schema": {"type": "string"}} for kind in _REFUSALS}
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema


def read_schema(schema: Mapping[str, object]) -> Reference:
    """Turn an OpenAPI schema into a reference, in the order of the route table."""
    chapters: dict[str, list[Operation]] = {}
    for path, methods in _items(schema.get("paths")):
        for method, operation in _items(methods):
            chapters.setdefault(_tag(operation), []).append(_operation(method, path, operation))
    shapes = [
        (name, shape)
        for name, shape in _items(_at(schema, "components", "schemas"))
        if _at(shape, "properties")
    ]
    return Reference(
        tuple(Chapter(title, tuple(found)) for title, found in chapters.items()),
        tuple(_shape(name, shape) for name, shape in shapes),
    )


def _operation(method: str, path: str, operation: object) -> Operation:
    answers = _items(_at(operation, "responses"))
    return Operation(
        method=method.upper(),
        path=path,
        summary=_text(operation, "summary"),
        parameters=tuple(
            Parameter(_text(one, "name"), _text(one, "in"), _at(one, "required") is True)
            for one in _list(_at(operation, "parameters"))
        ),
        answers=tuple(
            Answer(status, _answer_shape(answer) or "the file")
            for status, answer in answers
            if status < "400"
        ),
        refusals=tuple(sorted(status for status, _ in answers if status >= "400")),
    )


def _shape(name: str, shape: object) -> Shape:
    fields = tuple((field, _type(kind)) for field, kind in _items(_at(shape, "properties")))
    return Shape(name, _text(shape, "description").replace("``", ""), fields)


def _answer_shape(answer: object) -> str:
    for media_type, content in _items(_at(answer, "content")):
        return _type(_at(content, "schema")) or media_type
    return ""


def _type(kind: object) -> str:
    """A type in words: a named shape, a list of it, alternatives, or a plain JSON type."""
    reference = _text(kind, "$ref")
    if reference:
        return _NAMED.get(reference.rpartition("/")[2], reference.rpartition("/")[2])
    choices = _list(_at(kind, "anyOf")) or _list(_at(kind, "oneOf"))
    if choices:
        return " or ".join(_type(choice) for choice in choices)
    if _at(kind, "const") is not None:
        return f'"{_at(kind, "const")}"'
    if _text(kind, "type") == "array":
        return f"list of {_type(_at(kind, 'items'))}"
    values = _list(_at(kind, "enum"))
    return " or ".join(f'"{value}"' for value in values) or _text(kind, "type")


def _tag(operation: object) -> str:
    tags = _list(_at(operation, "tags"))
    return str(tags[0]) if tags else "Other"


def _at(value: object, *keys: str) -> object:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: object, key: str) -> str:
    found = _at(value, key)
    return found if isinstance(found, str) else ""


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _items(value: object) -> list[tuple[str, object]]:
    return [(str(key), item) for key, item in value.items()] if isinstance(value, Mapping) else []
