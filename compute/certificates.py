"""Certificates of gateways: what one says, whether it can be used, and making one. Pure: the caller gives the time."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portal.problems import Invalid

LARGEST, LONGEST_CHAIN = 64 * 1024, 10
SHORTEST_RSA = 2048
CURVES = ("secp256r1", "secp384r1", "secp521r1")
SELF_SIGNED_DAYS = 825
BACK = timedelta(minutes=5)  # for clocks that are late
LEVELS = (30, 14, 3)  # days before the end at which somebody is told


class BadCertificate(Invalid):
    code, title = "bad_certificate", "The certificate cannot be used"


class IssuerTrouble(Invalid):
    code, title = "issuer_unusable", "The configured issuer cannot sign"


@dataclass(frozen=True)
class Facts:
    """What a certificate says. `names` are the host names and addresses that it is for."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins_at: datetime
    ends_at: datetime
    fingerprint: str

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends; below 0 when it has ended."""
        return (self.ends_at - now) // timedelta(days=1)

    def covers(self, host: str) -> bool:
        """Whether a client that calls `host` would take it; * stands for one label."""
        wanted = host.lower().rstrip(".")
        rest = wanted.partition(".")[2]
        return any(name.lower() in (wanted, f"*.{rest}" if rest else wanted) for name in self.names)


@dataclass(frozen=True)
class Issuer:
    """A certificate authority: its chain, the signing certificate first, and its key; both PEM."""

    chain: str
    key: str


def facts(chain: str) -> Facts:
    """What the first certificate of a PEM chain says. Raises BadCertificate."""
    found = _chain(chain)[0]
    return Facts(
        subject=found.subject.rfc4514_string(),
        issuer=found.issuer.rfc4514_string(),
        names=_names(found),
        begins_at=found.not_valid_before_utc,
        ends_at=found.not_valid_after_utc,
        fingerprint=found.fingerprint(hashes.SHA256()).hex(),
    )


def check(chain: str, key: str, host: str, now: datetime) -> Facts:
    """Refuse a chain that clients or Envoy would not take, or a key that is not its own. An empty host covers all."""
    found, private = _chain(chain), _key(key)
    _check_key(found[0], private)
    for one, above in zip(found, found[1:], strict=False):
        _check_link(one, above)
    for one in found:
        _check_time(one, now)
    _check_use(found[0])
    told = facts(chain)
    if not told.names:
        raise BadCertificate(f"{told.subject} has no subject alternative names; clients look at nothing else.")
    if host and not told.covers(host):
        raise BadCertificate(f"The certificate is for {', '.join(told.names)}; clients call {host}.")
    return told


def level(told: Facts, now: datetime) -> int | None:
    """The days of LEVELS below which the certificate has come; None while there is time."""
    left = told.ends_at - now
    return next((days for days in reversed(LEVELS) if left <= timedelta(days=days)), None)


def is_due(told: Facts, now: datetime, grace: timedelta = timedelta(0)) -> bool:
    """Whether two thirds of its life, and the grace, are over: then a made certificate is made anew."""
    return now >= told.ends_at - (told.ends_at - told.begins_at) / 3 + grace


def _chain(text: str) -> list[x509.Certificate]:
    if len(text) > LARGEST:
        raise BadCertificate(f"The chain has {len(text):,} characters; at most {LARGEST:,} are taken.")
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, TypeError):
        raise BadCertificate("The certificate is not PEM: it begins with -----BEGIN CERTIFICATE-----.") from None
    if len(found) > LONGEST_CHAIN:
        raise BadCertificate(f"The chain has {len(found)} certificates; at most {LONGEST_CHAIN} are taken.")
    return found


def _key(text: str) -> Any:
    if len(text) > LARGEST:
        raise BadCertificate(f"The key has {len(text):,} characters; at most {LARGEST:,} are taken.")
    try:
        return serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise BadCertificate("The key is protected by a password. Give it without one.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate("The key is not PEM: it begins with -----BEGIN PRIVATE KEY-----.") from None


def _check_key(leaf: x509.Certificate, private: Any) -> None:
    """It belongs to the first certificate, and is of a kind that Envoy takes."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != private.public_key().public_bytes(*form):
        raise BadCertificate(
            f"The key does not belong to the first certificate, {leaf.subject.rfc4514_string()}. "
            "The server's certificate comes first, then those that signed it."
        )
    if isinstance(private, rsa.RSAPrivateKey):
        if private.key_size < SHORTEST_RSA:
            raise BadCertificate(f"The RSA key has {private.key_size} bits; the gateway takes {SHORTEST_RSA} or more.")
    elif not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in CURVES:
        raise BadCertificate("The gateway takes RSA keys and those of the curves P-256, P-384 and P-521.")


def _check_link(one: x509.Certificate, above: x509.Certificate) -> None:
    try:
        one.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature):
        raise BadCertificate(
            f"The chain is broken: {one.subject.rfc4514_string()} was signed by {one.issuer.rfc4514_string()}, "
            f"but {above.subject.rfc4514_string()} comes after it."
        ) from None


def _check_time(one: x509.Certificate, now: datetime) -> None:
    name, ends, begins = one.subject.rfc4514_string(), one.not_valid_after_utc, one.not_valid_before_utc
    if ends <= now:
        raise BadCertificate(f"{name} ended on {ends:%Y-%m-%d}, {(now - ends).days} days ago.")
    if begins > now:
        raise BadCertificate(f"{name} begins on {begins:%Y-%m-%d} only.")


def _check_use(leaf: x509.Certificate) -> None:
    try:
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(uses):
        raise BadCertificate(f"{leaf.subject.rfc4514_string()} is not for servers (extended key usage).")


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = names.get_values_for_type(x509.DNSName)
    return (*hosts, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))


def make(
    names: Sequence[str], now: datetime, days: int = SELF_SIGNED_DAYS, issuer: Issuer | None = None
) -> tuple[str, str]:
    """A certificate for host names and addresses with its key, both PEM: signed by the issuer, else by itself.

    It never outlives the issuer. Raises IssuerTrouble.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    above, signer = _signer(issuer, now) if issuer else (None, key)
    ends = now + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACK, above.not_valid_before_utc) if above else now - BACK)
        .not_valid_after(min(ends, above.not_valid_after_utc) if above else ends)
    )
    for extension, is_critical in _extensions(names, key.public_key(), signer.public_key(), is_own=above is None):
        builder = builder.add_extension(extension, critical=is_critical)
    made = builder.sign(signer, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode() + (issuer.chain if issuer else ""), pem.decode()


def _extensions(names: Sequence[str], own: Any, signer: Any, *, is_own: bool) -> list[tuple[x509.ExtensionType, bool]]:
    """What strict clients look for. One signed by itself is its own authority, for clients that are given it."""
    uses = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    return [
        (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
        (x509.BasicConstraints(ca=is_own, path_length=0 if is_own else None), True),
        (x509.KeyUsage(digital_signature=True, key_cert_sign=is_own, **uses), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(own), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), False),
    ]


def _signer(issuer: Issuer, now: datetime) -> tuple[x509.Certificate, Any]:
    """The issuer's certificate and key, if it may and can sign now."""
    try:
        chain, private = _chain(issuer.chain), _key(issuer.key)
        _check_key(chain[0], private)
        _check_time(chain[0], now)
    except BadCertificate as trouble:
        raise IssuerTrouble(trouble.detail) from None
    try:
        is_authority = chain[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority:
        raise IssuerTrouble(f"{chain[0].subject.rfc4514_string()} is no certificate authority.")
    return chain[0], private


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
