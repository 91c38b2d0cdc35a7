"""Decides which marks are sent: not those that Moodle has already, nor over changes made there.

Moodle's data is compared with the record of our last upload (``SentGrade``), and with the marks
that an interrupted upload was about to send (the intent). Each of grade, comment and files is ours
if it equals one of the two.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from decimal import Decimal

from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grading import (
    HIDDEN,
    Outcome,
    Plan,
    Result,
    hides_comment,
    kept_state,
)
from mograder.clients.moodle.records import Assignment, Feedback, Held, Mark
from mograder.clients.moodle.texts import mark_text, same_comment
from mograder.exchange.grade_files import is_only_late
from mograder.store.gradebook.gradebook import UNKNOWN_ATTEMPT, SentGrade
from mograder.store.gradebook.grading_records import SentFile

BEFORE_FIRST = "graded on Moodle before our first upload"
"""The first of the changes, where there was no upload yet."""

_MOST_COMPARED = 64 << 20


@dataclass(frozen=True, slots=True)
class Remembered:
    """The uploads on record for an assignment: confirmed ones, and interrupted ones."""

    sent: Mapping[int, SentGrade]
    intended: Mapping[int, SentGrade]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about one mark.

    ``changed`` names the fields changed on Moodle since our upload.
    """

    outcome: Outcome
    changed: tuple[str, ...] = ()
    files: tuple[SentFile, ...] | None = None
    """The files that Moodle holds, None if that is not known."""


def grade_text(grade: Decimal | None) -> str:
    return "" if grade is None else mark_text(grade)


def fingerprints(files: Sequence[Upload]) -> tuple[SentFile, ...]:
    found = []
    for file in files:
        with file.path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        found.append(SentFile(file.name, file.name, file.path.stat().st_size, digest))
    return tuple(found)


def known_unchanged(outcome: Outcome, sent: SentGrade | None) -> Outcome:
    """Mark as UNCHANGED, without asking Moodle, a mark that equals our last upload.

    Moodle's time of the grade shows that it was not saved again since.
    """
    if sent is None or outcome.result is not Result.CHANGED or not _is_as_we_left_it(outcome, sent):
        return outcome
    same = _holds_all(outcome, sent.comment, sent.files)
    return replace(outcome, result=Result.UNCHANGED) if same else outcome


def complete(
    outcome: Outcome, sent: SentGrade | None, intent: SentGrade | None = None, me: int = 0
) -> Outcome:
    """Fill in the comment that the marking workflow hides, if our record is still valid.

    ``intent`` and ``me``, the user id of this account, are for an upload that was interrupted.
    """
    held = outcome.held
    if not held.is_read or held.feedback is not None:
        return outcome
    if not _is_as_we_left_it(outcome, sent):
        comment = _comment_of_interrupted(outcome, sent, intent, me)
        shown = None if comment is None else Feedback(comment=comment)
        return replace(outcome, held=replace(held, feedback=shown))
    if sent is None or sent.comment is None:
        return outcome
    files = tuple(RemoteFile(each.kept_as, "", each.size) for each in sent.files or ())
    return replace(
        outcome, held=replace(held, feedback=Feedback(comment=sent.comment, files=files))
    )


def _comment_of_interrupted(
    outcome: Outcome, sent: SentGrade | None, intent: SentGrade | None, me: int
) -> str | None:
    """Return the comment that an interrupted upload of this account left, None if not known.

    The earlier comment must be the same, because Moodle has no separate times for grade and
    comment.
    """
    held = outcome.held
    if intent is None or held.grade is None or outcome.mark.files:
        return None
    ours = held.grade.grader == me and grade_text(held.grade.grade) == intent.grade
    saved = intent.attempt == held.attempt and intent.modified != _modified(held)
    alike = sent is None or (sent.attempt, sent.comment) == (intent.attempt, intent.comment)
    return intent.comment if ours and saved and alike else None


def judge(
    client: MoodleClient,
    assignment: Assignment,
    outcome: Outcome,
    sent: SentGrade | None,
    intent: SentGrade | None,
    *,
    force: bool,
) -> Verdict:
    """Decide about one mark whose comment and files on Moodle were read, by its records.

    UNCHANGED: Moodle holds all of it. SKIPPED: it was changed on Moodle since our upload, or it is
    the mark of an attempt before the latest one.
    """
    if outcome.result is not Result.CHANGED:
        return Verdict(outcome)
    if sent and sent.attempt == UNKNOWN_ATTEMPT and outcome.held.grade:
        sent = replace(sent, attempt=outcome.held.attempt)
    known = [each for each in (sent, intent) if each]
    files = _held_files(client, outcome, known)
    if _holds_all(outcome, _held_comment(outcome.held), files):
        return Verdict(replace(outcome, result=Result.UNCHANGED), files=files)
    if hides_comment(assignment, outcome):
        # --force does not send it either, so this is checked before the changes.
        return Verdict(replace(outcome, result=Result.SKIPPED, why=HIDDEN), files=files)
    changed = changes(outcome, files, sent, intent)
    if changed and not force:
        return Verdict(replace(outcome, result=Result.SKIPPED), changed, files)
    why = "" if force else _mark_of_earlier(outcome, known)
    if why:
        return Verdict(replace(outcome, result=Result.SKIPPED, why=why), changed, files)
    is_ours = sent and sent.attempt == outcome.held.attempt and _are_one(files, [sent])
    if files and is_ours and _same_content(fingerprints(outcome.mark.files), files):
        # A grade that is saved without files leaves those there (recording 177).
        outcome = replace(outcome, mark=replace(outcome.mark, files=()))
    return Verdict(outcome, changed, files)


