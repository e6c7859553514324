from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading

import pytest
from cryptography import x509

from portal.launcher import ca
from portal.launcher.home import Home


def handshake(home: Home, name: str) -> None:
    """One TLS connection to a server with the home's certificate, checked by the home's CA as `name`."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(home.file("tls", "server.pem"), home.file("tls", "server.key"))
    client = ssl.create_default_context(cafile=str(home.file("tls", "ca.pem")))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    near, far = socket.socketpair()

    def serve() -> None:
        try:
            server.wrap_socket(near, server_side=True).close()
        except (OSError, ssl.SSLError):
            near.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(far, server_hostname=name).close()
    finally:
        far.close()
        thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_certificate_verifies_for_both_names(home: Home, name: str) -> None:
    ca.ensure(home)
    handshake(home, name)


def test_the_certificate_does_not_verify_for_another_name(home: Home) -> None:
    ca.ensure(home)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(home, "example.com")


def test_keys_are_private_and_certificates_stay(home: Home) -> None:
    ca.ensure(home)
    before = {path.name: path.read_bytes() for path in home.file("tls").iterdir()}
    ca.ensure(home)
    assert {path.name: path.read_bytes() for path in home.file("tls").iterdir()} == before
    assert {path.stat().st_mode & 0o077 for path in home.file("tls").iterdir()} == {0}


def test_a_certificate_that_ends_soon_is_renewed_by_the_same_ca(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ca.ensure(home)
    authority = home.file("tls", "ca.pem").read_bytes()
    old = home.file("tls", "server.pem").read_bytes()
    monkeypatch.setattr(ca, "RENEW_BEFORE", dt.timedelta(days=3 * 365))
    ca.ensure(home)
    assert home.file("tls", "ca.pem").read_bytes() == authority
    assert home.file("tls", "server.pem").read_bytes() != old
    handshake(home, "localhost")


def test_a_damaged_certificate_is_made_again(home: Home) -> None:
    ca.ensure(home)
    home.file("tls", "server.pem").write_text("not a certificate")
    ca.ensure(home)
    assert x509.load_pem_x509_certificate(home.file("tls", "server.pem").read_bytes())
