"""The lookup of an assignment by the name that a user types; pure.

Every command that takes the name of an assignment, a source, a release or a published item uses
:func:`find`, so that ``A1`` means the same to all of them. All comparisons are made on
NFC-normalised text. The first rule that matches an entry decides:

1. the name itself;
2. the number on the server (a Moodle ID), or, if digits were typed, a name that begins with them as
   a whole word;
3. the name in other capitals;
4. a name that begins with the typed text as a whole word (``A1``: ``A1-Intro``, not ``A10``),
   first with these capitals, then in any;
5. a name of the same letters and digits (``week1``: ``Week_1``);
6. a name that begins with the typed text, first with these capitals, then in any;
7. a name that contains the typed text, in any capitals.

In the rules 6 and 7 digits match whole numbers only (``4``: ``hw4``, not ``A24``): they may be a
mistyped Moodle ID.

0.3.16 accepted a prefix up to a dash (generate), a plain prefix (hub publish), or the number and a
part of the name (https, moodle); names that worked there still work, or are refused where they may
be those of later items (hub visibility, hub schedule).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import nfc

_SHOWN = 20
_SEPARATORS = re.compile(r"[\W_]+")
_LABEL = re.compile(r"[\W_]*([^\W\d_]*)[\W_]*(\d[^\W_]*)")
_NUMBER = re.compile(r"[0-9]+")
_YEAR = re.compile(r"(?:19|20)\d\d")

_Rule = Callable[["Entry", str], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """An object with a name: ``name`` is shown in messages, ``aliases`` match as well.

    ``number`` is its number on the server, None where it has none.
    """

    name: str
    aliases: tuple[str, ...] = ()
    number: int | None = None

    def names(self) -> tuple[str, ...]:
        return tuple(map(nfc, (self.name, *self.aliases)))

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name} ({self.number})"


@dataclass(frozen=True, slots=True)
class Words:
    """Texts of messages: "There is no KIND 'x' WHERE."; ``empty`` is the hint without entries."""

    kind: str = "assignment"
    where: str = ""
    empty: str = "There are no assignments."


def find(typed: str, entries: Sequence[Entry], words: Words | None = None) -> int:
    """Return the index of the entry that ``typed`` means, by the rules of this module."""
    words = words or Words()
    text = nfc(typed.strip())
    found: list[int] = []
    for rule in _RULES if text else ():
        found = [index for index, entry in enumerate(entries) if rule(entry, text)]
        if found:
            break
    if len(found) == 1:
        return found[0]
    if found:
        numbered = any(entries[index].number is not None for index in found)
        raise InvalidInput(
            f"'{typed}' may mean {listed([str(entries[index]) for index in found])}.",
            hint="Give the whole name, or the number." if numbered else "Give the whole name.",
        )
    raise not_found(typed, [str(entry) for entry in entries], words)


def not_found(typed: str, names: Sequence[str], words: Words) -> NotFound:
    where = f" {words.where}" if words.where else ""
    there = f"There are: {listed(names)}." if names else words.empty
    return NotFound(f"There is no {words.kind} '{typed}'{where}.", hint=there)


def find_name(typed: str, names: Sequence[str], words: Words | None = None) -> str:
    """Return the name, spelled as in ``names``, that ``typed`` means; raises as :func:`find`."""
    return names[find(typed, [Entry(name) for name in names], words)]


def find_or_new(typed: str, names: Sequence[str]) -> str:
    """Return the name that ``typed`` means by the rules 1 to 5, else ``typed`` as a new name.

    Part of a word is not enough here: "A1" may be new although there is an "A10".
    """
    entries, text = [Entry(name) for name in names], nfc(typed.strip())
    if text and any(rule(entry, text) for rule in _WHOLE_WORDS for entry in entries):
        return find_name(typed, names)
    return typed


def counterpart(name: str, names: Sequence[str]) -> str:
    """Return the only one of ``names`` that matches another system's ``name``, else ``""``.

    This pairs a title on Moodle with a directory here: they match if they are equal, have the same
    letters and digits, or begin with the same label, a number with the word before it (``A1``,
    ``Week 1``).
    """
    wanted = nfc(name)
    rules: tuple[Callable[[str], bool], ...] = (
        lambda each: each == wanted,
        lambda each: _plain(each) == _plain(wanted),
        lambda each: bool(_label(wanted)) and _label(each) == _label(wanted),
    )
    for rule in rules:
        found = [each for each in names if rule(nfc(each))]
        if found:
            return found[0] if len(found) == 1 else ""
    return ""


def misnamed(written: Iterable[str], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the written names that are none of ``names``, each with the one that it must mean."""
    known = {nfc(each) for each in names}
    strange = (each for each in written if nfc(each) not in known)
    return tuple((each, found) for each in strange if (found := counterpart(each, names)))


def is_label_of(text: str, name: str) -> bool:
    """Return whether a text is exactly a name's label: a number and the word before it (``A1``)."""
    match = _LABEL.fullmatch(text.casefold())
    return match is not None and bool(match[1]) and _label(text) == _label(name)


def listed(names: Sequence[str], most: int = _SHOWN) -> str:
    text = ", ".join(names[:most])
    return f"{text}, and {len(names) - most} more" if len(names) > most else text


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its words, for a message: "1 file", "2 files", "3 copies have"."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def _by_name(test: Callable[[str, str], bool], spelled: Callable[[str], str] = str) -> _Rule:
    return lambda entry, text: any(test(spelled(name), spelled(text)) for name in entry.names())


def _by_digits(entry: Entry, text: str) -> bool:
    if not (text.isascii() and text.isdecimal()):
        return False
    by_number = entry.number is not None and entry.number == int(text)
    return by_number or any(_begins_with_word(name, text) for name in entry.names())


def _begins_with_word(name: str, text: str) -> bool:
    """Return whether a name begins with a text that ends at the end of a word."""
    return name.startswith(text) and not name[len(text) : len(text) + 1].isalnum()


def _begins_with(name: str, text: str) -> bool:
    return not text.isdecimal() and name.startswith(text)


def _contains(name: str, text: str) -> bool:
    if text.isdecimal():
        return text in _NUMBER.findall(name)
    return text in name


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()


def _label(name: str) -> str:
    """Return "a1" for "A1. Intro", "week1" for "Week 1: Intro", and "" without a number.

    A year alone is not a label: it does not distinguish one assignment from another.
    """
    match = _LABEL.match(name.casefold())
    label = match[1] + match[2] if match else ""
    return "" if _YEAR.fullmatch(label) else label


_WHOLE_WORDS: tuple[_Rule, ...] = (
    _by_name(str.__eq__),
    _by_digits,
    _by_name(str.__eq__, str.casefold),
    _by_name(_begins_with_word),
    _by_name(_begins_with_word, str.casefold),
    lambda entry, text: bool(_plain(text)) and _plain(text) in map(_plain, entry.names()),
)
_RULES: tuple[_Rule, ...] = (
    *_WHOLE_WORDS,
    _by_name(_begins_with),
    _by_name(_begins_with, str.casefold),
    _by_name(_contains, str.casefold),
)
