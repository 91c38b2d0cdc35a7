"""The scale of an assignment on Moodle, as far as Moodle shows it to this account."""

from __future__ import annotations

from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grade_text import Scale
from mograder.clients.moodle.records import Assignment
from mograder.core.errors import Forbidden
from mograder.exchange.moodle.identities import Participants


def scale_of(
    client: MoodleClient, assignment: Assignment, participants: Participants
) -> Scale | None:
    """Return the scale that an assignment is graded by, None if it is graded by points.

    Raises:
        Forbidden: Moodle shows neither the names nor the number of the items, so a number that is
            too large could not be refused; Moodle would reset the grade.
    """
    if not assignment.scale:
        return None
    items = client.scale_items(assignment)
    if items:
        return Scale(len(items), items)
    count = client.scale_size(assignment, participants.people[0].user_id)
    if not count:
        raise Forbidden(
            f"{assignment.name} is graded by a scale, and Moodle does not tell you its items.",
            hint="Ask a teacher who may edit the assignment to send the grades, or set Grade > "
            "Type to Point in its settings.",
        )
    return Scale(count)
