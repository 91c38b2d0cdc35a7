"""The layers of settings (file, environment, options) over the defaults, and their origins.

Private to ``core.settings``: every layer is checked by itself, so a message names the file, the
variable or the option that is wrong, and never the merged result.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import PurePath
from typing import cast, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.core.sections.settings_model import (
    NO_EFFECT,
    OLD_SECTIONS,
    SECRET_KEYS,
    Assignment,
    ItemLimits,
    ItemSettings,
    LateRule,
    Settings,
)
from mograder.core.sections.settings_values import Section, complaint

ITEMS = "items"

_ITEM_TABLES: Mapping[str, type[Section]] = {"limits": ItemLimits, "penalties": LateRule}

_Place = Callable[[tuple[str, ...]], str]
"""Returns where a key of the file stands, as messages name it: ``FILE:LINE``."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_GONE: Mapping[str, str] = {
    "hub.front_group": "Remove it: all traffic goes through the hub, and no program needs a group "
    "for the sessions' sockets. Write nginx's configuration again: mograder hub proxy-config nginx",
    "hub.session_isolation": "Remove it: a session's page never has the hub's origin. For storage "
    "in the browser set [hub] session_url, which gives each session an origin of its own.",
    "nodes.address": "Remove it: nodes connect at the hub's public address, the --hub of mograder "
    "node run.",
    "nodes.listen": "Set [nodes] enabled = true in its place: nodes connect at the hub's own "
    "address. Give each a token of its own (mograder hub node-token NAME).",
}
"""The remedies for settings of an earlier version, by key."""
_FILE_ONLY = frozenset({"assignments", "edit_links"})
_SET_OR_NOT = frozenset({"moodle.url", "https.url", "https.token"})
"""Keys that an empty variable does not replace, as in 0.3.16.

CI systems pass a secret that is not set as an empty text.
"""
_NOT_SETTINGS = frozenset(
    f"MOGRADER_HUB_{each}"
    for each in ("SECRET", "URL", "INSTRUCTOR_TOKEN", "SSH", "SSH_OPTIONS", "MODE")
) | {"MOGRADER_OIDC_SECRET", "MOGRADER_MAIL_PASSWORD"}
"""Variables that look like a key of ours but are credentials or options.

See compatibility-0.3.16.md.
"""


