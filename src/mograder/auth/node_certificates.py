"""The certificates of hubs and nodes: their authority, requests, and the contents of a certificate.

The only importer of ``cryptography``. A course has one authority of its own, whose key is sealed
with the hub's secret; no certificate of another authority is accepted, and the authority signs for
no other purpose. A node's certificate cannot be used as a hub's. That a certificate was signed is
not enough for a node: its key must also be the one in the hub's list of nodes, which holds the
fingerprint of each node's key, the SHA-256 of the public key in hexadecimal digits. A node keeps
its key when its certificate is renewed, so its fingerprint stays; it gets another key by joining
again.

All keys are of the curve P-256, since each connection has its own handshake.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mograder.auth.jose import seal, unseal
from mograder.core.errors import InvalidInput

HUB_NAME = "hub.mograder.internal"
"""The name in the certificates of hubs, which nodes expect at whatever address a hub has."""

NODE_LIFE = timedelta(days=30)
"""How long a node's or a hub's certificate is valid."""

RENEWAL_LIFE = timedelta(days=20)
"""A certificate that is valid for less than this is renewed."""

_AUTHORITY_LIFE = timedelta(days=20 * 365)
_SKEW = timedelta(hours=1)
"""By how much a node's clock may be behind the hub's."""
_PURPOSE = "node-authority"
_LONGEST_REQUEST = 4096
_NAME_CHARACTERS = 64
_BROKEN = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True, slots=True)
class KeyAndCertificate:
    """A private key and its certificate (a hub's with the authority's after it), both PEM."""

    key: bytes
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of one course, which signs the certificates of its hubs and nodes."""

    _key: ec.EllipticCurvePrivateKey
    _certificate: x509.Certificate

    @classmethod
    def new(cls, now: datetime) -> Authority:
        """Return an authority with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("mograder nodes")
        builder = _builder(name, name, key.public_key(), key.public_key(), now, _AUTHORITY_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(_usage(signs_certificates=True), True)
        return cls(key, builder.sign(key, SHA256()))

    @classmethod
    def unsealed(cls, certificate: bytes, key: str, secret: str) -> Authority:
        """Return the authority with this certificate (PEM) and this key (of :meth:`sealed_key`).

        Raises: InvalidInput if they were damaged or do not match, or the secret is another one.
        """
        found = parsed(certificate)
        private = _private(unseal(key, secret, _PURPOSE))
        if private.public_key() != found.public_key():
            raise InvalidInput("The key of the nodes' authority is not that of its certificate.")
        return cls(private, found)

    def sealed_key(self, secret: str) -> str:
        """Return the private key, encrypted with a key derived from the hub's secret."""
        return seal(_private_pem(self._key), secret, _PURPOSE)

    @property
    def certificate(self) -> bytes:
        """The authority's own certificate (PEM), which is not secret."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its key, by which a node that joins recognizes :attr:`certificate`."""
        return _fingerprint(self._key.public_key())

    def hub_certificate(self, now: datetime) -> KeyAndCertificate:
        """Return a new key for a hub and its certificate, for the name :data:`HUB_NAME`."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._sign(HUB_NAME, key.public_key(), ExtendedKeyUsageOID.SERVER_AUTH, now)
        return KeyAndCertificate(_private_pem(key), signed + self.certificate)

    def node_certificate(self, request: bytes, name: str, now: datetime) -> bytes:
        """Return the certificate (PEM) of a node for the key in its request (PEM).

        Only the key is taken from the request, not the name that it asks for.

        Raises: InvalidInput for a request that is damaged, over 4 KiB, not signed with its own key,
            or for a key of another kind, and for a name of more than 64 characters.
        """
        if len(name) > _NAME_CHARACTERS:
            raise InvalidInput(f"The name of a node has at most {_NAME_CHARACTERS} characters.")
        key = _requested_key(request)
        return self._sign(name, key, ExtendedKeyUsageOID.CLIENT_AUTH, now)

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePublicKey,
        purpose: x509.ObjectIdentifier,
        now: datetime,
    ) -> bytes:
        own = self._key.public_key()
        builder = _builder(_name(name), self._certificate.subject, key, own, now, NODE_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        builder = builder.add_extension(_usage(signs_certificates=False), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), True)
        if purpose == ExtendedKeyUsageOID.SERVER_AUTH:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name)]), False
            )
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The contents of a certificate: its name, the fingerprint of its key, its end in UTC."""

    name: str
    fingerprint: str
    ends: datetime


