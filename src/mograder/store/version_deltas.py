"""Compressed texts, with another text as the dictionary: the difference of two saves is short."""

from __future__ import annotations

import zlib

from mograder.core.errors import InvalidInput

_LEVEL = 9


class Damaged(InvalidInput):
    """Stored data that cannot be read back."""


def compress(text: bytes, base: bytes) -> bytes:
    """Return the text compressed with the dictionary ``base``, which may be empty."""
    made = zlib.compressobj(_LEVEL, wbits=-15, zdict=base)
    return made.compress(text) + made.flush()


def expand(data: bytes, base: bytes, size: int) -> bytes:
    """Return a text of ``size`` bytes from :func:`compress`'s result, and the same dictionary.

    Raises: :class:`Damaged`.
    """
    try:
        text = zlib.decompressobj(wbits=-15, zdict=base).decompress(data, size + 1)
    except zlib.error as error:
        raise Damaged("A stored version is damaged.") from error
    if len(text) != size:
        raise Damaged("A stored version is damaged.")
    return text
