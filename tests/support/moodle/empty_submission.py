"""The submission status of a student who has submitted nothing on an assignment yet.

It was recorded for alice on A1, A2 and A5 (076 to 078). It depends only on her group, which bob
shares, and on the assignment's settings, which 063 contains: so it is known for both of them on
A3, A4 and A7 too.
"""

from __future__ import annotations

import json
from dataclasses import replace

from tests.support.moodle.recordings import Recording, recorded

STUDENTS = ("alice", "bob")
_RECORDED = {1: 76, 2: 77, 5: 78}
_OTHERS = (3, 4, 7)


def standing_of_nothing(assignment: int) -> Recording | None:
    """Return Moodle's status for an empty submission, or None if it is not known."""
    if assignment in _RECORDED:
        return recorded(_RECORDED[assignment])
    if assignment not in _OTHERS:
        return None
    known = recorded(76)
    answer = json.loads(known.body)
    listed = json.loads(recorded(63).body)["courses"][0]["assignments"]
    settings = next(each for each in listed if each["id"] == assignment)
    answer["lastattempt"]["blindmarking"] = bool(settings["blindmarking"])
    answer["assignmentdata"]["attachments"]["intro"] = settings["introattachments"]
    return replace(known, body=json.dumps(answer, ensure_ascii=False).encode())
