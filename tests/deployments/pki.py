"""A CA and a certificate for 127.0.0.1 in files."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def write_pki(folder: Path) -> dict[str, Path]:
    """Paths of ca, cert and key."""
    now = dt.datetime.now(dt.UTC)

    def make(name: str, issuer: str, public: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey, ca: bool):
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder(named(issuer), named(name), public, x509.random_serial_number(),
            now - dt.timedelta(hours=1), now + dt.timedelta(days=2))  # fmt: skip
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        known = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(known, critical=False)
        if ca:
            usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(usage, critical=True)
        else:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    paths = {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}
    pem = serialization.Encoding.PEM
    paths["ca"].write_bytes(make("test ca", "test ca", root.public_key(), root, True).public_bytes(pem))
    paths["cert"].write_bytes(make("127.0.0.1", "test ca", leaf.public_key(), root, False).public_bytes(pem))
    plain = serialization.NoEncryption()
    paths["key"].write_bytes(leaf.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    paths["key"].chmod(0o600)
    return paths
