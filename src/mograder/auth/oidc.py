"""OpenID Connect: requests to a provider, and the checks of what it answers. Pure functions.

The flow is that of an authorization code with PKCE. What a browser brings is believed only after
the provider's own answer to our request: the signed id_token, and its userinfo.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlencode, urlsplit

from mograder.auth.external_signin import Refusal, SignInState, display_line
from mograder.auth.jose import InvalidToken, check_times, is_for, text_claim
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.web_origin import origin_of

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
"""The algorithms of signatures that are accepted, of those that the provider names."""

LOGOUT_OLDEST = 120
"""Seconds after which a logout token is refused."""

_LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
_LONGEST_URL = 1000
_LONGEST_DISPLAY = 200

ClientAuth = Literal["client_secret_basic", "client_secret_post", "none"]


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's own description (discovery); addresses that it does not have are empty."""

    issuer: str
    authorization_url: str
    token_url: str
    keys_url: str
    userinfo_url: str
    end_session_url: str
    algorithms: frozenset[str]
    client_auths: frozenset[str]
    names_itself: bool
    """Whether it names itself in the addresses that it sends browsers back to."""

    @classmethod
    def parse(cls, document: object, issuer: str) -> Provider:
        """Raise RemoteFailed for a document that is not this issuer's, or lacks an address."""
        if not isinstance(document, dict) or document.get("issuer") != issuer:
            raise RemoteFailed(
                f"The description of the provider is not one of {issuer}.",
                hint="[oidc] issuer must be written as the provider writes it.",
            )
        algorithms = _texts(document, "id_token_signing_alg_values_supported") or {"RS256"}
        return cls(
            issuer,
            _address(document, "authorization_endpoint", needed=True),
            _address(document, "token_endpoint", needed=True),
            _address(document, "jwks_uri", needed=True),
            _address(document, "userinfo_endpoint"),
            _address(document, "end_session_endpoint"),
            frozenset(algorithms & set(ALGORITHMS)),
            frozenset(
                _texts(document, "token_endpoint_auth_methods_supported") or {"client_secret_basic"}
            ),
            document.get("authorization_response_iss_parameter_supported") is True,
        )

    @property
    def origins(self) -> frozenset[str]:
        """The origins that requests of ours may go to."""
        asked = (self.issuer, self.token_url, self.keys_url, self.userinfo_url)
        return frozenset(origin_of(each) for each in asked if each)

    def client_auth(self, secret: str) -> ClientAuth:
        """Return how this hub proves itself; raises RemoteFailed if no way is known here."""
        if not secret:
            return "none"
        if "client_secret_basic" in self.client_auths:
            return "client_secret_basic"
        if "client_secret_post" in self.client_auths:
            return "client_secret_post"
        raise RemoteFailed(
            "The provider does not take a client's secret.",
            hint="Set this client's authentication at the provider to client_secret_basic.",
        )


@dataclass(frozen=True, slots=True)
class Logout:
    """What a logout token ends: a session, all of a subject, or both combined; "" for none."""

    sid: str
    subject: str
    token_id: str


def authorization_url(
    provider: Provider, begun: SignInState, scopes: tuple[str, ...], redirect_uri: str
) -> str:
    query = {
        "response_type": "code",
        "client_id": begun.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(scopes),
        "state": begun.state,
        "nonce": begun.nonce,
        "code_challenge": challenge(begun.verifier),
        "code_challenge_method": "S256",
    }
    return _with_query(provider.authorization_url, query)


def end_session_url(provider: Provider, client_id: str, return_to: str) -> str:
    """Return where a person can sign out at the provider, "" if it has no such page."""
    if not provider.end_session_url:
        return ""
    query = {"client_id": client_id, "post_logout_redirect_uri": return_to}
    return _with_query(provider.end_session_url, query)


