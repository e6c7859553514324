"""What people may give as a workspace's Azure credential, and what is shown of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal import credentials
from portal.credentials import InvalidCredential
from portal.problems import Forbidden
from tests.compute.test_credentials_entra import pair

TENANT, APP = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-0000-4000-a000-000000000001"
IDS = {"tenant_id": TENANT, "client_id": APP}
SECRET = {"kind": "client_secret", **IDS, "client_secret": "s3cret~value"}


def check(given: dict[str, Any], endpoint: str = "", superuser: bool = False) -> str:
    return credentials.checked(given, arm_endpoint=endpoint, is_superuser=superuser)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "magic"}, "one of: default, static"), ({}, "one of: default, static"),
        ({"kind": "client_secret", **IDS}, "needs client_secret too"),
        ({**SECRET, "tenant_id": "contoso"}, "tenant_id must be a GUID"),
        ({**SECRET, "client_id": TENANT + "0"}, "client_id must be a GUID"),
        ({**SECRET, "client_secret": TENANT}, "the form of a secret's id"),
        ({**SECRET, "certificate": "x"}, "has no certificate"), ({**SECRET, "client_secret": 5}, "must be text"),
        ({**SECRET, "client_secret": "x" * 20_001}, "20001 characters"),
        ({"kind": "certificate", **IDS, "certificate": "no pem"}, "must be a PEM"),
        ({"kind": "certificate", **IDS, "certificate": pair()[1]}, "needs the private key too"),
        ({"kind": "certificate", **IDS, "certificate": pair(-1)[0]}, "expired on 20"),
    ],
)  # fmt: skip
def test_a_credential_that_cannot_be_right_is_refused_with_a_sentence(given, says):
    with pytest.raises(InvalidCredential, match=says) as refused:
        check(given)
    assert "s3cret" not in refused.value.detail


def test_a_key_of_another_certificate_is_refused():
    key, mine = pair()[0].split("-----BEGIN CERTIFICATE")[0], pair()[1]
    with pytest.raises(InvalidCredential, match="belongs to another certificate"):
        check({"kind": "certificate", **IDS, "certificate": key + mine})


def test_of_a_certificate_its_thumbprint_and_expiry_are_shown_and_no_key():
    text = check({"kind": "certificate", **IDS, "certificate": pair(30)[0]})
    shown = credentials.described(text)
    assert set(shown) == {"kind", "tenant_id", "client_id", "thumbprint", "expires_at"}
    assert len(shown["thumbprint"]) == 40
    assert datetime.fromisoformat(shown["expires_at"]) > datetime.now(UTC) + timedelta(days=29)


def test_a_secret_is_stored_and_never_shown():
    text = check(SECRET)
    assert json.loads(text)["client_secret"] == "s3cret~value"
    assert credentials.described(text) == {"kind": "client_secret", **IDS}


def test_a_static_token_is_for_this_machine_unless_a_superuser_gives_it():
    given = {"kind": "static", "token": "t"}
    assert check(given, "http://127.0.0.1:8080")
    assert check(given, superuser=True)
    for endpoint in ("", "https://127.0.0.1.example.com", "https://management.azure.com"):
        with pytest.raises(Forbidden, match="only a superuser"):
            check(given, endpoint)


@pytest.mark.parametrize(
    "more", [{"authority_host": "https://login.example.com"}, {"token_file_path": "/etc/passwd"}]
)  # fmt: skip
def test_an_authority_and_a_file_of_the_server_are_for_superusers(more):
    given = {"kind": "workload_identity", **more}
    with pytest.raises(Forbidden, match="Only a superuser"):
        check(given)
    assert check(given, superuser=True)


@pytest.mark.parametrize("kind", ["default", "managed_identity", "workload_identity"])
def test_only_a_superuser_lets_a_team_act_as_the_portal_itself(kind):
    with pytest.raises(Forbidden, match="acts as the portal itself"):
        check({"kind": kind})
    assert check({"kind": kind}, superuser=True)


@pytest.mark.parametrize("url", ["http://a.example", "https://a.example/tenant", "https://u:p@a.example", "a.example"])
def test_an_authority_is_an_https_origin(url):
    with pytest.raises(InvalidCredential, match="authority_host must be https"):
        check({**SECRET, "authority_host": url}, superuser=True)


def test_clouds_are_known_by_their_endpoint():
    assert credentials.cloud_of("") == "AzureCloud"
    assert credentials.cloud_of("https://management.usgovcloudapi.net/") == "AzureUSGovernment"
    assert credentials.cloud_of("https://127.0.0.1:1") == "Custom"


def test_another_cloud_keeps_the_secret_and_changes_the_authority():
    text = credentials.with_authority(check(SECRET), "https://login.microsoftonline.us")
    assert json.loads(text) == {**SECRET, "authority_host": "https://login.microsoftonline.us"}
    assert json.loads(credentials.with_authority(text, "")) == SECRET
