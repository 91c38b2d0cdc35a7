"""``mograder similarity``: pairs of submissions with much in common, for people to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from mograder.cli.files import write_private
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import FILE
from mograder.cli.shared.output import counting
from mograder.cli.shared.result import Result, json_option
from mograder.core.clock import SystemClock
from mograder.core.csv_table import write_table
from mograder.core.name_lookup import Words, counted, find_name
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.grading.marking.similar_pairs import SimilarPair
from mograder.grading.marking.similar_work import SimilarWork, compared_work, similar_work
from mograder.store.course.sources import open_sources
from mograder.store.gradebook.gradebook import viewed_gradebook
from mograder.store.marking.similarity_verdicts import (
    GivenVerdict,
    SimilarityVerdicts,
    last_verdict,
)

_MOST_MATCHES = 10
_Verdicts = Mapping[tuple[str, str], tuple[GivenVerdict, ...]]


@click.command("similarity")
@click.argument("assignment")
@click.option("--csv", "file", type=FILE, help="Write the pairs into this file, too.")
@json_option
@course_option
def similarity(*, assignment: str, file: Path | None, loaded: LoadedSettings) -> Result:
    """Look for copies among the submissions of an assignment.

    Other names, other comments and functions in another order hide nothing. Text of the release and
    of the solution does not count, nor what many students have in common, and short answers are
    not reported; files that are the same to the letter always are. Nothing leaves this machine. A
    share proves nothing: compare the lines, on the page "Similar submissions" of the hub or of
    `mograder grader`, and keep your verdict there.
    """
    name = _named(loaded, assignment)
    source = open_sources(loaded, SystemClock()).find(name)
    work = compared_work(loaded, name, None if source is None else source.notebook)
    with counting(len(work.files().students()), "Reading submissions") as tell:
        found = asyncio.run(similar_work(work, tell))
    verdicts: _Verdicts = {}
    if loaded.gradebook_path.is_file():
        with viewed_gradebook(loaded.gradebook_path) as book:
            verdicts = SimilarityVerdicts(book).of(name)
    if file is not None:
        columns = ("student", "other", "code", "text", "lines", "other_lines", "verdict", "note")
        rows = (_row(pair, _verdict(pair, verdicts)) for pair in found.pairs)
        write_private(file, write_table(columns, rows), for_spreadsheet=True)
    return Result(_json(name, found, verdicts), map(plain, _lines(name, found, verdicts)))


def _named(loaded: LoadedSettings, assignment: str) -> ItemName:
    base = loaded.path(loaded.settings.dirs.submitted)
    found = sorted(each.name for each in base.iterdir() if each.is_dir()) if base.is_dir() else []
    names = [each for each in found if ItemName.valid(each) is not None]
    words = Words(where=f"in {base}", empty="Nothing was handed in yet.")
    return ItemName.parse(find_name(assignment, names, words))


def _verdict(pair: SimilarPair, verdicts: _Verdicts) -> GivenVerdict | None:
    return last_verdict(verdicts.get((pair.one, pair.other), ()))


def _lines(name: str, found: SimilarWork, verdicts: _Verdicts) -> Iterator[str]:
    pairs = counted(len(found.pairs), "similar pair")
    yield f"{name}: {counted(found.students, 'submission')} compared, {pairs}"
    for same in found.identical:
        yield f"  identical files: {', '.join(same)}"
    if found.without_given:
        yield "  Neither source nor release was found, so the teacher's text counts, too."
    for student in found.unread:
        yield f"  not compared, because it cannot be read: {student}"
    for student in found.cut:
        yield f"  compared in part, because it is too long: {student}"
    for pair in found.pairs:
        verdict = _verdict(pair, verdicts)
        told = f" [{verdict.verdict}: {verdict.note or 'no note'}]" if verdict else ""
        shares = (("code", pair.code), ("text", pair.prose))
        parts = ", ".join(f"{100 * share:.0f} % of the {what}" for what, share in shares if share)
        yield f"  {pair.one} and {pair.other}: {parts}{told}"
        for match in pair.matches[:_MOST_MATCHES]:
            one, other = match.one, match.other
            yield f"      lines {one.first}-{one.last} and {other.first}-{other.last}"
        if len(pair.matches) > _MOST_MATCHES:
            yield f"      and {len(pair.matches) - _MOST_MATCHES} further places"
    yield from (f"  group: {', '.join(group)}" for group in found.groups if len(group) > 2)
    if found.pairs or found.identical:
        yield "A share proves nothing: compare the lines of a pair before you decide."


def _row(pair: SimilarPair, verdict: GivenVerdict | None) -> tuple[str | float, ...]:
    return (
        pair.one,
        pair.other,
        round(pair.code, 3),
        round(pair.prose, 3),
        " ".join(f"{each.one.first}-{each.one.last}" for each in pair.matches),
        " ".join(f"{each.other.first}-{each.other.last}" for each in pair.matches),
        str(verdict.verdict) if verdict else "",
        verdict.note if verdict else "",
    )


def _json(name: str, found: SimilarWork, verdicts: _Verdicts) -> dict[str, object]:
    return {
        "assignment": name,
        "compared": found.students,
        "unread": list(found.unread),
        "cut": list(found.cut),
        "without_given": found.without_given,
        "groups": [list(each) for each in found.groups],
        "identical": [list(each) for each in found.identical],
        "pairs": [_pair_json(pair, _verdict(pair, verdicts)) for pair in found.pairs],
    }


def _pair_json(pair: SimilarPair, verdict: GivenVerdict | None) -> dict[str, object]:
    return {
        "students": [pair.one, pair.other],
        "code": pair.code,
        "text": pair.prose,
        "matches": [
            [[each.one.first, each.one.last], [each.other.first, each.other.last]]
            for each in pair.matches
        ],
        "verdict": str(verdict.verdict) if verdict else None,
        "note": verdict.note if verdict else "",
    }
