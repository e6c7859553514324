import base64
import datetime
import hashlib
import uuid

import jwt
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
)
from azure.mgmt.containerservice import ContainerServiceClient
from cloud import CLIENT, GROUP, SECRET, SUB, body
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

OWNER = {"scope": f"/subscriptions/{SUB}", "role": "Owner"}
PEM = serialization.Encoding.PEM


def pair() -> tuple[bytes, str]:
    """A key with its certificate, and the certificate alone."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now).not_valid_after(now + datetime.timedelta(1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + cert.public_bytes(PEM), cert.public_bytes(PEM).decode()


@pytest.fixture
def authority(cloud, monkeypatch):
    """What azure-identity is told; it trusts the sandbox's certificate."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cloud.folder / "ca.pem"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return {"authority": cloud.secure, "disable_instance_discovery": True}


def test_a_client_secret_of_azure_identity_makes_a_cluster_over_tls(cloud, authority):
    cloud.principal(OWNER)
    credential = ClientSecretCredential(cloud.tenant, CLIENT, SECRET, **authority)
    more = {"base_url": cloud.secure, "credential_scopes": [f"{cloud.secure}/.default"], "polling_interval": 1}
    client = ContainerServiceClient(credential, SUB, **more)
    made = client.managed_clusters.begin_create_or_update(GROUP, "one", body(1)).result()
    assert made.properties.provisioning_state == "Succeeded"
    assert CLIENT in (cloud.folder / "state/requests-arm.jsonl").read_text()


def test_a_certificate_proves_the_app_and_a_foreign_one_does_not(cloud, authority):
    both, public = pair()
    cloud.principal(OWNER, certificate=public)
    good = CertificateCredential(cloud.tenant, CLIENT, certificate_data=both, **authority)
    token = good.get_token("https://management.azure.com/.default").token
    assert cloud.ask("GET", cloud.cluster(), token=token).status_code == 200
    foreign = CertificateCredential(cloud.tenant, CLIENT, certificate_data=pair()[0], **authority)
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        foreign.get_token("https://management.azure.com/.default")


@pytest.mark.parametrize(("algorithm", "name", "digest"), [("PS256", "x5t#S256", "sha256"), ("RS256", "x5t", "sha1")])
def test_an_assertion_counts_by_either_algorithm_for_this_authority_and_in_its_time(town, algorithm, name, digest):
    both, public = pair()
    town.principal(OWNER, certificate=public)
    der = x509.load_pem_x509_certificate(public.encode()).public_bytes(serialization.Encoding.DER)
    thumbprint = base64.urlsafe_b64encode(hashlib.new(digest, der).digest()).decode().rstrip("=")
    now = int(datetime.datetime.now(datetime.UTC).timestamp())
    claims = {"iss": CLIENT, "sub": CLIENT, "aud": f"{town.secure}/{town.tenant}/oauth2/v2.0/token", "exp": now + 60}

    def numbers(**more) -> list[int]:
        text = jwt.encode({**claims, **more}, both, algorithm=algorithm, headers={name: thumbprint})
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        return town.token(client_id=CLIENT, client_assertion=text, client_assertion_type=kind).json().get("error_codes")

    assert numbers() is None
    assert numbers(exp=now - 600) == [700024]
    assert numbers(aud="https://login.microsoftonline.com/x") == [700023]
    assert numbers(sub=str(uuid.uuid4())) == [700021]


def test_a_trusted_issuers_token_proves_the_app(cloud, authority):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    row = {"issuer": "https://oidc.example", "subject": "system:serviceaccount:a:b", "key": public}
    cloud.principal(OWNER, federated=[row])
    far = int(datetime.datetime.now(datetime.UTC).timestamp()) + 600
    claims = {"iss": row["issuer"], "sub": row["subject"], "aud": "api://AzureADTokenExchange", "exp": far}

    def credential(**more):
        text = jwt.encode({**claims, **more}, key, algorithm="RS256")
        return ClientAssertionCredential(cloud.tenant, CLIENT, lambda: text, **authority)

    assert credential().get_token("https://management.azure.com/.default").token
    with pytest.raises(ClientAuthenticationError, match="AADSTS700213"):
        credential(sub="system:serviceaccount:a:other").get_token("https://management.azure.com/.default")


