"""Runs an assignment's template in the zygote of its judges, if a fork can go on from it.

A forked judge gets other variables and other temporary directories, no thread and no descriptor of
the zygote's. A template that left anything of that behind, or that failed, would differ in a fork:
then each judge runs it by itself. Runs inside beside ``zygote.py``.
"""

from __future__ import annotations

import os
import pathlib

import answer_judge  # type: ignore[import-not-found]  # in this file's directory
import module_snapshot  # type: ignore[import-not-found]

_KEPT_BY_A_FORK = ("path", "main", "modules")
_OWN_DIRECTORIES = ("HOME", "TMPDIR")
_CACHE = "XDG_CACHE_HOME"


def run(plan: str) -> str:
    """Run the template of a plan; return why no judge may be forked after it, "" if one may."""
    answer_judge.prepare_output()
    before = _traces()
    if failed := answer_judge.prepare(plan):
        return f"template failed: {next(iter(failed.values()))}"
    now = _traces()
    left = sorted(kind for kind, was in before.items() if now[kind] != was)
    return f"template left behind: {', '.join(left)}" if left else ""


def _traces() -> dict[str, object]:
    found: dict[str, object] = module_snapshot.traces()
    files = {each: _files(pathlib.Path(os.environ[each])) for each in _OWN_DIRECTORIES}
    return {kind: of for kind, of in found.items() if kind not in _KEPT_BY_A_FORK} | files


def _files(top: pathlib.Path) -> frozenset[tuple[str, int]]:
    """Return the paths and times of files, without the caches, which a fork need not have."""
    cache = os.environ[_CACHE]
    found = set()
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) != cache]  # noqa: PTH118
        for name in (*folders, *names):
            path = pathlib.Path(folder, name)
            found.add((str(path), 0 if name in folders else path.lstat().st_mtime_ns))
    return frozenset(found)