def _mark_of_earlier(outcome: Outcome, known: Sequence[SentGrade]) -> str:
    """Return the reason if a mark equals that of an earlier attempt and the latest has no grade.

    Empty otherwise.
    """
    mark, held = outcome.mark, outcome.held
    if held.grade is not None:
        return ""
    for each in known:
        same = (
            UNKNOWN_ATTEMPT < each.attempt < held.attempt
            and (mark.grade is None or grade_text(outcome.after) == each.grade)
            and _holds(mark, each.comment, each.files)
        )
        if same:
            return (
                f"this is the mark of attempt {each.attempt + 1}; attempt {held.attempt + 1} has "
                "none yet, and --force sends this one for it"
            )
    return ""


def changes(
    outcome: Outcome,
    files: tuple[SentFile, ...] | None,
    sent: SentGrade | None,
    intent: SentGrade | None,
) -> tuple[str, ...]:
    """Name the fields changed on Moodle since our upload that the mark would overwrite."""
    held = outcome.held
    if not sent or held.attempt > sent.attempt:
        return _changes_without_record(outcome, files, intent, is_new=sent is None)
    known = [each for each in (sent, intent) if each and each.attempt == held.attempt]
    saved = not sent.modified or _modified(held) != sent.modified
    found = _overwritten(outcome, files, known, sent, saved=saved)
    hidden = held.feedback is None and held.is_read
    if hidden and saved and sent.modified and not found and intent is None:
        # The workflow hides the comment: a change shows only in the time of the grade.
        return ("the grade or the feedback was saved again",)
    return found


def to_remember(verdict: Verdict, sent: SentGrade | None, *, team: bool, me: int = 0) -> SentGrade:
    """Return the record to keep after Moodle has confirmed an outcome.

    A grade, comment or files of another person that the mark does not replace are not recorded as
    ours. If another account than ``me`` (0 before sending) saved the grade after us, its time is
    not recorded, so that the next upload compares everything.
    """
    outcome = verdict.outcome
    mark, held = outcome.mark, outcome.held
    kept = outcome.kept or held.grade
    comment = _held_comment(held) if mark.comment is None else mark.comment
    files = verdict.files
    if mark.files and outcome.result is Result.CHANGED:
        names = outcome.names or tuple(file.name for file in mark.files)
        files = tuple(
            replace(each, kept_as=name)
            for each, name in zip(fingerprints(mark.files), names, strict=True)
        )
    elif held.grade is None and files is None:
        files = ()
    modified = int(kept.modified.timestamp()) if kept and kept.modified else 0
    if outcome.kept and me and outcome.kept.grader != me:
        modified = 0
    attempt = kept.attempt if kept else held.attempt
    ours = _ours(sent, mark.user_id, attempt)
    if mark.comment is None and ours.comment is not None:
        if me and comment not in (None, ours.comment):
            modified = 0  # Without a time the comment is compared the next time.
        comment = ours.comment
    if not mark.files and ours.files is not None:
        files = ours.files
    grade = ours.grade if mark.grade is None else grade_text(outcome.after)
    return SentGrade(mark.user_id, grade, attempt, modified, comment, files, team)


def _ours(sent: SentGrade | None, user: int, attempt: int) -> SentGrade:
    """Return our record of an attempt: without an upload nothing of it is ours."""
    if sent and sent.attempt in (attempt, UNKNOWN_ATTEMPT):
        return sent
    return SentGrade(user, "", attempt, 0, "", ())


