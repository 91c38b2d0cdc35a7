"""``generate --lecture``: a lecture's links lead to the hub's pages.

B70, B113, compatibility-0.3.16.md 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.grading.author.generate_output import GenerateOptions, Line, Step
from mograder.grading.author.release_checks import check_names
from mograder.notebook.findings import refuse
from mograder.notebook.header_edit import has_block
from mograder.notebook.pep723 import read_kind
from mograder.notebook.references import app_files, undeclared
from mograder.notebook.source.leaks import find_leaks
from mograder.notebook.source.lectures import linked_items, mode_by_initial, to_lecture
from mograder.store.course.course import (
    ReleaseBuild,
    SourceItem,
    read_notebook,
    shown,
    staged_release,
    support_files,
)
from mograder.store.course.support_files import (
    Belongings,
    belongings,
    modules_beside,
    solutions_in,
)

_MODES = {"lecture": "run", "demo": "run", "assignment": "edit"}


def generate_lecture(item: SourceItem, options: GenerateOptions) -> list[Line]:
    """Write a lecture's release without running it; return the lines to report.

    Raises:
        InvalidInput: The notebook cannot be published; the message has each mistake with its line.
    """
    lines: list[Line] = []
    for source in item.notebooks:
        filename, target = shown(source), options.output / source.stem
        text = read_notebook(source)
        modes = {name: _mode(name, options) for name in linked_items(text)}
        support = _support(item, source, text)
        kept = support.files
        lecture = to_lecture(text, filename=filename, mode_of=modes.get, kept=kept)
        refuse(find_leaks(lecture, filename))
        told = f"{filename} -> {shown(target / source.name)}"
        left = [
            *check_names(source.stem, [source.name, *kept], target),
            *left_out(item, support),
            *missing_files(item, source, text),
            *packages(source, text),
        ]
        if options.dry_run:
            lines.append(Line(Step.DRY_RUN, told))
            lines += [Line(Step.DRY_RUN, f"would copy {name}, if it is newer") for name in kept]
            lines += left
            continue
        with staged_release(target) as stage:
            stage.write_text(source.name, lecture)
            copied = copy_support(item, kept, stage, shown(target))
            stage.commit()
        lines += [Line(Step.OK, told), *copied, *left]
    return lines


def left_out(item: SourceItem, support: Belongings) -> list[Line]:
    """Return a line for each file or folder that is not part of the release."""
    place = shown(item.directory)
    return [Line(Step.LEFT_OUT, f"{place}/{each.name}: {each.reason}.") for each in support.left]


def missing_files(item: SourceItem, source: Path, text: str) -> list[Line]:
    """Return a line for each missing file that ``marimo.App(...)`` names."""
    missing = [name for name in app_files(text) if not (item.directory / name).is_file()]
    return [
        Line(Step.ADVICE, f"{shown(source)}:1: marimo.App(...) names {name}, which is not there.")
        for name in missing
    ]


def packages(source: Path, text: str) -> list[Line]:
    """Return a line for each import that the header does not declare.

    Empty if there is no header; for assignments another check reports that.
    """
    if not has_block(text):
        return []
    found = undeclared(text, shown(source), modules_beside(source.parent))
    return [Line(Step.ADVICE, str(finding)) for finding in found]


def _support(item: SourceItem, source: Path, text: str) -> Belongings:
    """Return the files that belong to a lecture: all others in a folder of the lecture's name.

    If the folder holds other lectures too, only the files that ``marimo.App(...)`` names.
    """
    found = support_files(item, [text])
    if item.directory.name == source.stem:
        return found
    named = frozenset(app_files(text))
    reason = f"its folder is not called {source.stem}, so it is not known to belong to it"
    return found.without({name: reason for name in found.files if name not in named})


def copy_support(
    item: SourceItem, names: Sequence[str], stage: ReleaseBuild, target: str
) -> list[Line]:
    """Copy files beside a notebook that are newer than the release's; return lines to report.

    Raises:
        InvalidInput: The release has a file that marks a solution.
    """
    lines = []
    for name in names:
        source = item.directory / name
        if stage.take(source, name):
            lines.append(Line(Step.COPY, f"{shown(source)} -> {Path(target) / name}"))
        elif stage.differs(source, name):
            text = f"{Path(target) / name}:1: it is newer than the source's and not replaced."
            lines.append(Line(Step.ADVICE, f"{text} Remove it to take {shown(source)}."))
    return [*lines, *_left_from_before(item, names, stage, target)]


def _left_from_before(
    item: SourceItem, names: Sequence[str], stage: ReleaseBuild, target: str
) -> Iterator[Line]:
    """Yield a line for each file that only the old release had: students still get it."""
    files = belongings(stage.path).files
    refuse(solutions_in({str(Path(target) / name): stage.path / name for name in files}))
    known = {*names, *(notebook.name for notebook in item.notebooks)}
    for name in files:
        if name not in known:
            text = f"{Path(target) / name}:1: students get it, though it is not the source's."
            yield Line(Step.ADVICE, f"{text} Remove it if they should not.")


def _mode(name: str, options: GenerateOptions) -> str | None:
    """Return how the hub opens an item, from its release, else its source, else its name."""
    there = False
    for base in (options.output, options.releases, options.sources):
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
