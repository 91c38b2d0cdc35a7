"""Signed tokens (JSON Web Signatures): key sets, checks of signature and times, own keys.

The only importer of joserfc, which has no opinion on the times of a token, and takes a token
without a key id where a set holds one key: the functions below do. Keys come from the key set that
the caller gives, never from a token. No message holds a part of a token, since messages are logged.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from joserfc import jwe, jwk, jws
from joserfc.errors import JoseError

from mograder.auth.signing import derived_key, read_record
from mograder.core.errors import InvalidInput

SKEW = 60
"""Seconds by which another machine's clock may differ from ours."""

OLDEST = 600
"""Seconds after which a token is refused, whatever time it says that it ends."""

_LONGEST_TOKEN = 65_536
_LONGEST_HEADER = 4096
_MOST_KEYS = 64
_RSA_BYTES = 256
_PURPOSE = "lti-keys"
_SIGNS = "RS256"
_SEAL = {"alg": "dir", "enc": "A256GCM"}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "priv"})
_TYPES: Mapping[str, tuple[str, str]] = {
    "RS256": ("RSA", ""),
    "PS256": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
}
"""The type and the curve of an algorithm's keys, for each algorithm that can be allowed."""


class InvalidToken(InvalidInput):
    """A token that is not valid."""


class UnknownKey(InvalidToken):
    """A token of a key that the key set does not hold, as far as it tells: perhaps a newer one."""


@dataclass(frozen=True, slots=True)
class _PublicKey:
    kid: str
    kind: str
    curve: str
    algorithm: str
    key: jwk.Key

    def fits(self, algorithm: str) -> bool:
        kind, curve = _TYPES[algorithm]
        return self.kind == kind and curve in {"", self.curve} and self.algorithm in {"", algorithm}


@dataclass(frozen=True, slots=True)
class KeySet:
    keys: tuple[_PublicKey, ...]

    @classmethod
    def parse(cls, document: object) -> KeySet:
        """Return the keys for signatures in a parsed JWKS document; keys of other kinds are left.

        Raises: InvalidToken for another document, for a key id that is there twice, more than 64
            keys, and keys that are not public.
        """
        listed = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(listed, list):
            raise InvalidToken("The key set has no list of keys.")
        if len(listed) > _MOST_KEYS:
            raise InvalidToken(f"The key set has more than {_MOST_KEYS} keys.")
        found = tuple(key for each in listed if (key := _public_key(each)) is not None)
        named = [key.kid for key in found if key.kid]
        if len(set(named)) != len(named):
            raise InvalidToken("The key set has two keys with one id.")
        return cls(found)

    def _find(self, kid: str, algorithm: str) -> jwk.Key:
        """Return the key of this id; without an id, the only key that fits the algorithm."""
        named = [key for key in self.keys if not kid or key.kid == kid]
        if kid and not named:
            raise UnknownKey("The token is signed with a key that its issuer does not publish.")
        fitting = [key for key in named if key.fits(algorithm)]
        if len(fitting) != 1:
            raise InvalidToken("The token does not say which of its issuer's keys signed it.")
        return fitting[0].key


def verify(
    token: str,
    keys: KeySet,
    *,
    algorithms: Collection[str],
    types: Collection[str] = ("", "JWT"),
    kid_required: bool = True,
) -> dict[str, object]:
    """Return the claims of a token with a valid signature; the caller checks claims and times.

    ``types`` are the values of the header's ``typ`` that are accepted, without regard to case;
    "" stands for none.

    Raises: UnknownKey if the set does not hold the token's key, InvalidToken for every other fault.
    """
    signed, claims = _read(token)
    header = signed.headers()
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in algorithms or algorithm not in _TYPES:
        raise InvalidToken("The token is not signed with an accepted algorithm.")
    if not isinstance(kid, str) or (kid_required and not kid):
        raise InvalidToken("The token does not name the key that signed it.")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in {each.lower() for each in types}:
        raise InvalidToken("The token is of another kind.")
    if "crit" in header or "b64" in header:
        raise InvalidToken("The token demands an extension that is not known.")
    key = keys._find(kid, algorithm)
    try:
        valid = jws.validate_compact(signed, key, registry=_registry(algorithm))
    except (JoseError, ValueError, TypeError):
        valid = False
    if not valid:
        raise (InvalidToken if kid else UnknownKey)("The token's signature is not valid.")
    return claims


def check_times(claims: Mapping[str, object], now: datetime, *, oldest: int = OLDEST) -> None:
    """Raise InvalidToken for one that has ended, or is too new or old (``oldest``: in seconds)."""
    moment = now.timestamp()
    issued, ends = _moment(claims, "iat"), _moment(claims, "exp")
    if ends + SKEW <= moment:
        raise InvalidToken("The token has expired.", hint="Begin again.")
    if issued - SKEW > moment or ("nbf" in claims and _moment(claims, "nbf") - SKEW > moment):
        raise InvalidToken(
            "The token is from the future.", hint="Compare the clocks of the two servers."
        )
    if issued + oldest + SKEW <= moment:
        raise InvalidToken("The token was issued too long ago.", hint="Begin again.")


def is_for(claims: Mapping[str, object], client_id: str) -> bool:
    """Return whether a token was made for a client: for it alone, or with it as the party."""
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    alone = "azp" not in claims and len(named) == 1
    return client_id in named and (alone or claims.get("azp") == client_id)