def settled(verdict: Verdict, sent: SentGrade | None, intent: SentGrade | None) -> SentGrade | None:
    """Return Moodle's state after an interrupted upload, None if that upload saved nothing.

    It is recorded before a new intent replaces ``intent``. Changes by another person are not
    recorded as ours; marks that would overwrite such changes give None.
    """
    mark, held = verdict.outcome.mark, verdict.outcome.held
    if intent is None or intent.attempt != held.attempt or held.grade is None or verdict.changed:
        return None
    if sent is None and _modified(held) == intent.modified:
        return None
    known = [each for each in (sent, intent) if each and each.attempt == held.attempt]
    ours = _ours(sent, mark.user_id, held.attempt)
    comment, modified = held.feedback.comment if held.feedback else None, _modified(held)
    if comment is not None and mark.comment is None and comment not in _comments(known):
        comment, modified = ours.comment, 0
    files = verdict.files
    if not mark.files and not _are_one(files, known):
        files = ours.files
    team = all(each.team for each in known)
    grade = grade_text(held.grade.grade)
    if mark.grade is None and all(grade != each.grade for each in known):
        grade = ours.grade
    return SentGrade(mark.user_id, grade, held.attempt, modified, comment, files, team)


def erased_comment(outcome: Outcome) -> str:
    """Return the comment on Moodle that sending a mark would erase, empty for none."""
    held = outcome.held.feedback
    erases = outcome.result is Result.CHANGED and outcome.mark.comment == ""
    return held.comment if erases and held else ""


def replaced_files(outcome: Outcome) -> tuple[str, ...]:
    """Name the files on Moodle that sending the mark removes."""
    mark, held = outcome.mark, outcome.held.feedback
    if not mark.files or held is None or outcome.result is not Result.CHANGED:
        return ()
    sent = {file.name for file in mark.files}
    return tuple(file.name for file in held.files if file.name not in sent)


def settle_plan(
    client: MoodleClient,
    plan: Plan,
    remembered: Remembered,
    *,
    force: bool,
    uncommented: Set[int] = frozenset(),
) -> tuple[Verdict, ...]:
    """Judge every mark of a plan whose feedback was read.

    Of the people ``uncommented``, who have no comment here, a line of ours about a deduction that
    is gone goes, too.
    """
    intended = remembered.intended
    me = client.site().user_id if intended and plan.assignment.workflow else 0

    def judged(outcome: Outcome) -> Verdict:
        user = outcome.mark.user_id
        sent, intent = remembered.sent.get(user), intended.get(user)
        found = complete(outcome, sent, intent, me)
        held, mark = found.held.feedback, found.mark
        ours = held.comment if held and sent and held.comment == sent.comment else ""
        if user in uncommented and mark.comment is None and is_only_late(ours):
            found = replace(found, mark=replace(mark, comment=""))
        return judge(client, plan.assignment, found, sent, intent, force=force)

    return tuple(map(judged, plan.outcomes))


def _changes_without_record(
    outcome: Outcome, files: tuple[SentFile, ...] | None, intent: SentGrade | None, *, is_new: bool
) -> tuple[str, ...]:
    """Name what was changed on a newer attempt, or after an interrupted first upload."""
    held = outcome.held
    if held.grade is None:
        return ()
    if intent and intent.attempt == held.attempt and intent.modified != _modified(held):
        return _overwritten(outcome, files, [intent], intent, saved=True)
    if is_new:
        return _of_others(outcome)
    says = held.feedback is not None and (held.feedback.comment or held.feedback.files)
    given = held.grade.grade is not None or says or _may_hide_feedback(outcome)
    return (f"attempt {held.attempt + 1} was graded there",) if given else ()


def _of_others(outcome: Outcome) -> tuple[str, ...]:
    """Name what a first upload would replace of a grade that is there and not from this course."""
    now, mark, feedback = _held_grade(outcome.held), outcome.mark, outcome.held.feedback
    found = []
    if now is not None and outcome.after != outcome.before:
        found.append(f"grade {grade_text(now)}")
    if mark.comment is not None and feedback and feedback.comment not in ("", mark.comment):
        found.append("comment")
    if mark.files and feedback and feedback.files:
        found.append("feedback files")
    if _may_hide_feedback(outcome) and (mark.comment is not None or mark.files):
        found.append("feedback that Moodle hides before the release")
    return (BEFORE_FIRST, *found) if found else ()


def _may_hide_feedback(outcome: Outcome) -> bool:
    """Return whether a person saved this grade, whose feedback the workflow hides.

    A row that Moodle itself made, as for workflow states that are set in bulk, names no grader.
    """
    held = outcome.held
    graded = held.grade is not None and held.grade.grader > 0
    return graded and held.is_read and held.feedback is None


