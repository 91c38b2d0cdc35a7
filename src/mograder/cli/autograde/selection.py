"""The submissions that the arguments of ``mograder autograde`` name, by assignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

from mograder.cli.moodle.sheets import works_of_zip
from mograder.cli.shared.named_assignments import (
    assignment_named,
    course_of,
    directories_in,
    named_files,
)
from mograder.core.errors import InvalidInput, MograderError, NotFound
from mograder.core.name_lookup import listed
from mograder.core.names import ItemName, nfc
from mograder.core.settings import LoadedSettings
from mograder.exchange.moodle.submitted_work import Target
from mograder.exchange.submission_times import submissions_in
from mograder.grading.submissions.graded_assignment import AssignmentFiles
from mograder.notebook.pep723 import ItemKind, read_kind
from mograder.store.course.course import (
    find_release,
    find_source,
    named_directory,
    read_notebook,
    refuse_to_replace,
    shown,
)
from mograder.store.filesystem.files import entry_named
from mograder.store.submissions.submitted_files import SubmittedFile, submitted_files


@dataclass(frozen=True, slots=True)
class Wanted:
    """The arguments and options of the command line about submissions and their assignment."""

    arguments: tuple[str, ...]
    source: Path | None = None
    output: Path | None = None
    students: tuple[str, ...] = ()
    archive: Path | None = None
    worksheet: Path | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The chosen submissions of one assignment, and where its results go.

    ``course`` has the settings of the course that the submissions belong to. ``whole`` is whether
    these are all submissions of the assignment. ``notes`` are sentences about the choice.
    """

    course: LoadedSettings
    files: AssignmentFiles
    submissions: tuple[SubmittedFile, ...]
    output: Path
    whole: bool = True
    notes: tuple[str, ...] = ()


def choose(wanted: Wanted, loaded: LoadedSettings) -> tuple[Chosen, ...]:
    """Return the submissions that the command line means, by assignment; all are of one course."""
    if not wanted.arguments:
        raise click.UsageError("Missing argument 'ASSIGNMENTS...'.")
    places = named_files(wanted.arguments, partial(_directory, loaded))
    if len(places) > 1 and (wanted.source or wanted.output):
        raise click.UsageError("--source and --output-dir are for one assignment at a time.")
    course = course_of(places, "submitted", loaded)
    found = tuple(_choose(place, files, wanted, course) for place, files in places.items())
    _refuse_unknown(wanted.students, found)
    return found


def choose_from_zip(
    wanted: Wanted, archive: Path, loaded: LoadedSettings, workshop: Path
) -> Chosen:
    """Unpack Moodle's zip of submissions below ``workshop``, and return them.

    The assignment is the one argument, else that of ``--source``.
    """
    if wanted.arguments:
        name = ItemName.parse(_named(wanted.arguments[0], loaded))
    elif wanted.source is not None:
        name = ItemName.parse(named_directory(wanted.source.absolute().parent).name)
    else:
        raise click.UsageError("Name the assignment of the zip, or give --source.")
    source, notes = _source(wanted.source, loaded, name)
    notebooks = (f"{name}.py",) if source is None else (f"{name}.py", source.name)
    target = Target(workshop / name, notebooks)
    target.directory.mkdir()
    works = works_of_zip(archive, wanted.worksheet, loaded, target, name)
    places = [(work, target.directory / f"{work.name}.py") for work in works if work.places()]
    read = [path for work, path in places if work.has_notebook]
    unread = [
        SubmittedFile(work.name, path, problem=work.why)
        for work, path in places
        if not work.has_notebook
    ]
    submissions = (*submitted_files(target.directory, named=read), *unread)
    files = AssignmentFiles(name, source, find_release(source, name, _releases(loaded)))
    notes += tuple(f"{work.name}: {work.why}" for work in works if work.why)
    output = _output(
        wanted, loaded, files, entry_named(loaded.path(loaded.settings.dirs.submitted), name)
    )
    chosen = Chosen(loaded, files, submissions, output, notes=notes)
    chosen = _only(chosen, wanted.students)
    _refuse_unknown(wanted.students, (chosen,))
    return chosen


def _directory(loaded: LoadedSettings, argument: str) -> Path:
    """Return the directory of submissions that a name means."""
    base = loaded.path(loaded.settings.dirs.submitted)
    directory = entry_named(base, _named(argument, loaded))
    if not directory.is_dir():
        raise InvalidInput(
            f"Assignment directory not found: {shown(directory)}",
            hint=_how_to_collect(loaded),
        )
    return directory