class Origin(StrEnum):
    """The source of a setting's value; a later one overrides an earlier one."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    OPTION = "option"


@dataclass(slots=True)
class Layers:
    """The settings merged so far, with the origin of every key and the warnings."""

    settings: Settings = field(default_factory=Settings)
    origins: dict[str, Origin] = field(default_factory=lambda: dict.fromkeys(KEYS, Origin.DEFAULT))
    warnings: list[str] = field(default_factory=list)

    def add_file(self, tree: Mapping[str, object], shown: _Place) -> None:
        """Merge a parsed ``mograder.toml`` over the defaults; ``shown`` names a key's place in it.

        Raises: InvalidInput for a key that is none, or a value that cannot be used.
        """
        top = {name: value for name, value in tree.items() if name not in (*SECTIONS, ITEMS)}
        if top:
            self._merge("", top, Origin.FILE, partial(_mistake, "", shown=shown))
        for section in (name for name in tree if name in SECTIONS):
            table = tree[section]
            if isinstance(table, dict):
                self._merge(section, table, Origin.FILE, partial(_mistake, section, shown=shown))
            else:
                raise _no_table(section, f"[{section}]", shown)
        if ITEMS in tree:
            self._add_items(tree[ITEMS], shown)
        assignments = cast("Sequence[Mapping[str, object]]", tree.get("assignments", ()))
        for index, table in enumerate(assignments):  # which have been checked above
            for key in sorted(table.keys() - Assignment.model_fields.keys()):
                path = ("assignments", str(index), key)
                self.warnings.append(f"{shown(path)}: {'.'.join(path)} is not a setting.")

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Merge ``MOGRADER_<SECTION>_<KEY>`` variables over the file; lists are comma-separated.

        An unknown variable is a warning only: all defaults are safe, and the environment is shared
        with other programs.
        """
        variables = {_variable(key): key for key in KEYS if key not in _FILE_ONLY}
        for name in sorted(environ.keys() & variables.keys()):
            key = variables[name]
            section, _, last = key.rpartition(".")
            text = environ[name]
            if not text.strip() and key in _SET_OR_NOT:
                continue
            value: object = split_list(text) if key in _LISTS else text
            self._merge(section, {last: value}, Origin.ENVIRONMENT, _refuser(name, key))
        gone = {_variable(key): hint for key, hint in _GONE.items()}
        for name in sorted(environ):
            if name.startswith(_OUR_PREFIXES) and name not in variables.keys() | _NOT_SETTINGS:
                hint = gone.get(name) or _did_you_mean(name, variables)
                self.warnings.append(f"The variable {name} is not a setting. {hint}".rstrip())

    def add_options(self, overrides: Mapping[str, object]) -> None:
        """Merge command-line options, by dotted key, over all else; ``None`` is "not given"."""
        for key, value in overrides.items():
            if value is None:
                continue
            if key not in KEYS:
                raise InvalidInput(f"There is no setting {key}.", hint=_did_you_mean(key, KEYS))
            section, _, last = key.rpartition(".")
            option = f"--{last.replace('_', '-')}"
            # The dashboard's address is an argument.
            who = f"The option for {key}" if section == "https" else option
            refusal = _refuser(who, key)
            plain = str(value) if isinstance(value, PurePath) else value
            self._merge(section, {last: plain}, Origin.OPTION, refusal)

    def _add_items(self, table: object, shown: _Place) -> None:
        """Merge ``[items.NAME]``, a table per item; only the file has them."""
        if not isinstance(table, dict):
            raise _no_table(ITEMS, "[items.NAME]", shown)
        items: dict[str, ItemSettings] = {}
        for written, decided in table.items():
            try:
                name = ItemName.parse(written)
            except InvalidInput as error:
                place = shown((ITEMS, written))
                raise InvalidInput(f"{place}: [items]: {error.message}", hint=error.hint) from error
            if name in items:
                raise InvalidInput(f"{shown((ITEMS, written))}: {item_key(name)} is there twice.")
            items[name] = _item(name, written, decided, shown)
            self.origins |= dict.fromkeys(item_keys(name, items[name]), Origin.FILE)
        self.settings = self.settings.model_copy(update={ITEMS: items})

    def _merge(
        self,
        section: str,
        table: Mapping[str, object],
        origin: Origin,
        refusal: Callable[[ErrorDetails], InvalidInput],
    ) -> None:
        """Validate a table, and merge its keys. Raises: ``refusal`` for a mistake."""
        strict = origin is Origin.FILE and section not in ("", *OLD_SECTIONS)
        model = SECTIONS[section] if section else Settings
        try:
            checked = model.model_validate(table, strict=strict)
        except ValidationError as error:
            raise refusal(error.errors(include_url=False)[0]) from None
        given = {name: getattr(checked, name) for name in checked.model_fields_set}
        if section:
            merged = getattr(self.settings, section).model_copy(update=given)
            self.settings = self.settings.model_copy(update={section: merged})
        else:
            self.settings = self.settings.model_copy(update=given)
        for name in given:
            self.origins[_dotted(section, _written(name, model.model_fields[name]))] = origin


