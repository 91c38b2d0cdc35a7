"""Similar submissions: the list of pairs, two of them side by side, and the verdict about them.

Only instructors see these pages, since they name students. A share alone says nothing: each pair
leads to the lines that are alike, and to a verdict with a note that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from anyio import to_thread
from starlette.responses import Response

from mograder.core.errors import MograderError, NotFound
from mograder.grading.marking.similar_pairs import Place, SimilarPair
from mograder.grading.marking.similar_work import (
    ComparedWork,
    Line,
    SimilarWork,
    compared_work,
    marked_lines,
    similar_work,
)
from mograder.store.marking.similarity_verdicts import (
    LONGEST_NOTE,
    GivenVerdict,
    SimilarityVerdicts,
    last_verdict,
)
from mograder.web.marking.context import CurrentHere, Here, stamp_of, working_page
from mograder.web.pages import go_to, page, path_segment, with_outcome
from mograder.web.request_body import read_form

_FORM_BYTES = 64 * 1024
_MOST_PAIRS = 500


@dataclass(frozen=True, slots=True)
class PairLine:
    """A pair in the list; ``lines`` counts the lines of its matches in the first submission."""

    pair: SimilarPair
    lines: int
    verdict: GivenVerdict | None


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Two submissions side by side; ``trouble`` says why the lines cannot be shown, if so."""

    pair: SimilarPair
    matches: Sequence[tuple[Sequence[Line], Sequence[Line]]]
    one: Sequence[Line]
    other: Sequence[Line]
    verdicts: Sequence[GivenVerdict]
    trouble: str = ""


async def similarity_page(here: CurrentHere) -> Response:
    found = await _similar(here)
    await here.record("similar submissions", here.item)
    if found is None:
        return working_page(here.request, here.item, "similarity")
    verdicts, names = await to_thread.run_sync(_known, here)
    lines = [
        PairLine(each, _count(each), last_verdict(verdicts.get((each.one, each.other), ())))
        for each in found.pairs[:_MOST_PAIRS]
    ]
    return page(
        here.request,
        "marking/similarity.html",
        here="marking",
        assignment=here.item,
        found=found,
        lines=lines,
        more=len(found.pairs) - len(lines),
        groups=[each for each in found.groups if len(each) > 2],
        names=names,
    )


async def pair_page(one: str, other: str, here: CurrentHere) -> Response:
    """Show two similar submissions side by side, and the form for the verdict."""
    found = await _similar(here)
    if found is None:
        return working_page(here.request, here.item, "similarity")
    pair = found.pair(one, other)
    if pair is None:
        raise NotFound("These two submissions are not similar.")
    verdicts, names = await to_thread.run_sync(_known, here)
    given = verdicts.get((pair.one, pair.other), ())
    shown = await to_thread.run_sync(_shown, here, pair, given)
    await here.record("compare submissions", f"{pair.one}+{pair.other}/{here.item}")
    return page(
        here.request,
        "marking/similar_pair.html",
        here="marking",
        assignment=here.item,
        shown=shown,
        names=names,
        longest=LONGEST_NOTE,
        last=last_verdict(given),
        moment=datetime.fromisoformat,
    )


async def give_verdict(one: str, other: str, here: CurrentHere) -> Response:
    """Keep a verdict about two submissions: the form's fields are ``verdict`` and ``note``."""
    item, fields = here.item, await read_form(here.request, _FORM_BYTES)
    verdict, note = fields.get("verdict", ""), fields.get("note", "").strip()

    def write() -> None:
        students = _work(here).files().students()
        if one == other or one not in students or other not in students:
            raise NotFound("There are no such two submissions.")
        by, at = here.marker.name, here.marking.clock.now()
        SimilarityVerdicts(here.book).give(item, (one, other), verdict, note=note, by=by, at=at)

    await to_thread.run_sync(write)
    await here.record(f"verdict: {verdict}", f"{one}+{other}/{item}")
    there = "/".join(path_segment(each) for each in (item, "similarity", one, other))
    return go_to(here.request, with_outcome(f"/marking/{there}", "verdict"))


def _work(here: Here) -> ComparedWork:
    return compared_work(here.marking.loaded, here.item, here.marking.source(here.item))


async def _similar(here: Here) -> SimilarWork | None:
    work = await to_thread.run_sync(_work, here)
    if not await to_thread.run_sync(work.files().students):
        raise NotFound("There are no submissions of this assignment.")
    stamp = await to_thread.run_sync(stamp_of, (work.autograded, work.submitted, *work.given))

    async def make() -> SimilarWork:
        return await similar_work(work)

    return await here.marking.reports.get(("similarity", here.item), stamp, make)


def _known(
    here: Here,
) -> tuple[Mapping[tuple[str, str], tuple[GivenVerdict, ...]], Mapping[str, str]]:
    return SimilarityVerdicts(here.book).of(here.item), here.book.students()


def _count(pair: SimilarPair) -> int:
    places = (match.one for match in pair.matches)
    return len({number for at in places for number in range(at.first, at.last + 1)})


def _shown(here: Here, pair: SimilarPair, verdicts: Sequence[GivenVerdict]) -> ShownPair:
    files = _work(here).files()
    matches = sorted(pair.matches, key=lambda each: (each.one, each.other))
    try:
        one = marked_lines(files.handed_in_first(pair.one), [each.one for each in matches])
        other = marked_lines(files.handed_in_first(pair.other), [each.other for each in matches])
    except MograderError as error:
        return ShownPair(pair, (), (), (), verdicts, str(error))
    parts = tuple((_lines(one, each.one), _lines(other, each.other)) for each in matches)
    return ShownPair(pair, parts, one, other, verdicts)


def _lines(lines: Sequence[Line], place: Place) -> Sequence[Line]:
    return lines[place.first - 1 : place.last]
