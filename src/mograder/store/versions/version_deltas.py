"""Compressed texts, with another text as the dictionary: the difference of two saves is short."""

from __future__ import annotations

import sys

from mograder.core.errors import InvalidInput

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL, _QUICK_LEVEL = 9, 3
_LARGE = 500_000
"""Texts of more bytes are compressed more quickly, since each save costs processor time, and what
they share with the dictionary is searched for from far away.
"""

_SHORTEST = 8
_SMALLEST_WINDOW, _LARGEST_WINDOW = 10, 25
"""Logarithms of the window's bytes: it must hold both texts, the largest of 10 MB each."""


class Damaged(InvalidInput):
    """Stored data that cannot be read back."""


def compress(text: bytes, base: bytes) -> bytes:
    """Return the text compressed with the dictionary ``base``, which may be empty."""
    large = len(text) > _LARGE
    window = (len(text) + len(base)).bit_length()
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _QUICK_LEVEL if large else _LEVEL,
        zstd.CompressionParameter.enable_long_distance_matching: int(large),
        zstd.CompressionParameter.window_log: min(max(window, _SMALLEST_WINDOW), _LARGEST_WINDOW),
    }
    return zstd.compress(text, options=options, zstd_dict=_prefix(base))


def expand(data: bytes, base: bytes, size: int) -> bytes:
    """Return a text of ``size`` bytes from :func:`compress`'s result, and the same dictionary.

    Raises: :class:`Damaged`.
    """
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW}
    reader = zstd.ZstdDecompressor(zstd_dict=_prefix(base), options=options)
    try:
        text = reader.decompress(data, max_length=size + 1)
    except zstd.ZstdError as error:
        raise Damaged("A stored version is damaged.") from error
    if len(text) != size or not reader.eof:
        raise Damaged("A stored version is damaged.")
    return text


def _prefix(base: bytes) -> tuple[zstd.ZstdDict, int] | None:
    # The library takes none that is shorter.
    return zstd.ZstdDict(base, is_raw=True).as_prefix if len(base) >= _SHORTEST else None
