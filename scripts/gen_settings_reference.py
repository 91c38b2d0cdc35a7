"""Write ``docs/reference/settings.md`` from the settings' own types; ``--check`` only compares.

Types, defaults and bounds come from the models; a key's explanation is the string below it in
``core/sections/settings_model.py``.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from mograder.core.sections import settings_model
from mograder.core.sections.settings_model import (
    NO_EFFECT,
    OLD_SECTIONS,
    ItemLimits,
    ItemSettings,
    LateRule,
    LtiPlatform,
    Settings,
)
from scripts.generated import write_or_check

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"
_OPENING = """\
# Settings

<!-- Written by `make reference`; change the model, not this page. -->

Settings live in `mograder.toml`, in the course's directory. Everything is optional. The course's
directory is the one given with `-C`, else `MOGRADER_COURSE_DIR`, else the working directory or the
nearest one above it that has the file and is the same user's.

A value comes from the first of these that has one: the command's option, the environment
variable, the file, the default. `mograder config show` tells each value and where it came from.

An unknown table or key, or a value of the wrong type, is refused, with its path and the nearest key
that exists: a typing error that is ignored would change marks, or what a hub collects.

A key that is *accepted for 0.3.16, no effect yet* may stand in the file, and nothing reads it.
"""
_ITEMS = """\
One table for each item that needs one, in the file only; a name with spaces is quoted, as in
`[items."Week 1"]`. A key here beats the same key in the item's own header, which beats `[limits]`:
see [Set the limits of an item](../how-to/limits-of-an-item.md).
"""
_ENVIRONMENT = """\
## Environment

| variable | what |
|---|---|
| `MOGRADER_HUB_SECRET` | the secret that signs tokens and logins; required unless `--dev` |
| `MOGRADER_HUB_URL` | the hub that `publish` and others talk to |
| `MOGRADER_HUB_INSTRUCTOR_TOKEN` | the token they send |
| `MOGRADER_HUB_SSH` | the host of the SSH tunnel to the hub, as `--ssh` |
| `MOGRADER_HUB_SSH_OPTIONS` | further words for ssh, such as `-i ~/.ssh/hub` |
| `MOGRADER_OIDC_SECRET` | the secret at the sign-in provider; or systemd's `oidc-secret` |
| `MOGRADER_MAIL_PASSWORD` | the password at the mail server; or systemd's `mail-password` |
| `MOGRADER_MOODLE_TOKEN` | your token at Moodle, as `--token` |
| `MOGRADER_ENROLLMENT_CODE` | the enrollment code for `mograder serve` and `https register` |
| `PORT` | the port of `mograder serve`, which then listens on all addresses |
| `MOGRADER_NODE_HUB`, `MOGRADER_NODE_NAME` | `--hub` and `--name` of `mograder node` |
| `MOGRADER_NODE_TOKEN` | the token of a node; or systemd's `node-token` |
| `MOGRADER_NODE_SHARE`, `MOGRADER_NODE_STATE` | `--share` and `--state` of `mograder node` |
| `MOGRADER_NODE_MEMORY_MB` | `--memory-mb` of `mograder node` |
| `MOGRADER_NODE_DRAIN_SECONDS` | `--drain-seconds` of `mograder node` |
| `MOGRADER_NODE_UV_CACHE` | the directory of uv's cache on a node |
| `MOGRADER_BASE_URL` | `--base-url` of `mograder grader-asgi` |
| `MOGRADER_INSTRUCTORS`, `MOGRADER_MARKERS` | `--instructors` and `--markers` of it |
| `MOGRADER_TRUSTED_PROXIES` | `--trusted-proxies` of it |
| `MOGRADER_TRUST_LOCAL_PROXY` | `1`: `--trust-local-proxy` of it |
| `MOGRADER_DEBUG` | `1`: show the technical details of a failure, as `mograder --debug` |
| `MOGRADER_COURSE_DIR` | the course, when `-C` does not say |
| `MOGRADER_<SECTION>_<KEY>` | any setting above that is no table, such as `MOGRADER_HUB_PORT` |
"""


def render() -> str:
    """Return the page: the top-level keys, our own sections, then the others."""
    notes = _notes()
    sections = [name for name, field in Settings.model_fields.items() if _model(field)]
    ours = [name for name in sections if name not in OLD_SECTIONS]
    others = [name for name in sections if name in OLD_SECTIONS]
    plain = {n: f for n, f in Settings.model_fields.items() if not _model(f) and n != "items"}
    parts = [_OPENING, "## Top level\n", *_table(plain, notes.get("Settings", {}))]
    for name in [*ours, *others]:
        model = _model(Settings.model_fields[name])
        assert model is not None
        parts += [f"## `[{name}]`\n", *_table(model.model_fields, notes[model.__name__])]
        if name == "limits":
            parts += _items(notes)
        if name == "lti":
            parts += ["### `[[lti.platform]]`\n"]
            parts += _table(LtiPlatform.model_fields, notes["LtiPlatform"])
    return "\n".join([*parts, _ENVIRONMENT])


def _items(notes: dict[str, dict[str, str]]) -> Iterator[str]:
    own = {name: field for name, field in ItemSettings.model_fields.items() if not _model(field)}
    yield "## `[items.NAME]`\n"
    yield _ITEMS
    yield from _table(own, notes["ItemSettings"])
    yield "### `[items.NAME.limits]`\n"
    yield from _table(ItemLimits.model_fields, notes["ItemLimits"])
    yield "### `[items.NAME.penalties]`\n"
    yield from _table(LateRule.model_fields, notes["LateRule"])


def _table(fields: dict[str, FieldInfo], notes: dict[str, str]) -> Iterator[str]:
    yield "| key | default | |"
    yield "|---|---|---|"
    for name, field in fields.items():
        marked = f"*{NO_EFFECT}*" if NO_EFFECT in field.metadata else ""
        note = " ".join(filter(None, (marked, notes.get(name, "").replace("|", "\\|"))))
        yield f"| `{field.alias or name}` | {_default(field)} | {note} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Enum):
        value = value.value
    shown = dict(value) if isinstance(value, dict) else value
    return f"`{json.dumps(shown)}`"


def _model(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _notes() -> dict[str, dict[str, str]]:
    """Return the strings that stand below keys, by class and key."""
    tree = ast.parse(inspect.getsource(settings_model))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return {node.name: _notes_of(node) for node in classes}


def _notes_of(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for key, below in zip(node.body, node.body[1:], strict=False):
        if not isinstance(key, ast.AnnAssign) or not isinstance(key.target, ast.Name):
            continue
        match below:
            case ast.Expr(value=ast.Constant(value=str(text))):
                found[key.target.id] = " ".join(text.split())
    return found


if __name__ == "__main__":
    sys.exit(write_or_check({PAGE: render()}))