def challenge(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier (RFC 7636)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def check_id_token(claims: Mapping[str, object], begun: SignInState, now: datetime) -> str:
    """Return the subject of an id_token whose signature was verified; raises InvalidToken."""
    _check_parties(claims, begun.issuer, begun.client_id)
    check_times(claims, now)
    if claims.get("nonce") != begun.nonce:
        raise InvalidToken("The token belongs to another sign-in.")
    return text_claim(claims, "sub")


def check_logout_token(
    claims: Mapping[str, object], issuer: str, client_id: str, now: datetime
) -> Logout:
    """Return what a verified logout token ends; it never signs anybody in. Raises InvalidToken."""
    _check_parties(claims, issuer, client_id)
    # Older providers send no "exp", which the standard has demanded since the end of 2023.
    check_times({"exp": now.timestamp(), **claims}, now, oldest=LOGOUT_OLDEST)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_LOGOUT), dict):
        raise InvalidToken("The token is no logout token.")
    if "nonce" in claims:
        raise InvalidToken("A logout token has no nonce.")
    sid = text_claim(claims, "sid") if "sid" in claims else ""
    subject = text_claim(claims, "sub") if "sub" in claims else ""
    if not sid and not subject:
        raise InvalidToken("The logout token names neither a session nor a subject.")
    return Logout(sid, subject, text_claim(claims, "jti"))


def with_userinfo(
    claims: Mapping[str, object], userinfo: Mapping[str, object]
) -> Mapping[str, object]:
    """Add the claims that only userinfo has; raises InvalidToken if it is of another subject."""
    if not userinfo.get("sub") or userinfo.get("sub") != claims.get("sub"):
        raise InvalidToken("The provider answers about another person.")
    return {**userinfo, **claims}


def missing_claim(claims: Mapping[str, object], require: Mapping[str, str]) -> str:
    """Return the name of a required claim that a person does not have, "" if they have all.

    A claim is the text that is required, or a list that holds it.
    """
    for name, wanted in require.items():
        value = claims.get(name)
        if not (wanted in value if isinstance(value, list) else value == wanted):
            return name
    return ""


def user_name(claims: Mapping[str, object], claim: str, strip_domain: str) -> str | Refusal:
    """Return the user name in a claim without its domain, "" if there is none.

    A name whose domain is not the one that is cut off would be that of a stranger. Providers keep
    the case in which an administrator typed a domain, which has none.
    """
    value = claims.get(claim)
    if isinstance(value, list) and len(value) == 1:  # LDAP's attributes are lists
        value = value[0]
    if not isinstance(value, str) or not value:
        return ""
    if not strip_domain:
        return value
    name, at, domain = value.rpartition("@")
    own = domain.lower() == strip_domain.removeprefix("@").lower()
    return name if at and own else Refusal.OTHER_DOMAIN


def display_name(claims: Mapping[str, object]) -> str:
    return display_line(claims.get("name"), _LONGEST_DISPLAY)


def session_id(claims: Mapping[str, object]) -> str:
    """Return the provider's id of its own login, or ""."""
    return text_claim(claims, "sid") if claims.get("sid") else ""


def _check_parties(claims: Mapping[str, object], issuer: str, client_id: str) -> None:
    if claims.get("iss") != issuer:
        raise InvalidToken("The token is of another issuer.")
    if not is_for(claims, client_id):
        raise InvalidToken("The token is for another program.")


def _address(document: Mapping[str, object], name: str, *, needed: bool = False) -> str:
    value = document.get(name)
    if value is None and not needed:
        return ""
    try:
        if not isinstance(value, str) or len(value) > _LONGEST_URL:
            raise InvalidInput("no address")
        origin_of(value)
    except InvalidInput:
        raise RemoteFailed(f"The provider's description has no usable {name}.") from None
    return value


def _texts(document: Mapping[str, object], name: str) -> set[str]:
    value = document.get(name)
    return {each for each in value if isinstance(each, str)} if isinstance(value, list) else set()


def _with_query(url: str, query: Mapping[str, str]) -> str:
    separator = "&" if urlsplit(url).query else "?"
    return f"{url}{separator}{urlencode(query)}"
