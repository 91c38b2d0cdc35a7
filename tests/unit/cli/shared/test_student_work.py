"""What students are told of their work: without a server's terminal control sequences."""

from __future__ import annotations

from mograder.cli.shared.student_work import StudentWork
from mograder.clients.assignment_server.client import HttpsTransport
from mograder.clients.course_server import RemoteAssignment, WorkState, WorkStatus

CLEARS_THE_SCREEN = "Well\x1b[2J done\nand \x07more\x9b31m"


class Server(HttpsTransport):
    """A server that knows one piece of work."""

    def work_status(self, assignment: RemoteAssignment) -> WorkStatus:
        return WorkStatus(
            WorkState.SUBMITTED,
            graded=True,
            grade=CLEARS_THE_SCREEN,
            feedback=CLEARS_THE_SCREEN,
            can_submit=False,
            why_not=CLEARS_THE_SCREEN,
        )


def test_a_servers_words_move_no_cursor() -> None:
    found = RemoteAssignment(key="1", name=CLEARS_THE_SCREEN)
    with Server("http://127.0.0.1:1", "") as server:
        work = StudentWork(server, lambda _: found, lambda _: None, server.url)
        text = "\n".join(work.feedback("1", None).lines)
    assert text.count("Well") >= 3
    assert "more" in text
    assert all(each.isprintable() or each == "\n" for each in text)
