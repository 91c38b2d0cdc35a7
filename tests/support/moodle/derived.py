"""The course of ``derived-grades.jsonl``: exchanges that were not recorded, but derived.

They follow the description of a trial against Moodle 5.1, which has the values sent and Moodle's
state afterwards, but not the traffic.
"""

from __future__ import annotations

TEACHER, ALICE, BOB, CAROL, DORA, TUTOR = 3, 4, 5, 6, 7, 9

T1, T2, E1, E2, C1, M1, R1, S1, F1, T3 = range(20, 30)
"""The assignments: two teams, two with empty cells, changed comments, an interrupted upload, a
second attempt, a scale, feedback files, a team whose grades nobody touched."""

M1_TITLE = "M1. Interrupted"
