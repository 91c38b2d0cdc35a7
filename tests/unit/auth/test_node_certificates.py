"""auth.node_certificates: an authority signs for its own nodes and hubs, and for nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mograder.auth.node_certificates import (
    HUB_NAME,
    NODE_LIFE,
    Authority,
    NewKey,
    ends,
    fingerprint,
    is_key_of,
    parsed,
)
from mograder.core.errors import InvalidInput
from tests.support.clock import ManualClock

NOW = ManualClock().now()
AUTHORITY = Authority.new(NOW)
SECRET = "a secret of the hub"


def request_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, name: str = "") -> bytes:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def purposes(certificate: bytes) -> list[x509.ObjectIdentifier]:
    return list(parsed(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_sealed_authority_is_opened_with_its_secret_only() -> None:
    sealed = AUTHORITY.sealed_key(SECRET)
    opened = Authority.unsealed(AUTHORITY.certificate, sealed, SECRET)
    assert opened.fingerprint == AUTHORITY.fingerprint
    assert "PRIVATE" not in sealed
    with pytest.raises(InvalidInput, match="cannot be decrypted"):
        Authority.unsealed(AUTHORITY.certificate, sealed, "another")
    with pytest.raises(InvalidInput, match="not that of its certificate"):
        Authority.unsealed(Authority.new(NOW).certificate, sealed, SECRET)


def test_a_nodes_certificate_is_for_clients_and_has_the_key_of_the_request() -> None:
    new = NewKey.make()
    signed = AUTHORITY.node_certificate(new.request, "node-a", NOW)
    assert purposes(signed) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    parsed(signed).verify_directly_issued_by(parsed(AUTHORITY.certificate))
    assert is_key_of(new.key, signed)
    assert not is_key_of(NewKey.make().key, signed)
    assert not is_key_of(b"no key", signed)
    assert ends(signed) == NOW.replace(microsecond=0) + NODE_LIFE
    with pytest.raises(x509.ExtensionNotFound):
        parsed(signed).extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_hubs_certificate_is_for_servers_and_followed_by_the_authoritys() -> None:
    pair = AUTHORITY.hub_certificate(NOW)
    assert purposes(pair.certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    chain = x509.load_pem_x509_certificates(pair.certificate)
    assert [each.fingerprint(SHA256()).hex() for each in chain] == [
        fingerprint(pair.certificate),
        AUTHORITY.fingerprint,
    ]
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HUB_NAME]
    assert is_key_of(pair.key, pair.certificate)


def test_the_hub_gives_the_name_whatever_the_request_asks_for() -> None:
    asked = request_of(ec.generate_private_key(ec.SECP256R1()), HUB_NAME)
    signed = parsed(AUTHORITY.node_certificate(asked, "node-a", NOW))
    assert [each.value for each in signed.subject] == ["node-a"]


def test_a_long_name_is_shortened_in_the_certificate() -> None:
    signed = parsed(AUTHORITY.node_certificate(NewKey.make().request, "n" * 100, NOW))
    assert [each.value for each in signed.subject] == ["n" * 64]


def damaged(request: bytes) -> bytes:
    """The request with a changed signature."""
    csr = bytearray(x509.load_pem_x509_csr(request).public_bytes(Encoding.DER))
    csr[-1] ^= 1
    return x509.load_der_x509_csr(bytes(csr)).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("request_pem", "problem"),
    [
        (b"", "cannot be read"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----", "read"),
        (b"x" * 5000, "4 KiB"),
        (request_of(rsa.generate_private_key(65537, 2048)), "P-256"),
        (request_of(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (damaged(NewKey.make().request), "not signed with its own key"),
    ],
    ids=["empty", "no-request", "too-long", "rsa", "another-curve", "not-signed"],
)
def test_requests_that_are_refused(request_pem: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        AUTHORITY.node_certificate(request_pem, "node-a", NOW)


def test_a_text_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not a certificate"):
        fingerprint(b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----")


def test_a_certificate_is_valid_a_little_before_it_is_made() -> None:
    signed = parsed(AUTHORITY.node_certificate(NewKey.make().request, "node-a", NOW))
    assert signed.not_valid_before_utc == NOW.replace(microsecond=0) - timedelta(hours=1)