def _how_to_collect(loaded: LoadedSettings) -> str:
    settings = loaded.settings
    if loaded.on_moodle:
        return "Collect the submissions first: `mograder moodle fetch-submissions`."
    if settings.https.url or settings.transport == "https":
        return "Collect the submissions first: `mograder https fetch-submissions`."
    if settings.hub.collect:
        return "Students submit on the hub; none has submitted this yet."
    return (
        "Students submit on the hub with `collect = true` below [hub], or you collect the "
        "submissions from Moodle or an assignment server with `fetch-submissions`."
    )


def _named(argument: str, loaded: LoadedSettings) -> str:
    """Return the name of the assignment that an argument means; a mere lecture is none."""
    dirs = loaded.settings.dirs
    submitted, sources = loaded.path(dirs.submitted), loaded.path(dirs.source)
    others = set(directories_in(sources)) - set(directories_in(submitted))
    lectures = {name for name in others if _is_lecture(sources, name)}
    empty = "There are no submissions."
    return assignment_named(argument, (submitted, sources), empty, without=lectures)


def _is_lecture(base: Path, name: str) -> bool:
    try:
        notebook = find_source(str(entry_named(base, name)), base).notebooks[0]
        return read_kind(read_notebook(notebook)) == ItemKind.LECTURE
    except MograderError:
        return False


def _choose(
    directory: Path, files: list[Path] | None, wanted: Wanted, loaded: LoadedSettings
) -> Chosen:
    name = ItemName.parse(directory.name)
    found = tuple(submissions_in(directory, name, loaded, named=files))
    others = _not_graded(directory) if files is None else ()
    if not found:
        raise InvalidInput(
            f"No .py files in {shown(directory)}",
            hint=" ".join(others) or _how_to_collect(loaded),
        )
    source, notes = _source(wanted.source, loaded, name)
    assignment = AssignmentFiles(name, source, find_release(source, name, _releases(loaded)))
    chosen = Chosen(
        loaded,
        assignment,
        found,
        _output(wanted, loaded, assignment, directory),
        whole=files is None,
        notes=(*notes, *others),
    )
    return _only(chosen, wanted.students)


def _not_graded(directory: Path) -> tuple[str, ...]:
    """Return sentences about the files of a directory that are notebooks under other names."""
    names = sorted(path.name for path in directory.iterdir() if path.name[0] != ".")
    jupyter = [name for name in names if name.endswith(".ipynb")]
    # As Windows may leave it: in capitals, or with a ".txt" that it does not show.
    ends = (".py", ".py.txt")
    misnamed = [name for name in names if name.lower().endswith(ends) and name[-3:] != ".py"]
    notes = []
    if jupyter:
        notes.append(
            f"Not graded, since they are notebooks of Jupyter: {listed(jupyter)}. Convert each by "
            "`marimo convert NAME.ipynb -o NAME.py`, and grade again."
        )
    if misnamed:
        notes.append(
            f"Not graded, since their names do not end in .py: {listed(misnamed)}. Rename each to "
            "STUDENT.py, and grade again."
        )
    return tuple(notes)


def _only(chosen: Chosen, students: Sequence[str]) -> Chosen:
    if not students:
        return chosen
    names = set(map(nfc, students))
    kept = tuple(each for each in chosen.submissions if each.student in names)
    return replace(chosen, submissions=kept, whole=False)


def _refuse_unknown(students: Sequence[str], chosen: Sequence[Chosen]) -> None:
    known = {file.student for each in chosen for file in each.submissions}
    missing = [name for name in students if nfc(name) not in known]
    if missing:
        where = listed([each.files.name for each in chosen])
        raise NotFound(f"There is no submission of {listed(missing)} to {where}.")


def _releases(loaded: LoadedSettings) -> tuple[Path, ...]:
    return tuple(map(loaded.path, (loaded.settings.dirs.release, loaded.settings.hub.release_dir)))


def _output(
    wanted: Wanted, loaded: LoadedSettings, files: AssignmentFiles, submitted: Path
) -> Path:
    """Return where results go; raises InvalidInput where that is what they are made of."""
    output = wanted.output or loaded.path(loaded.settings.dirs.autograded) / files.name
    notebooks = (each for each in (files.source, files.release) if each is not None)
    refuse_to_replace(output, submitted, *(each.parent for each in notebooks))
    return output


def _source(
    given: Path | None, loaded: LoadedSettings, name: str
) -> tuple[Path | None, tuple[str, ...]]:
    if given is not None:
        return given.absolute(), ()
    sources = loaded.path(loaded.settings.dirs.source)
    directory = entry_named(sources, name)
    if not directory.is_dir():
        return None, (
            f"There is no source {shown(directory)}: no mark is protected from the submissions.",
        )
    notebooks = find_source(str(directory), sources).notebooks
    notes = [f"Auto-discovered source: {shown(notebooks[0])}"]
    if len(notebooks) > 1:
        notes.append(f"There are {len(notebooks)} notebooks; name another by --source.")
    return notebooks[0], tuple(notes)
