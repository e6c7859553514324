"""Certificates: what is refused and in which words, what covers a name, what is made and when it is due."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from compute import certificates

NOW = datetime(2026, 12, 1, tzinfo=UTC)
HOST = "score.example.com"
AUTHORITY = certificates.make(["authority.example"], NOW, 1000)


def pem(key: object, password: bytes = b"") -> str:
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, how).decode()  # type: ignore[attr-defined]


def signed(key: object, *, names: tuple[str, ...] = (HOST,), use: x509.ObjectIdentifier | None = None) -> str:
    """A certificate of a year that is signed by its own key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "leaf")])
    public = key.public_key()  # type: ignore[attr-defined]
    made = x509.CertificateBuilder(name, name, public, 7, NOW - timedelta(1), NOW + timedelta(365))
    if names:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), False)
    if use is not None:
        made = made.add_extension(x509.ExtendedKeyUsage([use]), False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return made.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()  # type: ignore[arg-type]


def refusal(chain: str, key: str, host: str = HOST, now: datetime = NOW) -> str:
    with pytest.raises(certificates.BadCertificate) as refused:
        certificates.check(chain, key, host, now)
    assert "PRIVATE KEY-----\n" not in refused.value.detail
    return refused.value.detail


def test_a_pair_that_fits_passes_and_tells_its_names_and_end() -> None:
    chain, key = certificates.make([HOST, "10.1.2.3"], NOW, 90, certificates.Issuer(*AUTHORITY))
    told = certificates.check(chain, key, HOST, NOW)
    assert (told.subject, told.issuer) == (f"CN={HOST}", "CN=authority.example")
    assert told.names == (HOST, "10.1.2.3")
    assert (told.days_left(NOW), len(told.fingerprint)) == (90, 64)


@pytest.mark.parametrize("size", ["2048", "secp256r1", "secp384r1", "secp521r1"])
def test_rsa_from_2048_bits_and_the_three_curves_are_taken(size: str) -> None:
    curves = {"secp256r1": ec.SECP256R1(), "secp384r1": ec.SECP384R1(), "secp521r1": ec.SECP521R1()}
    key = ec.generate_private_key(curves[size]) if size in curves else rsa.generate_private_key(65537, int(size))
    certificates.check(signed(key), pem(key), HOST, NOW)


def test_keys_that_envoy_does_not_take_are_refused_with_what_would_pass() -> None:
    short, other = rsa.generate_private_key(65537, 1024), ed25519.Ed25519PrivateKey.generate()
    assert "1024 bits" in refusal(signed(short), pem(short))
    assert "P-256, P-384" in refusal(signed(other), pem(other))
    odd = ec.generate_private_key(ec.SECP224R1())
    assert "P-256, P-384" in refusal(signed(odd), pem(odd))


def test_what_is_not_pem_is_refused_by_the_line_that_it_should_begin_with() -> None:
    chain, key = certificates.make([HOST], NOW)
    assert "-----BEGIN CERTIFICATE-----" in refusal("hello", key)
    assert "-----BEGIN PRIVATE KEY-----" in refusal(chain, "hello")
    assert "65,536" in refusal(chain + "x" * 70_000, key)
    assert "11 certificates" in refusal(chain * 11, key)


def test_a_key_with_a_password_or_of_another_certificate_is_refused() -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    assert "password" in refusal(signed(own), pem(own, b"secret"))
    chain, key = certificates.make([HOST], NOW, 90, certificates.Issuer(*AUTHORITY))
    assert "does not belong" in refusal(signed(own), key)
    first, *rest = [f"{part}-----END CERTIFICATE-----\n" for part in chain.split("-----END CERTIFICATE-----\n")[:-1]]
    assert "comes first" in refusal("".join([*rest, first]), key)


def test_a_chain_whose_parts_did_not_sign_each_other_is_refused_by_name() -> None:
    alone, key = certificates.make([HOST], NOW)
    stranger, _ = certificates.make(["stranger.example"], NOW)
    words = refusal(alone + stranger, key)
    assert f"CN={HOST}" in words
    assert "CN=stranger.example" in words


def test_times_are_said_with_dates() -> None:
    chain, key = certificates.make([HOST], NOW, 10)
    assert "ended on 2026-12-11, 3 days ago" in refusal(chain, key, now=NOW + timedelta(13, 5))
    assert "begins on 2026-11-30 only" in refusal(chain, key, now=NOW - timedelta(1))
    long, key = certificates.make([HOST], NOW, 90, certificates.Issuer(*AUTHORITY))
    assert certificates.check(long, key, HOST, NOW + timedelta(89))


def test_the_names_have_to_cover_what_clients_call() -> None:
    chain, key = certificates.make(["*.example.com", "10.0.0.7"], NOW)
    for host in ("score.example.com", "SCORE.example.com.", "10.0.0.7", ""):
        certificates.check(chain, key, host, NOW)
    for host in ("example.com", "a.b.example.com", "score.example.org", "10.0.0.8"):
        assert refusal(chain, key, host) == f"The certificate is for *.example.com, 10.0.0.7; clients call {host}."
    own = ec.generate_private_key(ec.SECP256R1())
    assert "no subject alternative names" in refusal(signed(own, names=()), pem(own))


def test_a_certificate_for_something_else_than_servers_is_refused() -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    assert "not for servers" in refusal(signed(own, use=ExtendedKeyUsageOID.CODE_SIGNING), pem(own))
    certificates.check(signed(own, use=ExtendedKeyUsageOID.SERVER_AUTH), pem(own), HOST, NOW)


def test_an_issuer_that_is_none_or_is_over_signs_nothing() -> None:
    def trouble(issuer: tuple[str, str], now: datetime = NOW) -> str:
        with pytest.raises(certificates.IssuerTrouble) as refused:
            certificates.make([HOST], now, 30, certificates.Issuer(*issuer))
        return refused.value.detail

    leaf = certificates.make([HOST], NOW, 90, certificates.Issuer(*AUTHORITY))
    assert "no certificate authority" in trouble(leaf)
    assert "does not belong" in trouble((AUTHORITY[0], leaf[1]))
    assert "ended on" in trouble(AUTHORITY, NOW + timedelta(1001))


def test_a_made_certificate_never_outlives_its_issuer() -> None:
    chain, _ = certificates.make([HOST], NOW + timedelta(990), 30, certificates.Issuer(*AUTHORITY))
    assert certificates.facts(chain).ends_at == NOW + timedelta(1000)


def test_strict_clients_take_an_issued_chain(tmp_path: object) -> None:
    now = datetime.now(UTC)
    authority = certificates.make(["authority.example"], now, 10)
    chain, key = certificates.make([HOST], now, 5, certificates.Issuer(*authority))
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=authority[0])
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    file = tmp_path / "pair.pem"  # type: ignore[operator]
    file.write_text(chain + key)
    server.load_cert_chain(file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(back, there, server_hostname=HOST)
    two = server.wrap_bio(there, back, server_side=True)
    for side in (one, two, one, two):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert one.getpeercert()["subjectAltName"] == (("DNS", HOST),)  # type: ignore[index]


def test_levels_are_reached_at_30_14_and_3_days_and_renewal_is_due_after_two_thirds() -> None:
    told = certificates.facts(certificates.make([HOST], NOW, 90)[0])
    found = [certificates.level(told, told.ends_at - timedelta(days)) for days in (31, 30, 15, 14, 4, 3, 0, -1)]
    assert found == [None, 30, 30, 14, 14, 3, 3, 3]
    assert not certificates.is_due(told, NOW + timedelta(59))
    assert certificates.is_due(told, NOW + timedelta(61))
    assert not certificates.is_due(told, NOW + timedelta(61), timedelta(3))