def _item(name: str, written: str, table: object, shown: _Place) -> ItemSettings:
    try:
        return ItemSettings.model_validate(table, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    model = _ITEM_TABLES.get(path[0], ItemSettings) if len(path) > 1 else ItemSettings
    hint = _did_you_mean(path[-1], model.model_fields) if path else ""
    place = shown((ITEMS, written, *path))
    raise _refusal(place, ".".join([item_key(name), *path]), first, hint)


def _mistake(section: str, error: ErrorDetails, shown: _Place) -> InvalidInput:
    """Return the error for a mistake in the file; with a similar key for one that is unknown."""
    parts = tuple(str(each) for each in (*((section,) if section else ()), *error["loc"]))
    key = ".".join(parts)
    return _refusal(shown(parts), key, error, _GONE.get(key) or _nearest(section, parts[-1]))


def _refusal(place: str, key: str, error: ErrorDetails, hint: str) -> InvalidInput:
    if error["type"] == "extra_forbidden":
        hint = hint or "Remove it: nothing reads it."
        return InvalidInput(f"{place}: {key} is not a setting.", hint=hint)
    return InvalidInput(f"{place}: {key} {complaint(error, secret=key in SECRET_KEYS)}.")


def _no_table(key: str, written: str, shown: _Place) -> InvalidInput:
    return InvalidInput(f"{shown((key,))}: {key} must be a table, written {written}.")


def _refuser(who: str, key: str) -> Callable[[ErrorDetails], InvalidInput]:
    """Return what tells a mistake in the value that a variable or an option sets."""
    hint = "" if who.endswith(key) else f"It sets {key}."
    secret = key in SECRET_KEYS
    return lambda error: InvalidInput(f"{who} {complaint(error, secret=secret)}.", hint=hint)


SECTIONS: Mapping[str, type[Section]] = {
    name: info.annotation
    for name, info in Settings.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


_OUR_PREFIXES = tuple(
    f"MOGRADER_{each.upper()}_" for each in (*SECTIONS, ITEMS) if each not in OLD_SECTIONS
)


def item_key(name: str) -> str:
    """Return the key of an item's table as TOML writes it: ``items."Week 1"``."""
    quoted = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    return f"{ITEMS}.{quoted}"


def item_keys(name: str, item: ItemSettings) -> Mapping[str, object]:
    own = item.model_dump(
        mode="json", exclude_unset=True, exclude_none=True, exclude=set(_ITEM_TABLES)
    )
    key = item_key(name)
    return {f"{key}.{each}": value for each, value in own.items()} | {
        f"{key}.{table}.{each}": value
        for table in _ITEM_TABLES
        for each, value in getattr(item, table).model_dump(exclude_none=True).items()
    }


def _fields() -> Iterator[tuple[str, FieldInfo]]:
    sections: Mapping[str, type[BaseModel]] = {"": Settings, **SECTIONS}
    for section, model in sections.items():
        for name, info in model.model_fields.items():
            if section or name not in (*SECTIONS, ITEMS):
                yield _dotted(section, _written(name, info)), info


def _written(name: str, info: FieldInfo) -> str:
    return info.alias or name


def _dotted(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


_FIELDS: Mapping[str, FieldInfo] = dict(_fields())
_LISTS = frozenset(
    key
    for key, info in _FIELDS.items()
    if any(get_origin(each) is tuple for each in (info.annotation, *get_args(info.annotation)))
)
KEYS: tuple[str, ...] = tuple(sorted(_FIELDS, key=lambda key: ("." in key, key)))
"""Every key of the settings, dotted, as the file writes it; the top-level ones first. Keys of items
come from :func:`item_keys`."""


def note_on(key: str) -> str:
    return NO_EFFECT if NO_EFFECT in _FIELDS[key].metadata else ""


def _variable(key: str) -> str:
    return "MOGRADER_" + key.upper().replace(".", "_")


def split_list(text: str) -> tuple[str, ...]:
    return tuple(part for each in text.split(",") if (part := each.strip()))


def _nearest(section: str, name: str) -> str:
    """Return a hint with a similar key: first of this section, then the same name in another."""
    here = {key.rpartition(".")[2]: key for key in KEYS if key.rpartition(".")[0] == section}
    if not section:
        here |= {each: f"[{each}]" for each in (*SECTIONS, ITEMS)}
    close = difflib.get_close_matches(name, here, n=1, cutoff=0.65)
    elsewhere = [key for key in KEYS if key.rpartition(".")[2] == name]
    found = [here[each] for each in close] + elsewhere
    return f"Did you mean {found[0]}?" if found else ""


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"Did you mean {close[0]}?" if close else ""
