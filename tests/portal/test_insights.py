"""The connection to Application Insights: what is taken, who gives it, and that its key comes out nowhere."""

from __future__ import annotations

import pytest
from django.db import connection

from portal import insights
from portal.models import AuditEvent, Workspace
from tests import factories

KEY = "0a1b2c3d-1111-4222-8333-44445555beef"
PLACE = "https://westeurope-5.in.applicationinsights.azure.com/"
WHOLE = (
    f"InstrumentationKey={KEY};IngestionEndpoint={PLACE};LiveEndpoint=https://westeurope.livediagnostics.monitor.azure"
    ".com/;ApplicationId=99999999-2222-3333-4444-555555555555"
)
URL = "/api/v1/workspaces/lab/"
PAGE = "/w/lab/settings/azure/"


def patch(who, value):
    return factories.client(who).patch(URL, {"app_insights": value}, format="json")


def test_what_azure_shows_is_taken_and_kept_as_replicas_can_read_it():
    kept = insights.checked(f" {WHOLE}; ")
    assert (
        kept
        == f"InstrumentationKey={KEY};IngestionEndpoint={PLACE};LiveEndpoint=https://westeurope.livediagnostics.monitor.azure.com/"
    )
    assert insights.key_of(kept) == KEY
    assert insights.described(kept) == {"key": "…beef", "endpoint": PLACE}
    assert insights.described("") is None
    assert insights.checked(f"instrumentationkey={KEY.upper()};ingestionendpoint={PLACE}").count(KEY) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (KEY, "none of InstrumentationKey"),
        (f"InstrumentationKey={KEY}", "has no IngestionEndpoint"),
        (f"IngestionEndpoint={PLACE}", "has no InstrumentationKey"),
        (f"InstrumentationKey=beef;IngestionEndpoint={PLACE}", "is no GUID"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=http://a.example/", "must be https"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://u:p@a.example/", "must be https"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://a.example/v2/track", "nothing behind it"),
        (f"InstrumentationKey={KEY};IngestionEndpoint=https://a.example:x/", "is no address"),
        (f"InstrumentationKey={KEY};InstrumentationKey={KEY};IngestionEndpoint={PLACE}", "twice"),
        (f"{WHOLE};Authorization=aad", "none of"),
        ("x" * 1001, "1001 characters"),
    ],
)
def test_what_cannot_be_right_is_refused_with_what_would_pass_and_without_the_key(given, words, workspace, owner):
    answer = patch(owner, given)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_app_insights")
    assert words in answer.json()["detail"]
    assert KEY not in answer.content.decode()
    assert Workspace.objects.get().app_insights == ""


def test_it_is_stored_encrypted_and_only_the_end_of_its_key_comes_out(workspace, owner, client):
    body = patch(owner, WHOLE).json()
    assert body["app_insights"] == {"key": "…beef", "endpoint": PLACE}
    assert KEY in Workspace.objects.get().app_insights
    with connection.cursor() as cursor:
        cursor.execute("SELECT app_insights FROM portal_workspace")
        assert "nstrumentation" not in cursor.fetchone()[0]
    client.force_login(owner)
    page = client.get(PAGE).content.decode()
    assert "…beef" in page
    assert PLACE in page
    rest = factories.client(owner)
    said = [page, *(rest.get(URL + path).content.decode() for path in ("", "audit/", "operations/"))]
    assert all(KEY not in each for each in said)
    event = AuditEvent.objects.get(action="workspace.updated")
    assert event.before == {"app_insights": None}
    assert event.after == {"app_insights": {"key": "…beef", "endpoint": PLACE}}


def test_another_key_with_the_same_end_is_in_the_history_too_and_the_same_again_is_not(workspace, owner):
    patch(owner, WHOLE)
    patch(owner, WHOLE)
    patch(owner, WHOLE.replace(KEY, KEY.replace("0a1b", "ffff")))
    assert AuditEvent.objects.filter(action="workspace.updated").count() == 2


def test_on_the_page_empty_keeps_it_a_new_one_replaces_it_and_a_tick_removes_it(workspace, owner, client):
    client.force_login(owner)
    form = {"name": "lab", "region": "westeurope", "registry": ""}
    assert client.post(PAGE, form | {"app_insights": WHOLE}).status_code == 302
    client.post(PAGE, form)
    assert insights.key_of(Workspace.objects.get().app_insights) == KEY
    wrong = client.post(PAGE, form | {"app_insights": f"InstrumentationKey={KEY}"})
    assert "has no IngestionEndpoint" in wrong.content.decode()
    assert KEY not in wrong.content.decode()
    client.post(PAGE, form | {"app_insights_off": "on"})
    assert Workspace.objects.get().app_insights == ""


def test_only_owners_see_or_change_it(workspace, owner, operator):
    patch(owner, WHOLE)
    assert patch(operator, "").status_code == 403
    assert "app_insights" not in factories.client(operator).get(URL).json()