def new_key() -> bytes:
    """Return a new private key of a node (PEM)."""
    return _private_pem(ec.generate_private_key(ec.SECP256R1()))


def new_request(key: bytes) -> bytes:
    """Return a request for a certificate (PEM) for a private key (PEM).

    It holds no name: the hub gives the name.

    Raises: InvalidInput if this is no such key.
    """
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(_private(key), SHA256()).public_bytes(Encoding.PEM)


def key_fingerprint(key: bytes) -> str:
    """Return the fingerprint of a private key (PEM). Raises: InvalidInput if this is none."""
    return _fingerprint(_private(key).public_key())


def request_fingerprint(request: bytes) -> str:
    """Return the fingerprint of the key in a request (PEM).

    Raises: InvalidInput as :meth:`Authority.node_certificate`.
    """
    return _fingerprint(_requested_key(request))


@functools.lru_cache(256)  # a node shows the same one for each of its connections
def facts(certificate: bytes) -> CertificateFacts:
    """Return the contents of a certificate (PEM, or DER as TLS gives it).

    Raises: InvalidInput if this is no certificate of a hub, a node or their authority.
    """
    found = parsed(certificate)
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    key = found.public_key()
    if len(names) != 1 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise InvalidInput("This is not a certificate of a hub or a node.")
    return CertificateFacts(str(names[0].value), _fingerprint(key), found.not_valid_after_utc)


def parsed(certificate: bytes) -> x509.Certificate:
    """Return a certificate (PEM or DER; the first of several). Raises: InvalidInput."""
    try:
        if certificate.startswith(b"-----"):
            return x509.load_pem_x509_certificate(certificate)
        return x509.load_der_x509_certificate(certificate)
    except _BROKEN:
        raise InvalidInput("This is not a certificate.") from None


def only_first(certificates: bytes) -> bytes:
    """Return the first certificate of a text (PEM) without all that follows it.

    Raises: InvalidInput if there is none.
    """
    return parsed(certificates).public_bytes(Encoding.PEM)


def is_signed_by(certificate: bytes, authority: bytes) -> bool:
    """Return whether a certificate was signed by an authority with this certificate (PEM).

    Raises: InvalidInput if one of them is no certificate.
    """
    try:
        parsed(certificate).verify_directly_issued_by(parsed(authority))
    except (*_BROKEN, InvalidSignature):
        return False
    return True


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    now: datetime,
    life: timedelta,
) -> x509.CertificateBuilder:
    moment = now.astimezone(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _SKEW)
        .not_valid_after(moment + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(key, None)
    except _BROKEN:
        raise InvalidInput("This is not a private key.") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise InvalidInput("This is not a private key of a hub or a node.")
    return private


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    content = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(content).hexdigest()


def _requested_key(request: bytes) -> ec.EllipticCurvePublicKey:
    if len(request) > _LONGEST_REQUEST:
        raise InvalidInput("The request for a certificate is longer than 4 KiB.")
    try:
        asked = x509.load_pem_x509_csr(request)
        key, signed = asked.public_key(), asked.is_signature_valid
    except (*_BROKEN, InvalidSignature):
        raise InvalidInput("The request for a certificate cannot be read.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInput("The request for a certificate has a key that is not of P-256.")
    if not signed:
        raise InvalidInput("The request for a certificate is not signed with its own key.")
    return key
