"""Which files lay in the draft areas that the recordings name, as far as later answers show it.

The uploads into them were not recorded, except for 083 to 099; what was in them is what Moodle
showed after they were saved, and what it dropped on the way is named in the recordings' notes.
"""

from __future__ import annotations

Files = tuple[tuple[str, int], ...]
"""Names and sizes."""

_A1 = "A1-Introduction.py"
_MB = 1 << 20

DRAFTS: dict[str, tuple[str, Files]] = {
    "734712677": ("alice", ((_A1, 20),)),
    "425138590": ("alice", ((_A1, 20),)),
    "194199591": ("alice", ((_A1, 20), ("helper.py", 18))),
    "100457904": ("bob", tuple((f"f{number}.py", 13) for number in range(5))),
    "636810757": ("bob", (("big.py", 21 * _MB), ("small.py", 1))),
    "18238495": ("bob", (("notes.txt", 4), ("A2.py", 18))),
    "676721110": ("alice", (("A2 Optimisation – étude.py", 20),)),
    "726378110": ("alice", (("again.py", 20),)),
    "645356212": ("alice", (("x.py", 5),)),
    "408297076": ("alice", (("late.py", 16),)),
    "2212249": ("teach1", (("teacher.py", 5),)),
    "796327732": ("alice", (("alices.py", 5),)),
    "185695749": ("bob", ((_A1, 20),)),
    "46471178": ("bob", (("locked.py", 5),)),
    "842734636": ("alice", (("x.py", 6),)),
    "451232723": ("bob", ((_A1, 16),)),
    "197264330": ("alice", (("not-text.py", 5),)),
    "213523076": ("alice", (("team.py", 4),)),
    "978201822": ("alice", (("early.py", 5),)),
    "34425954": ("teach1", (("alice_feedback.html", 20),)),
    "770247388": ("teach1", (("bob.html", 10),)),
    "847256929": ("teach1", (("carol.html", 12),)),
    "443454510": ("teach1", (("only.html", 5),)),
    "845432951": ("teach1", (("A2 étude feedback.html", 8),)),
    "422506772": ("teach1", (("debug.html", 5),)),
    "434676177": ("teach1", (("a8.html", 5),)),
    "909886319": ("teach1", (("a7.html", 5),)),
    "500000001": ("teach1", (("alice.html", 3),)),
}
"""By their numbers; names of what never came to light are made up."""


def evident(actor: str, files: Files) -> bool:
    """Return whether these files are known to have been uploaded into one area."""
    who = actor.partition("@")[0]
    return bool(files) and any(owner == who and files == held for owner, held in DRAFTS.values())
