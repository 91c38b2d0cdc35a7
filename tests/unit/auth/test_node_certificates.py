"""auth.node_certificates: an authority signs for its own nodes and hubs, and for nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mograder.auth.node_certificates import (
    HUB_NAME,
    NODE_LIFE,
    Authority,
    facts,
    is_signed_by,
    key_fingerprint,
    new_key,
    new_request,
    only_first,
    parsed,
    request_fingerprint,
)
from mograder.core.errors import InvalidInput
from tests.support.clock import ManualClock

NOW = ManualClock().now()
AUTHORITY = Authority.new(NOW)
BEGIN, END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
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
    key = new_key()
    request = new_request(key)
    signed = AUTHORITY.node_certificate(request, "node-a", NOW)
    assert purposes(signed) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert is_signed_by(signed, AUTHORITY.certificate)
    assert not is_signed_by(signed, Authority.new(NOW).certificate)
    found = facts(signed)
    assert found.name == "node-a"
    assert found.fingerprint == key_fingerprint(key) == request_fingerprint(request)
    assert found.fingerprint != key_fingerprint(new_key())
    assert found.ends == NOW.replace(microsecond=0) + NODE_LIFE
    with pytest.raises(x509.ExtensionNotFound):
        parsed(signed).extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_a_renewed_certificate_has_the_fingerprint_of_the_earlier_one() -> None:
    key = new_key()
    first = AUTHORITY.node_certificate(new_request(key), "node-a", NOW)
    second = AUTHORITY.node_certificate(new_request(key), "node-a", NOW + timedelta(days=9))
    assert first != second
    assert facts(first).fingerprint == facts(second).fingerprint


def test_of_several_certificates_only_the_first_is_kept() -> None:
    other = Authority.new(NOW).certificate
    assert only_first(AUTHORITY.certificate + other) == AUTHORITY.certificate


def test_a_hubs_certificate_is_for_servers_and_followed_by_the_authoritys() -> None:
    pair = AUTHORITY.hub_certificate(NOW)
    assert purposes(pair.certificate) == [ExtendedKeyUsageOID.SERVER_AUTH]
    chain = x509.load_pem_x509_certificates(pair.certificate)
    assert chain[0].issuer == chain[1].subject
    assert facts(pair.certificate).fingerprint == key_fingerprint(pair.key)
    assert facts(chain[1].public_bytes(Encoding.DER)).fingerprint == AUTHORITY.fingerprint
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HUB_NAME]


def test_the_hub_gives_the_name_whatever_the_request_asks_for() -> None:
    asked = request_of(ec.generate_private_key(ec.SECP256R1()), HUB_NAME)
    signed = parsed(AUTHORITY.node_certificate(asked, "node-a", NOW))
    assert [each.value for each in signed.subject] == ["node-a"]


def test_a_name_that_is_too_long_for_a_certificate_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at most 64 characters"):
        AUTHORITY.node_certificate(new_request(new_key()), "n" * 65, NOW)


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
        (damaged(new_request(new_key())), "not signed with its own key"),
    ],
    ids=["empty", "no-request", "too-long", "rsa", "another-curve", "not-signed"],
)
def test_requests_that_are_refused(request_pem: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        AUTHORITY.node_certificate(request_pem, "node-a", NOW)


RSA = rsa.generate_private_key(65537, 2048)
RSA_PEM = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("text", [b"", b"no certificate", BEGIN + END, b"\0" * 100])
def test_a_text_that_is_no_certificate_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a certificate"):
        facts(text)


@pytest.mark.parametrize("key", [b"", b"no key", RSA_PEM])
def test_a_text_that_is_no_key_of_ours_is_refused(key: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a private key"):
        new_request(key)


def test_a_certificate_is_valid_a_little_before_it_is_made() -> None:
    signed = parsed(AUTHORITY.node_certificate(new_request(new_key()), "node-a", NOW))
    assert signed.not_valid_before_utc == NOW.replace(microsecond=0) - timedelta(hours=1)
