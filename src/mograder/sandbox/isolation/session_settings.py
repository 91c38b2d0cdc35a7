"""Settings that a session's program applies by itself: rlimits, and marimo's configuration."""

from __future__ import annotations

from collections.abc import Sequence

from mograder.sandbox.protocol import Limits

_FIRST_CONFIGURATION = """\
[runtime]
auto_instantiate = true

[save]
autosave = "after_delay"
autosave_delay = 1000

[completion]
copilot = false

[display]
theme = "system"
"""
_WITHOUT_AI = """
[ai]
enabled = false
allow_provider_config = false
inline_tooltip = false
"""
_DATA_SLACK_MB = 512


def first_configuration(allow: Sequence[str]) -> str:
    """Return marimo's configuration (TOML) for a workspace without one, by features in ``allow``.

    A convenience only: the student may change the file, and the hub refuses disallowed requests
    at the proxy (sessions.md, "What is switched off").
    """
    return _FIRST_CONFIGURATION + ("" if "ai" in allow else _WITHOUT_AI)


def rlimits(limits: Limits) -> dict[str, int]:
    """Return the rlimits of a session by their names in :mod:`resource`; none for a limit of 0.

    RLIMIT_DATA makes a single array that is too large a ``MemoryError`` in its cell instead of
    the end of the session. It counts reserved, not used memory, including thread stacks and
    library buffers, so it is larger than the memory limit.
    """
    wanted = {
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.file_size_mb << 20,
        "RLIMIT_DATA": (limits.memory_mb + _DATA_SLACK_MB) << 20 if limits.memory_mb else 0,
    }
    return {"RLIMIT_CORE": 0, **{name: most for name, most in wanted.items() if most}}
