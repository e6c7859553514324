"""A workspace's settings over REST and on their page: who changes what, and that no secret comes out anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from portal.models import AuditEvent, User, Workspace
from tests import factories

TENANT, APP = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-0000-4000-a000-000000000001"
IDS = {"tenant_id": TENANT, "client_id": APP}
SECRET = {"kind": "client_secret", **IDS, "client_secret": "s3cret~value"}
URL = "/api/v1/workspaces/lab/"


@pytest.fixture
def boss(workspace: Workspace, owner: User) -> User:
    """An Owner who is a superuser too."""
    owner.is_superuser = True
    owner.save()
    return owner


def patch(who: User, body: Any) -> Any:
    return factories.client(who).patch(URL, body, format="json")


def stored() -> dict[str, Any]:
    return dict(json.loads(Workspace.objects.get(slug="lab").arm_credential))


def test_an_owner_gives_a_secret_which_is_stored_encrypted_and_never_comes_out(workspace, owner):
    answer = patch(owner, {"credential": SECRET, "region": "northeurope", "registry": "labregistry"})
    assert answer.status_code == 200, answer.content
    body = answer.json()
    assert body["credential"] == {"kind": "client_secret", **IDS}
    assert (body["region"], body["registry"], body["cloud"]) == ("northeurope", "labregistry", "AzureCloud")
    assert stored()["client_secret"] == "s3cret~value"
    with connection.cursor() as cursor:
        cursor.execute("SELECT arm_credential FROM portal_workspace")
        assert "s3cret" not in cursor.fetchone()[0]
    said = [
        answer.content,
        factories.client(owner).get(URL).content,
        factories.client(owner).get(URL + "audit/").content,
    ]
    assert all(b"s3cret" not in each for each in said)


def test_history_tells_what_changed_without_the_secret(workspace, owner):
    patch(owner, {"credential": SECRET, "name": "Lab two"})
    patch(owner, {"credential": {**SECRET, "client_secret": "s3cret~two"}})
    first, second = AuditEvent.objects.filter(action="workspace.updated").order_by("pk")
    assert first.before == {"credential": {"kind": "default"}, "name": "lab"}
    assert first.after == {"credential": {"kind": "client_secret", **IDS}, "name": "Lab two"}
    assert second.after == {"credential": {"kind": "client_secret", **IDS}}
    assert "s3cret" not in json.dumps([first.after, second.after, second.before])


def test_an_owner_says_how_long_and_how_much_is_collected_over_rest_and_on_the_page(client, workspace, owner):
    assert patch(owner, {"collection": {"days": 7}}).json()["collection"] == {"days": 7, "daily_mib": 100}
    client.force_login(owner)
    form = {
        "name": "lab",
        "region": "westeurope",
        "registry": "",
        "collection_days": "9",
        "collection_daily_mib": "250",
    }
    assert client.post(PAGE, form).status_code == 302
    assert patch(owner, {}).json()["collection"] == {"days": 9, "daily_mib": 250}
    first, second = AuditEvent.objects.filter(action="workspace.updated").order_by("pk")
    assert first.after == {"collection": {"days": 7, "daily_mib": 100}}
    assert (second.before, second.after) == (first.after, {"collection": {"days": 9, "daily_mib": 250}})
    refused = client.post(PAGE, {**form, "collection_days": "0"})
    assert (refused.status_code, "collection.days" in refused.content.decode()) == (400, True)


def test_what_changes_nothing_leaves_no_line(workspace, owner):
    assert patch(owner, {"name": "lab", "region": workspace.region}).status_code == 200
    assert not AuditEvent.objects.filter(action="workspace.updated").exists()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"credential": {**SECRET, "tenant_id": "x"}}, 422, "tenant_id must be a GUID"),
        ({"credential": {"kind": "magic", "client_secret": "s3cret"}}, 400, "kind"),
        ({"credential": {**SECRET, "password": "s3cret"}}, 400, "Unknown"),
        ({"region": "West Europe"}, 400, "region"), ({"registry": "a b"}, 400, "registry"),
        ({"subscription_id": TENANT}, 400, "Unknown: subscription_id"),
        ({"credential": {"kind": "static", "token": "s3cret"}}, 403, "only a superuser"),
        ({"credential": {**SECRET, "authority_host": "https://example.com"}}, 403, "authority_host"),
        ({"credential": {"kind": "workload_identity", "token_file_path": "/etc/passwd"}}, 403, "token_file_path"),
        ({"arm_endpoint": "https://example.com"}, 403, "Only a superuser may set arm_endpoint"),
        ({"arm_ca_file": "/etc/passwd"}, 403, "arm_ca_file"), ({"cloud": "AzureChinaCloud"}, 403, "cloud"),
        ({"authority_host": "https://example.com"}, 403, "authority_host"),
        ({"collection": {"days": 0}}, 400, "collection.days: Ensure this value is greater than or equal to 1."),
        ({"collection": {"daily_mib": 102_401}}, 400, "collection.daily_mib"),
        ({"collection": {"weeks": 1}}, 400, "collection.weeks: Unknown"),
    ],
)  # fmt: skip
def test_what_an_owner_may_not_set_is_refused_with_a_sentence_and_nothing_changes(workspace, owner, body, status, says):
    before = Workspace.objects.values().get(slug="lab")
    answer = patch(owner, body)
    assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.content
    assert b"s3cret" not in answer.content
    assert Workspace.objects.values().get(slug="lab") == before
    assert not AuditEvent.objects.filter(action="workspace.updated").exists()


def test_a_superuser_chooses_another_cloud_and_an_owners_next_secret_keeps_its_authority(workspace, boss):
    assert patch(boss, {"cloud": "AzureUSGovernment", "credential": SECRET}).status_code == 200
    assert stored()["authority_host"] == "https://login.microsoftonline.us"
    boss.is_superuser = False
    boss.save()
    body = patch(boss, {"credential": {**SECRET, "client_secret": "next~one"}}).json()
    assert (body["cloud"], body["arm_endpoint"]) == ("AzureUSGovernment", "https://management.usgovcloudapi.net")
    assert (stored()["client_secret"], stored()["authority_host"]) == ("next~one", "https://login.microsoftonline.us")


def test_a_custom_authority_outlives_a_change_of_kind(workspace, boss, settings):
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    body = {
        "arm_endpoint": "https://127.0.0.1:8443",
        "credential": {**SECRET, "authority_host": "https://127.0.0.1:8443"},
    }
    assert patch(boss, body).status_code == 200
    boss.is_superuser = False
    boss.save()
    assert patch(boss, {"credential": {"kind": "static", "token": "t"}}).status_code == 200
    assert patch(boss, {"credential": SECRET}).status_code == 200
    assert stored()["authority_host"] == "https://127.0.0.1:8443"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"arm_endpoint": "http://93.184.216.34"}, "http is for this machine only"),
        ({"arm_endpoint": "https://169.254.169.254"}, "an address inside a network"),
        ({"authority_host": "https://10.0.0.1"}, "an address inside a network"),
        ({"authority_host": "http://127.0.0.1"}, "https"), ({"arm_ca_file": "/nowhere/ca.pem"}, "There is no file"),
    ],
)  # fmt: skip
def test_outbound_rules_hold_for_superusers_too(workspace, boss, settings, body, says):
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    answer = patch(boss, body)
    assert (answer.status_code, says in answer.json()["detail"]) == (422, True), answer.content


def test_others_than_owners_see_no_settings_of_azure(workspace, operator):
    body = factories.client(operator).get(URL).json()
    assert set(body) == {"slug", "name", "team", "subscription_id", "resource_group", "region", "your_role"}


def test_the_connection_test_of_a_workspace_that_reaches_nothing_says_so(workspace, owner, settings):
    settings.OUTBOUND_ALLOW = []
    Workspace.objects.update(arm_endpoint="https://127.0.0.1:9", arm_credential='{"kind": "static", "token": "s3cret"}')
    answer = factories.client(owner).post(URL + "azure/test/")
    (found,) = answer.json()["findings"]
    assert (answer.status_code, answer.json()["passes"], found["code"]) == (200, False, "address_refused")
    assert APIClient().post(URL + "azure/test/").status_code == 401


PAGE = "/w/lab/settings/azure/"


def test_the_page_saves_a_secret_and_shows_none(client, workspace, owner):
    client.force_login(owner)
    form = {"name": "Lab two", "region": "westeurope", "registry": "", **SECRET}
    assert client.post(PAGE, form).status_code == 302
    page = client.get(PAGE).content.decode()
    assert (stored()["client_secret"], "s3cret" in page, APP in page, "Lab two" in page) == (
        "s3cret~value", False, True, True,
    )  # fmt: skip
    assert "ARM endpoint" not in page


def test_a_refused_form_keeps_what_was_typed_but_no_secret(client, workspace, owner):
    client.force_login(owner)
    form = {"name": "lab", "region": "westeurope", **SECRET, "token": "", "tenant_id": "wrong-tenant"}
    answer = client.post(PAGE, form)
    page = answer.content.decode()
    assert (answer.status_code, "tenant_id must be a GUID" in page, "wrong-tenant" in page) == (422, True, True)
    assert "s3cret" not in page


def test_a_superuser_changes_the_cloud_on_the_page(client, workspace, boss):
    client.force_login(boss)
    assert client.post(PAGE, {"name": "lab", "region": "westeurope", "cloud": "AzureChinaCloud"}).status_code == 302
    assert Workspace.objects.get(slug="lab").arm_endpoint == "https://management.chinacloudapi.cn"


def test_the_page_shows_what_a_test_of_the_connection_found(client, workspace, owner, settings):
    client.force_login(owner)
    settings.OUTBOUND_ALLOW = []
    Workspace.objects.update(arm_endpoint="https://127.0.0.1:9", arm_credential='{"kind": "static", "token": "t"}')
    assert "an address inside a network" in client.post(PAGE + "test/").content.decode()
