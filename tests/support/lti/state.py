"""What the fake platform knows: people, courses, activities and grades, as recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
INSTRUCTOR = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
ASSISTANT = (
    "http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant",
    "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor",
)
_ADMINISTRATOR = (
    "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator",
    INSTRUCTOR,
    "http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator",
)


@dataclass(frozen=True, slots=True)
class Member:
    """A person of a course; ``roster_role`` is weaker than the launch's roles for some."""

    subject: str
    username: str
    given: str
    family: str
    email: str
    sourcedid: str = ""
    roles: tuple[str, ...] = (LEARNER,)
    roster_role: str = "Learner"
    groups: str = ""
    enrolled: bool = True
    active: bool = True

    @property
    def name(self) -> str:
        return f"{self.given} {self.family}"

    @property
    def gets_grades(self) -> bool:
        return self.enrolled and self.roles == (LEARNER,)


@dataclass(frozen=True, slots=True)
class Tool:
    """One registration of the hub at the platform, with its addresses at the hub."""

    client_id: str
    type_id: str
    hub: str
    names: bool = True
    services: bool = True
    custom: tuple[tuple[str, str], ...] = ()

    @property
    def deployment(self) -> str:
        """Moodle has one deployment for each registration, and gives both one number."""
        return self.type_id

    @property
    def login(self) -> str:
        return f"{self.hub}/lti/login"

    @property
    def target(self) -> str:
        return f"{self.hub}/lti/launch"

    @property
    def picking(self) -> str:
        return f"{self.hub}/lti/pick"

    @property
    def keys(self) -> str:
        return f"{self.hub}/lti/keys"


@dataclass(frozen=True, slots=True)
class Activity:
    """One link of a course; ``item`` is the parameter that deep linking or a teacher has set."""

    number: int
    title: str
    course: str = "4"
    client_id: str = "client-full"
    description: str = ""
    item: str = ""
    custom: tuple[tuple[str, str], ...] = ()
    """What its teacher has written into the parameters."""
    frame: bool = True

    @property
    def module(self) -> int:
        """Its number in the platform's own addresses."""
        return self.number + 24


@dataclass(slots=True)
class Grade:
    """One person's grade of a line item; ``given`` is empty until there is one."""

    given: float | None = None
    comment: str = ""
    seconds: int = 0
    overridden: bool = False


@dataclass(slots=True)
class LineItem:
    """A column of the gradebook. ``own``: it came with an activity, and not by the service."""

    number: int
    course: str
    type_id: str
    label: str
    maximum: float
    resource_id: str = ""
    tag: str = ""
    link: int | None = None
    own: bool = False
    locked: bool = False
    grades: dict[str, Grade] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """All of the platform. Tests change it as they like while they hold ``LtiPlatform.lock``."""

    people: dict[str, Member]
    tools: dict[str, Tool]
    activities: dict[int, Activity]
    line_items: dict[int, LineItem]
    courses: dict[str, tuple[str, str]]
    next_line_item: int = 34

    def person(self, username: str) -> Member:
        return next(each for each in self.people.values() if each.username == username)

    def change(self, username: str, **changed: object) -> None:
        person = self.person(username)
        self.people[person.subject] = replace(person, **changed)  # type: ignore[arg-type]

    def add_person(self, username: str, **more: object) -> Member:
        """Enrol one more student, with a new number."""
        subject = str(1 + max(int(each) for each in self.people))
        person = Member(subject, username, username.capitalize(), "Test", f"{username}@example.edu")
        self.people[subject] = replace(person, **more)  # type: ignore[arg-type]
        return self.people[subject]

    def add_activity(
        self,
        title: str,
        item: str = "",
        maximum: float | None = 100,
        resource: str = "",
        **more: object,
    ) -> Activity:
        """Add a link to course 4; with a maximum it has a line item of its own."""
        activity = Activity(1 + max(self.activities), title, item=item)
        activity = replace(activity, **more)  # type: ignore[arg-type]
        self.activities[activity.number] = activity
        if maximum is not None:
            tool = self.tools[activity.client_id]
            made = self.add_line_item(activity.course, tool.type_id, title, maximum)
            made.link, made.own, made.resource_id = activity.number, True, resource
        return activity

    def add_line_item(self, course: str, type_id: str, label: str, maximum: float) -> LineItem:
        """Add a column that belongs to no activity."""
        made = LineItem(self.next_line_item, course, type_id, label, maximum)
        self.line_items[made.number] = made
        self.next_line_item += 1
        return made

    def line_item_of(self, activity: Activity) -> LineItem | None:
        """Return the line item that a launch of the activity names: only of one alone."""
        found = [each for each in self.line_items.values() if each.link == activity.number]
        return found[0] if len(found) == 1 else None


_PEOPLE = (
    Member("18", "frank@uni.example", "Frank", "At-Sign", "frank.other@example.edu", "ID17102"),
    Member("17", "erik", "Erik", "Leaver", "erik@example.edu", "ID4101"),
    Member("15", "carol", "Carol & Co", "M", "carol@example.edu", "ID599", groups="4"),
    Member("14", "bob", "Bob", "O'Neil", "bob@example.edu", "ID398"),
    Member(
        *("11", "teach1", "Theresa", "Teacher", "teach1@example.edu", "ID6116"),
        roles=(INSTRUCTOR,),
        roster_role="Instructor",
    ),
    Member(
        *("12", "tutor", "Tom", "Tutor", "tutor@example.edu", "ID5116"),
        roles=(INSTRUCTOR,),
        groups="4",
    ),
    Member("13", "alice", "Alice", "Ångström", "alice@example.edu", "ID597", groups="3"),
    Member("16", "dora", "Дора", "Иванова", "dora@example.edu", "ID4100", groups="4"),
    Member(
        *("2", "admin", "Admin", "User", "admin@example.edu"),
        roles=_ADMINISTRATOR,
        enrolled=False,
    ),
)


def recorded_state(hub: str) -> State:
    """Return the platform as it was when it was recorded, with the hub at an address."""
    tools = (
        Tool("client-full", "1", hub),
        Tool("client-private", "2", hub, names=False),
        Tool("client-noservices", "3", hub, services=False),
    )
    activities = (
        Activity(1, "L1 frame", description="Test lti 1", item="A1-Introduction"),
        Activity(2, "L2 window", description="Test lti 2", frame=False),
        Activity(3, "L3 private", client_id="client-private", description="Test lti 3"),
        Activity(4, "L4 noservices", client_id="client-noservices", description="Test lti 4"),
        Activity(5, "L5 other course", course="5", description="Test lti 5"),
        Activity(6, "L6 own url", description="Test lti 6", item="A2"),
    )
    types = {1: "1", 2: "1", 3: "2", 4: "3", 5: "1", 6: "1"}
    items = [
        LineItem(
            27 + each.number,
            each.course,
            types[each.number],
            each.title,
            100,
            link=each.number,
            own=True,
        )
        for each in activities
    ]
    return State(
        {each.subject: each for each in _PEOPLE},
        {each.client_id: each for each in tools},
        {each.number: each for each in activities},
        {each.number: each for each in items},
        {"4": ("NUM", "Numerics & Co"), "5": ("OTH", "Other course")},
    )
