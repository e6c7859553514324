"""The workspace signs in over TLS with a client secret and the like: the code path of a real subscription."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.journeys.crash.house import House, target
from tests.journeys.test_contract import Answer, Rest, follow

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
APP, SECRET = "aaaaaaaa-0000-4000-a000-00000000000b", "a secret~of the app"


@pytest.fixture(scope="module", autouse=True)
def _as_before(house: House) -> Iterator[None]:
    """The other stories of the home find the workspace as it was."""
    yield
    known = json.loads(house.file("credentials.json").read_text())
    static = {"kind": "static", "token": known["arm_token"]}
    back = Rest(known).ask("", "PATCH", {"arm_endpoint": known["arm_url"], "arm_ca_file": "", "credential": static})
    assert back.status == 200, back.text


def switch(house: House, rest: Rest, known: dict[str, Any], proof: dict[str, Any] | None = None, **own: Any) -> Answer:
    """Give the workspace the app's secret, or another `proof`, and the sandbox's TLS address as Azure and as authority.

    `own` is what the directory knows of the app.
    """
    role = {"scope": f"/subscriptions/{known['subscription_id']}", "role": "Owner"}
    tenant = house.admin("PUT", f"principals/{APP}", {"secret": SECRET, "roles": [role], **own})["tenant_id"]
    secure = f"https://127.0.0.1:{json.loads(house.file('home.json').read_text())['ports']['kube']}"
    given = proof or {"kind": "client_secret", "client_secret": SECRET}
    body = {
        "arm_endpoint": secure, "arm_ca_file": str(house.file("tls", "ca.pem")),
        "credential": {**given, "tenant_id": tenant, "client_id": APP, "authority_host": secure},
    }  # fmt: skip
    return rest.ask("", "PATCH", body)


def works(house: House, rest: Rest, kind: str, name: str) -> None:
    """The workspace has that credential, and a cluster is made and deleted with it."""
    assert rest.ask("").json()["credential"]["kind"] == kind
    tested = rest.ask("azure/test/", "POST").json()
    assert tested["passes"], tested
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size
    done(rest, rest.ask("compute-targets/", "POST", target(name)))
    done(rest, rest.ask(f"compute-targets/{name}/", "DELETE"))
    lines = [line for line in house.noted("arm", start) if "/managedclusters/" in line["path"].lower()]
    assert {line["user"] for line in lines} == {APP}


def done(rest: Rest, answer: Answer) -> None:
    assert answer.status == 202, answer.text
    where = answer.headers["Location"]
    assert follow(rest, where)[-1] == "Succeeded", rest.ask(where).text


def test_a_cluster_is_made_scaled_and_deleted_with_a_client_secret_and_tokens_that_end_in_the_middle(
    house: House,
) -> None:
    known = json.loads(house.file("credentials.json").read_text())
    rest = Rest(known)
    changed = switch(house, rest, known)
    assert changed.status == 200, changed.text
    assert changed.json()["credential"]["kind"] == "client_secret"
    tested = rest.ask("azure/test/", "POST").json()
    assert tested["passes"], tested
    start = house.file("sandbox", "requests-arm.jsonl").stat().st_size

    made = rest.ask("compute-targets/", "POST", target("entra"))
    house.admin("POST", "clock", {"advance": 3700})  # every token so far is over, and we do not know
    done(rest, made)
    scaled = rest.ask("compute-targets/entra/scale/", "POST", {"node_count": target("entra")["node_count"] + 1})
    house.admin("POST", "clock", {"advance": 3700})
    done(rest, scaled)
    done(rest, rest.ask("compute-targets/entra/", "DELETE"))

    lines = [line for line in house.noted("arm", start) if "/managedclusters/" in line["path"].lower()]
    assert [line["method"] for line in lines] == ["PUT", "PUT", "DELETE"]
    assert {line["user"] for line in lines} == {APP}
    for log in house.file("logs").glob("*"):
        assert SECRET not in log.read_text(errors="replace"), log


def test_a_secret_that_ended_fails_the_operation_with_entras_words_and_leaves_no_lock(house: House) -> None:
    known = json.loads(house.file("credentials.json").read_text())
    rest = Rest(known)
    assert switch(house, rest, known).status == 200
    house.admin("PUT", f"principals/{APP}", {"secret": "another one"})
    house.admin("POST", "clock", {"advance": 3700})
    made = rest.ask("compute-targets/", "POST", target("late"))
    where = made.headers["Location"]
    assert follow(rest, where)[-1] in ("Failed", "RolledBack")
    error = rest.ask(where).json()["error"]
    assert "AADSTS7000215" in error["detail"], error
    assert SECRET not in json.dumps(error)
    (found,) = rest.ask("azure/test/", "POST").json()["findings"]
    assert "AADSTS7000215" in found["message"]
    assert switch(house, rest, known).status == 200
    done(rest, rest.ask("compute-targets/late/", "DELETE"))


def certified() -> str:
    """A certificate of the app's own making with its private key, as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=9))
    return pem(key) + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def pem(key: rsa.RSAPrivateKey) -> str:
    """A private key as PEM."""
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key.private_bytes(*plain).decode()


def test_a_certificate_signs_in_too_and_is_shown_by_its_thumbprint_only(house: House) -> None:
    known = json.loads(house.file("credentials.json").read_text())
    rest, both = Rest(known), certified()
    public = both[both.index("-----BEGIN CERTIFICATE-----") :]
    changed = switch(house, rest, known, {"kind": "certificate", "certificate": both}, certificate=public)
    assert changed.status == 200, changed.text
    assert changed.json()["credential"]["thumbprint"]
    assert "PRIVATE KEY" not in changed.text
    works(house, rest, "certificate", "certified")


def test_a_workload_identity_signs_in_with_the_token_of_its_issuer(house: House, tmp_path: Path) -> None:
    known = json.loads(house.file("credentials.json").read_text())
    rest, key = Rest(known), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    facts = {"issuer": "https://issuer.example", "subject": "system:serviceaccount:slipway:portal"}
    audience, now = "api://AzureADTokenExchange", datetime.now(UTC)
    claims = {"iss": facts["issuer"], "sub": facts["subject"], "aud": audience, "exp": now + timedelta(days=2)}
    token = tmp_path / "token"
    token.write_text(jwt.encode(claims, pem(key), algorithm="RS256"))
    told = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    trusted = {**facts, "audience": audience, "key": key.public_key().public_bytes(*told).decode()}
    proof = {"kind": "workload_identity", "token_file_path": str(token)}
    changed = switch(house, rest, known, proof, federated=[trusted])
    assert changed.status == 200, changed.text
    works(house, rest, "workload_identity", "federated")