def test_a_managed_identity_gets_a_token_by_its_key(cloud, authority, monkeypatch):
    cloud.principal(OWNER, managed_identity_key="machine")
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{cloud.secure}/entra/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "machine")
    token = ManagedIdentityCredential().get_token("https://management.azure.com/.default").token
    assert cloud.ask("GET", cloud.cluster(), token=token).status_code == 200
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token("https://management.azure.com/.default")


def test_the_authority_refuses_in_entras_words(cloud):
    cloud.principal(OWNER)
    stranger = str(uuid.uuid4())
    for answer, status, error, number in [
        (cloud.token(client_id=CLIENT, client_secret="wrong"), 401, "invalid_client", 7000215),
        (cloud.token(client_id=CLIENT), 401, "invalid_client", 7000216),
        (cloud.token(client_id=stranger, client_secret="x"), 400, "unauthorized_client", 700016),
        (cloud.token(tenant=stranger, client_id=CLIENT, client_secret=SECRET), 400, "invalid_request", 90002),
        (cloud.token(client_id=CLIENT, client_secret=SECRET, scope="openid"), 400, "invalid_scope", 1002012),
        (cloud.token(client_id=CLIENT, client_secret=SECRET, scope="https://x/.default"), 400, "invalid_resource",
         500011),
        (cloud.token(client_id=CLIENT, grant_type="password"), 400, "unsupported_grant_type", 70003),
    ]:  # fmt: skip
        found = answer.json()
        assert (answer.status_code, found["error"], found["error_codes"]) == (status, error, [number]), found
        assert found["error_description"].startswith(f"AADSTS{number}: ")
        assert found["trace_id"] in found["error_description"]


def test_a_token_ends_by_the_sandboxs_clock_and_with_its_principal(cloud):
    token = cloud.principal(OWNER)
    assert cloud.ask("GET", cloud.cluster(), token=token).status_code == 200
    cloud.admin("POST", "clock", {"advance": 3601})
    answer = cloud.ask("GET", cloud.cluster(), token=token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "ExpiredAuthenticationToken")
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    token = cloud.principal(OWNER)
    cloud.admin("DELETE", f"principals/{CLIENT}")
    answer = cloud.ask("GET", cloud.cluster(), token=token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_faults_shorten_tokens_and_let_secrets_be_over(cloud):
    cloud.principal(OWNER)
    cloud.fault("entra.short_tokens", seconds=30)
    assert cloud.token(client_id=CLIENT, client_secret=SECRET).json()["expires_in"] == 30
    cloud.fault("entra.secret_expired", count=1)
    assert cloud.token(client_id=CLIENT, client_secret=SECRET).json()["error_codes"] == [7000222]
    cloud.fault("arm.token_expired", count=1, target="cluster")
    assert cloud.ask("GET", cloud.cluster("one")).json()["error"]["code"] == "ExpiredAuthenticationToken"
    assert cloud.ask("GET", cloud.cluster("one")).status_code == 404


def test_secrets_are_on_disk_only_as_hashes_and_a_token_for_a_cluster_is_none_for_arm(cloud):
    cloud.principal(OWNER)
    for file in (cloud.folder / "state").glob("sandbox.db*"):
        assert SECRET.encode() not in file.read_bytes()
    kube = cloud.token(client_id=CLIENT, client_secret=SECRET, scope="6dae42f8-4368-4678-94ff-3960e28e3630/.default")
    answer = cloud.ask("GET", cloud.cluster(), token=kube.json()["access_token"])
    assert answer.json()["error"]["code"] == "InvalidAuthenticationTokenAudience"


def test_a_client_finds_the_authority_from_arms_address(cloud):
    secure = {"timeout": 10, "verify": str(cloud.folder / "ca.pem")}
    found = cloud.session.get(f"{cloud.secure}/metadata/endpoints?api-version=2022-09-01", **secure).json()
    assert found["authentication"]["loginEndpoint"] == found["authentication"]["audiences"][0] == cloud.secure
    place = f"{found['authentication']['loginEndpoint']}/{cloud.tenant}/v2.0/.well-known/openid-configuration"
    where = cloud.session.get(place, **secure).json()
    assert where["token_endpoint"] == f"{cloud.secure}/{cloud.tenant}/oauth2/v2.0/token"
    assert cloud.session.get(where["jwks_uri"], **secure).json()["keys"][0]["kty"] == "RSA"


def test_the_plain_port_has_no_authority(cloud):
    answer = cloud.session.post(f"{cloud.url}/{cloud.tenant}/oauth2/v2.0/token", data={}, timeout=10)
    assert answer.status_code == 404
