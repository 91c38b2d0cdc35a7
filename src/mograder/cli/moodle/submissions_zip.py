"""Moodle's "Download all submissions" as a zip, with the worksheet that says who is who in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mograder.cli.files import read_bytes
from mograder.cli.moodle.sheets import worksheet_people
from mograder.clients.moodle.zips import Submitted, read_submissions
from mograder.core.clock import SystemClock
from mograder.core.errors import NotFound
from mograder.core.names import Username
from mograder.core.settings import LoadedSettings
from mograder.exchange.moodle.identities import Person
from mograder.exchange.moodle.submissions_zip import plan_zip, unpack_zip
from mograder.exchange.moodle.submitted_work import Target, Work

_MOST_BYTES = 2_000_000_000
"""The largest zip with all submissions, in bytes."""


@dataclass(frozen=True, slots=True)
class ZipOfSubmissions:
    """The files of a zip, the people of its worksheet, and those usernames that are known."""

    files: tuple[Submitted, ...]
    people: tuple[Person, ...]
    usernames: Mapping[int, Username]

    @classmethod
    def read(
        cls, archive: Path, worksheet: Path | None, loaded: LoadedSettings, *names: str
    ) -> ZipOfSubmissions:
        """Read a zip, and its worksheet: the one given, else ``import/NAME.csv``, if it exists.

        Raises:
            MograderError: One of them cannot be read.
        """
        files = read_submissions(read_bytes(archive, _MOST_BYTES))
        return cls(files, *worksheet_people(loaded, worksheet, *names))

    def plan(self, target: Target) -> tuple[Work, ...]:
        """Return where each person's files go.

        Raises:
            NotFound: There are none.
        """
        works = plan_zip(self.files, self.people, self.usernames, target)
        if not works:
            raise NotFound(
                "The zip holds no submissions.", hint="Is it the zip of this assignment?"
            )
        return works

    def unpack(self, target: Target) -> tuple[Work, ...]:
        """Put the files into their places, and return the outcome for each person.

        Raises:
            NotFound: There are none.
        """
        return unpack_zip(self.files, self.plan(target), target, SystemClock().now())
