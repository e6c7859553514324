"""The real credentials of azure-identity against the sandbox's token authority over TLS, with a CA of its own."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from compute.arm import Arm, ArmAccess, ArmDenied, session
from compute.arm.entra import cluster_token
from portal.credentials import InvalidCredential
from portal.outbound import AddressRefused
from portal.problems import Retryable
from tests.sandbox.arm.cloud import CLIENT, GROUP, SECRET, SUB, Cloud

PEM = serialization.Encoding.PEM
OWNER = {"scope": f"/subscriptions/{SUB}", "role": "Owner"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: Any) -> Iterator[Cloud]:
    made = Cloud(tmp_path_factory.mktemp("cloud")).start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def allowed(settings: Any, cloud: Cloud) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    session.renewable.cache_clear()
    cloud.principal(OWNER)


def pair(days: int = 1) -> tuple[str, str]:
    """PEM of a certificate with its key, and of the certificate alone."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(9)).not_valid_after(now + datetime.timedelta(days))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return (private + cert.public_bytes(PEM)).decode(), cert.public_bytes(PEM).decode()


def arm(cloud: Cloud, **given: str) -> Arm:
    """Azure as a workspace with this credential reaches it."""
    ids = {"tenant_id": cloud.tenant, "client_id": CLIENT, "authority_host": cloud.secure}
    text = json.dumps({"kind": "client_secret", **ids, "client_secret": SECRET, **given})
    return Arm(ArmAccess(cloud.secure, SUB, text, str(cloud.folder / "ca.pem")))


def asked_tokens(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The token requests of this process from now on, seen on their way out."""
    seen: list[str] = []
    send = requests.Session.send

    def counted(self: Any, request: Any, **more: Any) -> Any:
        seen.extend([request.url] if "/oauth2/" in request.url else [])
        return send(self, request, **more)

    monkeypatch.setattr(requests.Session, "send", counted)
    return seen


def test_a_client_secret_reaches_azure_over_tls_with_a_ca_of_its_own(cloud):
    assert arm(cloud).resource_group(GROUP) is True


def test_without_the_ca_neither_authority_nor_azure_is_trusted(cloud):
    given = arm(cloud)._session.access
    with pytest.raises((Retryable, ArmDenied)):
        Arm(ArmAccess(given.endpoint, SUB, given.credential)).resource_group(GROUP)


def test_a_certificate_reaches_azure(cloud):
    both, public = pair()
    cloud.admin("PUT", f"principals/{CLIENT}", {"certificate": public})
    found = arm(cloud, kind="certificate", certificate=both)
    assert found.resource_group(GROUP) is True


def test_a_wrong_secret_is_told_in_entras_words_without_the_secret(cloud):
    with pytest.raises(ArmDenied, match="AADSTS7000215: Invalid client secret") as refused:
        arm(cloud, client_secret="not-the-secret").resource_group(GROUP)
    assert "not-the-secret" not in str(refused.value.as_dict())


def test_an_authority_in_trouble_is_no_refusal(cloud):
    cloud.fault("entra.unavailable")
    try:
        with pytest.raises(Retryable, match="Entra"):
            arm(cloud).resource_group(GROUP)
    finally:
        cloud.ask("DELETE", "/sandbox/faults/entra.unavailable", token="admin-token")
    with pytest.raises(Retryable, match="Entra"):
        arm(cloud, authority_host="https://127.0.0.1:9").resource_group(GROUP)


def test_for_the_token_of_a_cluster_too_an_authority_that_is_away_is_no_refusal(cloud):
    with pytest.raises(Retryable, match="Entra"):
        cluster_token(arm(cloud, authority_host="https://127.0.0.1:9")._session.access)
    cloud.fault("entra.unavailable")
    try:
        with pytest.raises(Retryable, match="Entra"):
            cluster_token(arm(cloud)._session.access)
    finally:
        cloud.ask("DELETE", "/sandbox/faults/entra.unavailable", token="admin-token")
    assert cluster_token(arm(cloud)._session.access)
    with pytest.raises(ArmDenied, match="AADSTS7000215"):
        cluster_token(arm(cloud, client_secret="not-the-secret")._session.access)


def test_clusters_and_azure_share_one_credential(cloud, monkeypatch):
    access = arm(cloud)._session.access
    first = cluster_token(access)
    seen = asked_tokens(cloud, monkeypatch)
    assert cluster_token(access) == first
    assert seen == []
    session.renewable.cache_clear()
    cluster_token(access)
    assert len(seen) == 1


def test_many_requests_of_several_clients_ask_for_one_token(cloud, monkeypatch):
    seen = asked_tokens(cloud, monkeypatch)
    for _ in range(3):
        found = arm(cloud)
        assert found.resource_group(GROUP)
        found.usages("westeurope")
    assert len(seen) == 1


def test_a_token_that_ends_in_the_middle_is_renewed_once(cloud, monkeypatch):
    found = arm(cloud)
    assert found.resource_group(GROUP)
    seen = asked_tokens(cloud, monkeypatch)
    cloud.admin("POST", "clock", {"advance": 3700})
    assert found.resource_group(GROUP)
    assert found.get_cluster(GROUP, "none") is None
    assert len(seen) == 1


def test_a_principal_that_is_gone_is_denied_and_asked_for_no_third_time(cloud, monkeypatch):
    found = arm(cloud)
    assert found.resource_group(GROUP)
    cloud.admin("DELETE", f"principals/{CLIENT}")
    seen = asked_tokens(cloud, monkeypatch)
    with pytest.raises(ArmDenied, match="AADSTS700016"):
        found.resource_group(GROUP)
    assert len(seen) == 1


def test_another_text_is_another_credential(cloud):
    first = session.renewable(arm(cloud)._session.access.credential)
    assert session.renewable(arm(cloud)._session.access.credential) is first
    assert session.renewable(arm(cloud, client_secret="other")._session.access.credential) is not first
    assert session.renewable.cache_info().maxsize == 64


def test_an_authority_inside_a_network_is_refused(cloud, settings):
    settings.OUTBOUND_ALLOW = []
    with pytest.raises(AddressRefused):
        session.credential_of(arm(cloud)._session.access.credential)
    with pytest.raises(InvalidCredential, match="must be https"):
        session.credential_of(json.dumps({**json.loads(arm_text(cloud)), "authority_host": "http://example.com"}))


def arm_text(cloud: Cloud) -> str:
    """A stored credential for the sandbox."""
    return arm(cloud)._session.access.credential