def _overwritten(
    outcome: Outcome,
    files: tuple[SentFile, ...] | None,
    known: Sequence[SentGrade],
    ours: SentGrade,
    *,
    saved: bool,
) -> tuple[str, ...]:
    """Name the fields on Moodle that differ from the records and that the mark replaces."""
    now = grade_text(_held_grade(outcome.held))
    found = []
    if outcome.after != outcome.before and all(now != each.grade for each in known):
        found.append(f"grade {ours.grade or 'none'} to {now or 'none'}")
    wanted, feedback, recorded = outcome.mark.comment, outcome.held.feedback, _comments(known)
    if recorded and wanted is not None and feedback and feedback.comment != wanted:
        # If the grade has the time of our upload, only a different text counts, not different
        # markup: uploading a worksheet with comments alone leaves the time.
        ours_still = feedback.comment in recorded
        if not saved:
            ours_still = any(same_comment(feedback.comment, each) for each in recorded)
        if not ours_still:
            found.append("comment")
    if outcome.mark.files and not _are_one(files, known):
        found.append("feedback files")
    return tuple(found)


def _holds_all(outcome: Outcome, comment: str | None, files: tuple[SentFile, ...] | None) -> bool:
    """Return whether a mark is on Moodle in full; ``comment`` and ``files`` are held there."""
    return (
        outcome.after == outcome.before
        and outcome.state == kept_state(outcome.held.state)
        and _holds(outcome.mark, comment, files)
    )


def holds_mark(verdict: Verdict) -> bool:
    """Return whether Moodle holds the parts of a judged mark, in whatever workflow state."""
    outcome = verdict.outcome
    if outcome.result is Result.UNCHANGED:
        return True
    comment = _held_comment(outcome.held)
    return outcome.after == outcome.before and _holds(outcome.mark, comment, verdict.files)


def _holds(mark: Mark, comment: str | None, files: tuple[SentFile, ...] | None) -> bool:
    """Return whether a comment and files are those of a mark, as far as the mark has any."""
    return (mark.comment is None or mark.comment == comment) and (
        not mark.files or _same_content(fingerprints(mark.files), files)
    )


def _held_files(
    client: MoodleClient, outcome: Outcome, known: Sequence[SentGrade]
) -> tuple[SentFile, ...] | None:
    """Return Moodle's files; hashed if one of ours has the same name and size."""
    held = outcome.held
    if held.feedback is None:
        return () if held.grade is None else None
    left = [each for each in known if each.modified and each.modified == _modified(held)]
    ours = [*fingerprints(outcome.mark.files), *_files_of(known)]
    found = []
    for file in held.feedback.files:
        size, key = file.size or 0, (file.name, file.size)
        unchanged = {e.sha256 for e in _files_of(left) if (e.kept_as, e.size) == key}
        alike = any(each.sha256 and (each.kept_as, each.size) == key for each in ours)
        digest = ""
        if len(unchanged) == 1:
            digest = min(unchanged)
        elif alike and size <= _MOST_COMPARED:
            digest = hashlib.sha256(client.read(file, _MOST_COMPARED)).hexdigest()
        found.append(SentFile(file.name, file.name, size, digest))
    return tuple(found)


def _files_of(records: Sequence[SentGrade]) -> list[SentFile]:
    return [file for each in records for file in each.files or ()]


def _same_content(wanted: tuple[SentFile, ...], held: tuple[SentFile, ...] | None) -> bool:
    """Return whether the files on Moodle have the same contents; names are not compared."""
    if held is None:
        return False
    return sorted((each.size, each.sha256) for each in wanted) == sorted(
        (each.size, each.sha256) for each in held
    )


def _are_one(files: tuple[SentFile, ...] | None, known: Sequence[SentGrade]) -> bool:
    """Return whether the files are those of one of the records, or cannot be compared."""
    recorded = [each.files for each in known if each.files is not None]
    if files is None or not recorded:
        return True
    return any(_matches(files, each) for each in recorded)


def _matches(held: tuple[SentFile, ...], recorded: tuple[SentFile, ...]) -> bool:
    there = {(each.kept_as, each.size): each.sha256 for each in held}
    ours = {(each.kept_as, each.size): each.sha256 for each in recorded}
    return there.keys() == ours.keys() and all(
        not ours[key] or not there[key] or ours[key] == there[key] for key in ours
    )


def _comments(known: Sequence[SentGrade]) -> list[str]:
    return [each.comment for each in known if each.comment is not None]


def _is_as_we_left_it(outcome: Outcome, sent: SentGrade | None) -> bool:
    held = outcome.held
    return (
        sent is not None
        and bool(sent.modified)
        and held.attempt == sent.attempt
        and _modified(held) == sent.modified
        and (outcome.mark.grade is None or grade_text(_held_grade(held)) == sent.grade)
    )


def _held_grade(held: Held) -> Decimal | None:
    return held.grade.grade if held.grade else None


def _modified(held: Held) -> int:
    modified = held.grade.modified if held.grade else None
    return int(modified.timestamp()) if modified else 0


def _held_comment(held: Held) -> str | None:
    """Return the comment on Moodle: empty without a grade, None if it is hidden."""
    if held.feedback:
        return held.feedback.comment
    return "" if held.grade is None else None
