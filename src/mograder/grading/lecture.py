"""``generate --lecture``: a lecture's links lead to the hub's pages (B70, B113, compat.md 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.grading.outcomes import Line, Step, Wishes
from mograder.notebook.findings import refuse
from mograder.notebook.leaks import find_leaks
from mograder.notebook.lectures import linked_items, mode_by_initial, to_lecture
from mograder.notebook.pep723 import read_kind
from mograder.store.course import (
    SourceItem,
    StagedRelease,
    read_notebook,
    shown,
    staged_release,
    support_files,
)

_MODES = {"lecture": "run", "demo": "run", "assignment": "edit"}


def generate_lecture(item: SourceItem, wishes: Wishes) -> list[Line]:
    """Write a lecture's release, without running it; return what to tell of it.

    Raises:
        InvalidInput: The notebook cannot be published; each mistake with its line.
    """
    lines: list[Line] = []
    for source in item.notebooks:
        filename, target = shown(source), wishes.output / source.stem
        text = read_notebook(source)
        modes = {name: _mode(name, wishes) for name in linked_items(text)}
        lecture = to_lecture(text, filename=filename, mode_of=modes.get)
        refuse(find_leaks(lecture, filename))
        support = support_files(item) if item.directory.name == source.stem else ()
        told = f"{filename} -> {shown(target / source.name)}"
        if wishes.dry_run:
            lines.append(Line(Step.DRY_RUN, told))
            lines += [Line(Step.DRY_RUN, f"would copy {name}, if it is newer") for name in support]
            continue
        with staged_release(target) as stage:
            stage.write(source.name, lecture.encode("utf-8", "surrogatepass"))
            copied = copy_support(item, support, stage, shown(target))
            stage.commit()
        lines += [Line(Step.OK, told), *copied]
    return lines


def copy_support(
    item: SourceItem, names: Sequence[str], stage: StagedRelease, target: str
) -> list[Line]:
    """Copy what lies beside a notebook and is newer than the release's; return what to tell."""
    lines = []
    for name in names:
        source = item.directory / name
        if stage.take(source, name):
            lines.append(Line(Step.COPY, f"{shown(source)} -> {Path(target) / name}"))
        elif stage.differs(source, name):
            text = f"{Path(target) / name}:1: it is newer than the source's and not replaced."
            lines.append(Line(Step.ADVICE, f"{text} Remove it to take {shown(source)}."))
    return lines


def _mode(name: str, wishes: Wishes) -> str | None:
    """Tell how the hub opens an item: as its release says, else its source, else its name."""
    there = False
    for base in (wishes.output, wishes.releases, wishes.sources):
        notebook = base / name / f"{name}.py"
        if not notebook.is_file():
            continue
        there = True
        try:
            kind = read_kind(read_notebook(notebook))
        except InvalidInput:
            continue
        if kind:
            return _MODES[kind]
    return mode_by_initial(name) or ("edit" if there else None)
