"""Names of files that not every system takes: what is wrong with them, and local ones; pure.

Windows reserves names of devices (``aux``, ``con.py``), drops dots and spaces at the end and
refuses some characters; Windows and macOS do not distinguish ``A.csv`` from ``a.csv``, nor the two
forms of ``é`` in Unicode. Authors are told before students meet it (:func:`refuse_new_problems`).

What a server hands out all the same is written under a local name (:func:`local_paths`): the
characters in question become ``%XX``, their bytes in UTF-8 as in an address. :func:`server_name`
returns the server's name again, so that a submission has the name that the server knows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

from mograder.core.errors import InvalidInput

_DEVICES: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    | {f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789¹²³"}
)
_CHARACTERS: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_SEPARATORS: Final = re.compile(r"[:/\\\x00-\x1f\x7f]")
"""Characters that mean something in a path on one of the systems, or that no name should have."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""By which Python keeps a byte of a file's name that is not UTF-8."""

_LOOKS_ENCODED: Final = re.compile(r"%(?=[0-9A-Fa-f]{2})")
_ENCODED: Final = re.compile(r"(?:%[0-9A-F]{2})+")
_LONGEST: Final = 255


def problem(name: str) -> str:
    """Return why some system does not take one name of a file or a directory; "" if all do."""
    found = sorted(set(_CHARACTERS.findall(name)))
    if _SURROGATE.search(name):
        return "its name is not UTF-8"
    if not name.strip(". "):
        return "it is made of dots and spaces only"
    if found:
        shown = " ".join(each if each.isprintable() else repr(each) for each in found)
        return f"Windows takes no {shown} in a name"
    if name.endswith((".", " ")):
        return "Windows drops the dot or the space at its end"
    if _is_device(name):
        return f"Windows reserves the name {_stem(name).upper()} for a device"
    if len(name.encode("utf-8", "replace")) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    return ""


def problems(paths: Iterable[str]) -> tuple[str, ...]:
    """Return a sentence for each path, and each pair of paths, that not every system can store.

    The paths are relative, with slashes; a sentence begins with the path in question.
    """
    listed = tuple(paths)
    told = [
        f"{path}: {reason}."
        for path in listed
        if (reason := next(filter(None, map(problem, path.split("/"))), ""))
    ]
    told += [
        f"{one} and {other}: on Windows and macOS they are one file."
        for one, other in doubles(listed)
    ]
    return tuple(told)


def refuse_new_problems(paths: Iterable[str], before: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the :func:`problems` of paths that were there before; raise InvalidInput for others.

    Renaming what students have already could break their work, so that is their author's decision.
    """
    known = frozenset(problems(before))
    found = problems(paths)
    if new := [each for each in found if each not in known]:
        hint = "Rename it: students' computers run Windows and macOS, too."
        raise InvalidInput(" ".join(new[:10]), hint=hint)
    return found


def doubles(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of different paths that are one on Windows or macOS, sorted.

    A file and a folder that holds another path are such a pair, too.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for path in sorted(set(paths)):
        key = fold(path)
        other = files.setdefault(key, path)
        if other != path:
            found.append((other, path))
        steps = key.split("/")
        for count in range(1, len(steps)):
            folders.setdefault("/".join(steps[:count]), path)
    found += [(files[key], folders[key]) for key in files if key in folders]
    return tuple(sorted(found))


def double_of(name: str, others: Iterable[str]) -> str:
    """Return one of ``others`` that only Windows and macOS do not distinguish from it; or ""."""
    key = fold(name)
    return next((each for each in others if each != name and fold(each) == key), "")


def fold(path: str) -> str:
    """Return one spelling for all paths that are the same on Windows or macOS."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def local_name(name: str, *, windows: bool) -> str:
    """Return the name under which a file or directory of a server is stored.

    It is the server's name in NFC where the system takes that; ``windows`` adds what only Windows
    refuses. ``name`` is not empty, ``.`` or ``..``.
    """
    return "".join(_pieces(unicodedata.normalize("NFC", name), windows=windows))


def local_paths(paths: Iterable[str], *, windows: bool) -> Mapping[str, str]:
    """Return the local path of each relative path of a server; no two are one on any system.

    The outcome does not depend on the order of the paths. Of two that differ in case only, the
    second in the order of Unicode gets the first letters of its last name encoded.
    """
    taken: set[str] = set()
    found: dict[str, str] = {}
    for path in sorted(set(paths)):
        *folders, last = path.split("/")
        place = "".join(f"{local_name(step, windows=windows)}/" for step in folders)
        local = place + local_name(last, windows=windows)
        pieces = _pieces(last, windows=windows)
        for position, letter in enumerate(last):
            if fold(local) not in taken:
                break
            pieces[position] = _encoded(letter)
            local = place + "".join(pieces)
        taken.add(fold(local))
        found[path] = local
    return found


def server_name(local: str) -> str:
    """Return the server's name of a file with this local name, in NFC."""
    return _ENCODED.sub(_decoded, local)


def _pieces(name: str, *, windows: bool) -> list[str]:
    refused = _CHARACTERS if windows else _SEPARATORS
    encoded = {found.start() for found in refused.finditer(name)}
    encoded |= {found.start() for found in _LOOKS_ENCODED.finditer(name)}
    if windows and name.endswith((".", " ")):
        encoded.add(len(name) - 1)
    if windows and _is_device(name):
        encoded.add(len(_stem(name)) - 1)
    return [_encoded(each) if at in encoded else each for at, each in enumerate(name)]


def _encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def _decoded(found: re.Match[str]) -> str:
    try:
        return bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return found[0]


def _is_device(name: str) -> bool:
    return _stem(name).upper() in _DEVICES


def _stem(name: str) -> str:
    """Return what Windows compares with its devices: the name up to the first dot or colon."""
    return re.split(r"[.:]", name, maxsplit=1)[0].rstrip(" ")
