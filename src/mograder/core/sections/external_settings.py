"""The sections of ``mograder.toml`` about other systems: ``[oidc]``, ``[lti]`` and ``[mail]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mograder.core.sections.settings_values import Present, Section, issuer_address, listed


class OidcSettings(Section):
    """``[oidc]``: signing in by an OpenID Connect provider. It needs `[hub] public_url`."""

    issuer: Annotated[str, AfterValidator(issuer_address)] = ""
    """The provider's address, compared exactly. Empty: no sign-in by a provider."""
    client_id: str = ""
    """The hub's name at the provider."""
    client_secret_file: str = ""
    """The file that holds the client's secret; `MOGRADER_OIDC_SECRET` counts before it. Neither: a
    public client, with PKCE alone."""
    name: str = "single sign-on"
    """The provider's name on the sign-in page: "Sign in with …"."""
    scopes: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ("openid", "profile")
    """The scopes that are asked for, "openid" among them."""
    username_claim: Present = "preferred_username"
    """The claim with the user's name, such as "eduperson_principal_name" or "uid"."""
    strip_domain: str = ""
    """The domain that is cut off names such as "alice@example.edu"; names with any other domain are
    refused. Empty: names stay as they are."""
    require: Mapping[str, str] = Field(default_factory=dict)
    """Claims that a user must have, such as { groups = "numerics" }: the claim is that text, or a
    list that holds it."""
    private_network: bool = False
    """Whether the provider may have a private address."""


LtiScores = Literal["off", "released"]
LtiRoster = Literal["off", "show", "allow"]
LtiTeachers = Literal["named", "all"]


def _teachers(value: object) -> object:
    """Take true, which was written before non-editing teachers were known to count, for less."""
    return "named" if isinstance(value, bool) else value


class LtiPlatform(Section):
    """One ``[[lti.platform]]`` table: a learning platform that starts this hub by LTI 1.3."""

    issuer: Annotated[Present, AfterValidator(issuer_address)]
    """The platform's address, compared exactly."""
    client_id: Present
    """The hub's name at the platform."""
    deployments: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ()
    """The deployment ids that are accepted."""
    courses: Annotated[tuple[Present, ...], BeforeValidator(listed)] = ()
    """The ids of the platform's courses that belong to this hub; others are refused."""
    auth_url: str = ""
    """Empty: Moodle's, below the issuer."""
    token_url: str = ""
    """Empty: Moodle's, below the issuer."""
    jwks_url: str = ""
    """Empty: Moodle's, below the issuer."""
    username: Literal[
        "ext.user_username", "identities", "lis.person_sourcedid", "custom.username", "email"
    ] = "ext.user_username"
    """The claim with the user's name; "identities" takes it from the accounts that this hub knows
    for the platform's user ids."""
    names: Literal["own", "same"] = "own"
    """"same": a name of the platform is the same person's name on this hub. "own": a name that this
    hub knows from elsewhere is refused."""
    teachers: Annotated[LtiTeachers, BeforeValidator(_teachers)] = "named"
    """"all": whom it calls an instructor of the course is an instructor of this hub, in Moodle its
    non-editing teachers, too. "named": only who is in `[hub] instructors`, as by every sign-in;
    true and false, as in earlier versions, mean the same."""
    assistants: bool = False
    """Whether its teaching assistants of the course are markers of this hub. Moodle never sends
    that role."""
    roster: LtiRoster = "off"
    """"show": the platform's members are shown; "allow": only they may enter, besides staff."""
    scores: LtiScores = "off"
    """"released": released marks are sent to the platform."""
    private_network: bool = False
    """Whether the platform may have a private address."""

    @property
    def key(self) -> tuple[str, str]:
        """The issuer and the client id, which name a platform."""
        return self.issuer, self.client_id


class LtiSettings(Section):
    """``[lti]``: learning platforms. They need `[hub] public_url`."""

    platform: Annotated[tuple[LtiPlatform, ...], BeforeValidator(listed)] = ()
    """The platforms, besides those that `mograder hub lti register` has stored."""


MailSecurity = Literal["starttls", "tls", "none"]
MailEvent = Literal["handed-in", "released", "decided", "updated", "due", "digest"]


class MailSettings(Section):
    """``[mail]``: letters by e-mail to students and instructors. It needs `[hub] public_url`."""

    host: str = ""
    """The mail server (SMTP). Empty: no letters."""
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: MailSecurity = "starttls"
    """How the connection is encrypted; "none" only without a password, or to this machine."""
    user: str = ""
    """The name for signing in to the server; the password is in `MOGRADER_MAIL_PASSWORD` or in
    `password_file`. Empty: no sign-in."""
    password_file: str = ""
    """The file that holds the password; `MOGRADER_MAIL_PASSWORD` counts before it."""
    sender: str = ""
    """The address that letters come from."""
    events: Annotated[tuple[MailEvent, ...], BeforeValidator(listed)] = ()
    """The events that people get a letter about: "handed-in" (a confirmation), "released" (marks),
    "decided" (a request about a mark), "updated" (an update of a notebook is offered), "due"
    (tomorrow, and not handed in), "digest" (to instructors, each day at `digest_hour`)."""
    domain: str = ""
    """The domain of people whose address is not known: "alice" becomes alice@domain. Empty: only
    those get letters whose name is an address, or whose address Moodle has told."""
    digest_hour: Annotated[int, Field(ge=0, le=23)] = 7
    """The hour of the instructors' digest, in the course's time zone."""
