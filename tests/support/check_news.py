"""What a supervisor tells of its sessions' checks."""

from __future__ import annotations

from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.protocol import Checked, News


class Heard:
    """The reports that a client hears, by session."""

    def __init__(self, client: SupervisorClient) -> None:
        self.messages: list[Checked] = []
        client.watch(lambda _: None, lambda: None, self._hear)

    def _hear(self, news: News) -> None:
        if isinstance(news, Checked):
            self.messages.append(news)

    def lines(self, name: str) -> list[str]:
        """The lines of one session, in order."""
        found = [each for news in self.messages for each in news.sessions]
        return [
            line for each in found if each.session_id == f"session-{name}" for line in each.reports
        ]