def text_claim(claims: Mapping[str, object], name: str, longest: int = 255) -> str:
    """Return a claim of 1 to ``longest`` printable characters; raises InvalidToken."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidToken(f"The token has no text as its {name}.")
    if len(value) > longest or not value.isprintable():
        raise InvalidToken(f"The token's {name} is too long, or has control characters.")
    return value


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key of our own for signatures (RSA, 2048 bits)."""

    _key: jwk.RSAKey

    @classmethod
    def new(cls) -> PrivateKey:
        """Return a new key; this takes some tenths of a second of processor time."""
        key = jwk.RSAKey.generate_key(_RSA_BYTES * 8, {"use": "sig", "alg": _SIGNS}, auto_kid=True)
        return cls(key)

    @classmethod
    def unsealed(cls, text: str, secret: str) -> PrivateKey:
        """Raise InvalidInput if the text was damaged, or the secret is another one."""
        return cls(_unsealed_key(text, secret))

    @property
    def kid(self) -> str:
        """The key's id, its thumbprint (RFC 7638)."""
        return str(self._key.kid)

    def public(self) -> dict[str, object]:
        """Return the public key as a member of a JWKS document."""
        return dict(self._key.as_dict(private=False))

    def sign(self, claims: Mapping[str, object], typ: str = "JWT") -> str:
        header = {"typ": typ, "alg": _SIGNS, "kid": self.kid}
        payload = json.dumps(claims, separators=(",", ":"), allow_nan=False)
        return jws.serialize_compact(header, payload, self._key, registry=_registry(_SIGNS))

    def sealed(self, secret: str) -> str:
        """Return the private key, encrypted with a key derived from the hub's secret."""
        return seal(json.dumps(self._key.as_dict(private=True)).encode(), secret, _PURPOSE)


@lru_cache(maxsize=8)  # reading a key checks its primes, which takes some ten milliseconds
def _unsealed_key(text: str, secret: str) -> jwk.RSAKey:
    try:
        return jwk.RSAKey.import_key(read_record(unseal(text, secret, _PURPOSE)))
    except (JoseError, ValueError, TypeError):
        raise _undecryptable() from None


def seal(content: bytes, secret: str, purpose: str) -> str:
    """Return content encrypted with a key derived from the hub's secret for this purpose."""
    return jwe.encrypt_compact(_SEAL, content, _sealing_key(secret, purpose))


def unseal(text: str, secret: str, purpose: str) -> bytes:
    """Undo :func:`seal`; raises InvalidInput if the text was damaged or the secret is another."""
    try:
        opened = jwe.decrypt_compact(
            text, _sealing_key(secret, purpose), algorithms=list(_SEAL.values())
        )
    except (JoseError, ValueError, TypeError):
        raise _undecryptable() from None
    return opened.plaintext or b""


def _undecryptable() -> InvalidInput:
    return InvalidInput(
        "A stored key cannot be decrypted.",
        hint="Was the hub's secret changed? Then make a new key.",
    )


class _Registry(jws.JWSRegistry):
    """Registry without joserfc's warning of the name EdDSA, which providers still use."""

    max_header_length = _LONGEST_HEADER

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


def _registry(algorithm: str) -> jws.JWSRegistry:
    return _Registry(algorithms=[algorithm], strict_check_header=False)


def _sealing_key(secret: str, purpose: str) -> jwk.OctKey:
    return jwk.OctKey.import_key(derived_key(secret, purpose))


def _public_key(entry: object) -> _PublicKey | None:
    """Return one key of a key set, None for a key of another use or kind, or one that is weak."""
    if not isinstance(entry, dict):
        raise InvalidToken("The key set has an entry that is no key.")
    kind, kid = entry.get("kty"), entry.get("kid", "")
    if kind == "oct" or _PRIVATE & entry.keys():
        raise InvalidToken("The key set has a key that is not public.")
    if not isinstance(kid, str):
        raise InvalidToken("The key set has a key whose id is no text.")
    named, curve = entry.get("alg", ""), entry.get("crv", "")
    if not isinstance(kind, str) or not isinstance(named, str) or not isinstance(curve, str):
        return None
    if (kind, "" if kind == "RSA" else curve) not in _TYPES.values():
        return None
    if entry.get("use", "sig") != "sig" or (kind == "RSA" and not _is_strong(entry.get("n"))):
        return None
    # Only the members that are needed: joserfc also checks others, such as certificates.
    bare = {name: entry[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in entry}
    try:
        return _PublicKey(kid, kind, curve, named, jwk.import_key(bare))
    except (JoseError, ValueError, TypeError, KeyError):
        raise InvalidToken("The key set has a key that cannot be read.") from None


def _is_strong(modulus: object) -> bool:
    """Return whether a modulus has 2048 bits or more, by the length of its base64."""
    return isinstance(modulus, str) and len(modulus.lstrip("A")) * 6 >= _RSA_BYTES * 8


def _read(token: str) -> tuple[jws.CompactSignature, dict[str, object]]:
    """Return a token's parts, unverified; what is checked later is verified from the same parts."""
    if len(token) > _LONGEST_TOKEN:
        raise InvalidToken(f"The token is longer than {_LONGEST_TOKEN // 1024} KB.")
    if token.count(".") != 2 or not token.isascii():
        raise InvalidToken("This is no signed token.")
    try:
        found = jws.extract_compact(token.encode(), registry=_registry(_SIGNS))
        claims = read_record(found.payload)
    except (JoseError, ValueError, TypeError, RecursionError):
        raise InvalidToken("The token cannot be read.") from None
    if not isinstance(found.headers(), dict):
        raise InvalidToken("The token cannot be read.")
    return found, claims


def _moment(claims: Mapping[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidToken(f"The token has no time as its {name}.")
    return value
