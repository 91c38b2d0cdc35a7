"""Finds where the source reads the settings, by the syntax tree.

A read is an attribute of an expression that holds a section: ``settings.hub.port``, or ``hub.port``
where ``hub`` is annotated with ``HubSettings`` or assigned from an expression that ends in
``.hub``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

import mograder
from mograder.core.sections.settings_model import Settings

SOURCE = Path(mograder.__file__).parent
_MODEL = SOURCE / "core" / "sections" / "settings_model.py"
_SECTIONS = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
_BY_CLASS = {model.__name__: name for name, model in _SECTIONS.items()}
_TOP = "Settings"


def keys_read() -> frozenset[str]:
    """Return the dotted keys, as the file writes them, that some module reads."""
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path != _MODEL:
            found |= _Reads(ast.parse(path.read_text("utf-8"))).keys
    return frozenset(found)


class _Reads:
    """The settings that one module reads; ``_holds`` maps names and attributes to sections."""

    def __init__(self, tree: ast.Module) -> None:
        self._holds: dict[str, str] = {}
        for node in ast.walk(tree):
            self._learn(node)
        for node in ast.walk(tree):  # a second time, for what was assigned from such a name
            self._learn(node)
        self.keys = set(self._keys(tree))

    def _learn(self, node: ast.AST) -> None:
        match node:
            case ast.arg(arg=name, annotation=ast.expr() as said):
                self._note(name, _class_of(said))
            case ast.AnnAssign(target=target, annotation=said):
                self._note(_last(target), _class_of(said))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                for each, value in zip(targets, values, strict=False):
                    self._note(_last(each), self._section(value))
            case ast.Assign(targets=[target], value=value):
                self._note(_last(target), self._section(value))
            case ast.NamedExpr(target=target, value=value):
                self._note(_last(target), self._section(value))

    def _note(self, name: str, section: str) -> None:
        if name and section:
            self._holds[name] = section

    def _section(self, value: ast.expr) -> str:
        """Return the section that an expression holds, "Settings" for the whole tree."""
        if isinstance(value, ast.Attribute) and self._section(value.value) == _TOP:
            return value.attr if value.attr in _SECTIONS else ""
        name = _last(value)
        return self._holds.get(name, _TOP if name in ("settings", "_settings") else "")

    def _keys(self, tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not isinstance(node.ctx, ast.Load):
                continue
            section = self._section(node.value)
            if section == _TOP:
                yield node.attr
            elif section:
                info = _SECTIONS[section].model_fields.get(node.attr)
                yield f"{section}.{(info and info.alias) or node.attr}"


def _last(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _class_of(annotation: ast.expr) -> str:
    for node in ast.walk(annotation):
        name = _last(node)
        if name == _TOP:
            return _TOP
        if name in _BY_CLASS:
            return _BY_CLASS[name]
    return ""
