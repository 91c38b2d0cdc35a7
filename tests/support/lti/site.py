"""The course and its activities at the fake platform, as a person's browser sees them."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

from tests.support.lti import pages
from tests.support.lti.exchange import Asked, Reply, error_page
from tests.support.lti.state import Activity

if TYPE_CHECKING:
    from tests.support.lti_platform import LtiPlatform


def signed_in(asked: Asked) -> str:
    """Return the subject of the person whose browser asks, or nothing."""
    cookie = SimpleCookie(asked.headers.get("cookie", "")).get("MoodleSession")
    return cookie.value if cookie else ""


class Site:
    """The pages of a platform. ``/login?as=NAME`` signs a browser in."""

    def __init__(self, platform: LtiPlatform) -> None:
        self._platform = platform

    def answer(self, asked: Asked) -> Reply:
        handlers = {
            "/mod/lti/launch.php": self._launch_page,
            "/mod/lti/contentitem.php": self._picking_page,
            "/mod/lti/view.php": self._activity_page,
            "/course/modedit.php": self._editing_page,
            "/course/view.php": self._course_page,
            "/admin/register": self._administrator_page,
            "/login": self._login,
        }
        handler = handlers.get(asked.path)
        return handler(asked) if handler else error_page()

    def _login(self, asked: Asked) -> Reply:
        subject = self._platform.state.person(asked.query["as"]).subject
        headers = {
            "Location": "/course/view.php?id=4",
            "Set-Cookie": f"MoodleSession={subject}; Path=/; HttpOnly; SameSite=None; Secure",
        }
        return Reply(303, reason="See Other", headers=headers)

    def _course_page(self, asked: Asked) -> Reply:
        course = asked.query.get("id", "4")
        links = "".join(
            pages.link(
                f"/mod/lti/{'view' if each.frame else 'launch'}.php?id={each.module}",
                each.title,
                "" if each.frame else 'target="_blank"',
            )
            for each in self._platform.state.activities.values()
            if each.course == course
        )
        return pages.page(self._platform.state.courses[course][1], f"<ul>{links}</ul>")

    def _activity_page(self, asked: Asked) -> Reply:
        activity = self._platform.state.activities[int(asked.query["id"]) - 24]
        return pages.frame(activity.title, f"/mod/lti/launch.php?id={activity.module}")

    def _launch_page(self, asked: Asked) -> Reply:
        activity = self._platform.state.activities[int(asked.query["id"]) - 24]
        return self._sent_to_the_hub(asked, activity)

    def _picking_page(self, asked: Asked) -> Reply:
        return self._sent_to_the_hub(asked, None)

    def _sent_to_the_hub(self, asked: Asked, activity: Activity | None) -> Reply:
        subject = signed_in(asked)
        if not subject:
            return pages.page("Sign in first", "")
        form = self._platform.initiation(self._platform.state.people[subject].username, activity)
        return pages.posting_form(self._platform.state.tools[form["client_id"]].login, form)

    def _editing_page(self, asked: Asked) -> Reply:
        course = asked.query.get("course", "4")
        return pages.frame("New activity", f"/mod/lti/contentitem.php?id=1&course={course}")

    def _administrator_page(self, asked: Asked) -> Reply:
        address = self._platform.registration_address(asked.query["page"])
        return pages.frame("Add a tool", address, pages.REGISTERING)
