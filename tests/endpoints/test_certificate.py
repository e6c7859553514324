"""The certificate that callers are shown: who may change it, what is refused, what is told before it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from compute import certificates
from compute.models import ComputeTarget
from endpoints import actions, issuing, queries
from endpoints.models import Endpoint, Gateway
from endpoints.steps import entrance, install
from endpoints.types import GatewayState
from portal.models import AuditEvent, Operation, User, Workspace
from portal.types import OperationKind, OperationState
from tests.endpoints.make import Caller, make_target

pytestmark = pytest.mark.django_db
HOST = "score.example.com"
AUTHORITY = certificates.make(["authority.example"], timezone.now(), 1000)


@pytest.fixture
def target(workspace: Workspace) -> ComputeTarget:
    return make_target(workspace, "aks", node_count=3)


@pytest.fixture
def gateway(target: ComputeTarget) -> Gateway:
    """One with a certificate signed by itself, at 10.0.0.9."""
    names = issuing.names_of(target, "10.0.0.9")
    certificate, key = issuing.pair(names, timezone.now())
    return Gateway.objects.create(
        compute_target=target, state=GatewayState.READY, address="10.0.0.9", probe_secret="s",
        tls_certificate=certificate, tls_key=key, tls_names=names,
    )  # fmt: skip


@pytest.fixture
def issuer(settings: Any) -> None:
    settings.TLS_ISSUER_CERTIFICATE, settings.TLS_ISSUER_KEY = AUTHORITY


@pytest.fixture
def us(client_of: Callable[[User], APIClient], operator: User, workspace: Workspace) -> Caller:
    return Caller(client_of(operator), workspace)


def pair(host: str = HOST, days: int = 90, now: datetime | None = None) -> dict[str, str]:
    certificate, key = certificates.make([host], now or timezone.now(), days, certificates.Issuer(*AUTHORITY))
    return {"certificate": certificate, "key": key}


def over() -> dict[str, str]:
    certificate, key = certificates.make([HOST], timezone.now() - timedelta(20), 10)
    return {"certificate": certificate, "key": key}


PATH = "compute-targets/aks/gateway/"


def replace(us: Caller, **body: Any) -> Any:
    return us.post(f"{PATH}certificate/", body)


def finish() -> None:
    Operation.objects.update(state=OperationState.SUCCEEDED)


def test_an_own_certificate_is_stored_encrypted_and_its_key_is_told_nowhere(us: Caller, gateway: Gateway) -> None:
    given = pair()
    answer = replace(us, **given, cname=HOST)
    assert answer.status_code == 202, answer.content
    target = ComputeTarget.objects.get()
    assert (target.tls_certificate, target.tls_key) == (given["certificate"], given["key"])
    op, line = Operation.objects.get(), AuditEvent.objects.get(action="gateway.certificate_set")
    assert (op.kind, op.input) == (OperationKind.GATEWAY_UPDATE, {"target_id": target.pk})
    assert line.after["names"] == [HOST]
    assert line.before["names"] == ["aks.slipway.internal", "10.0.0.9"]
    secret = given["key"].splitlines()[1]
    shown = us.get(PATH)
    assert secret not in json.dumps([line.after, line.before, op.input, shown.json(), answer.json()])
    row = ComputeTarget.objects.raw("SELECT id, tls_key AS stored FROM compute_computetarget")[0]
    assert secret not in row.stored


def test_rest_shows_source_names_days_and_whether_it_was_seen(us: Caller, gateway: Gateway) -> None:
    shown = us.get(PATH).json()
    assert (shown["state"], shown["address"], shown["host"], shown["replicas"]) == ("Ready", "10.0.0.9", "", 1)
    assert (shown["certificate"]["made_by"], shown["certificate"]["is_seen"]) == ("itself", False)
    replace(us, **pair(), cname=HOST)
    shown = us.get(PATH).json()
    assert (shown["host"], shown["certificate"]["made_by"]) == (HOST, "owner")
    assert shown["certificate"]["days_left"] in (89, 90)
    fingerprint = shown["certificate"]["fingerprint"]
    Gateway.objects.update(tls_seen={"fingerprint": fingerprint})
    assert us.get(PATH).json()["certificate"]["is_seen"]


def test_a_target_without_tls_gets_https_addresses_and_keeps_its_plain_door(us: Caller, gateway: Gateway) -> None:
    Endpoint.objects.create(
        workspace=gateway.compute_target.workspace, compute_target=gateway.compute_target, name="iris"
    )
    replace(us, **pair(), cname=HOST)
    row = Gateway.objects.select_related("compute_target__workspace__team").get()
    assert not queries.is_https_only(row.compute_target)
    install.note_entrance(row, entrance.Entrance(row.address, 80, 443))
    assert Endpoint.objects.get().scoring_uri == f"https://{HOST}/api/v1/service/iris/score"


def test_a_target_with_tls_from_the_start_has_no_plain_door_before_and_after(us: Caller, target: ComputeTarget) -> None:
    ComputeTarget.objects.update(config={"tls": {"mode": "generated", "cname": HOST, "leaf_domain": ""}})
    replace(us, **pair())
    target.refresh_from_db()
    assert target.config["tls"] == {"mode": "own", "cname": HOST, "leaf_domain": ""}
    assert queries.is_https_only(target)
    assert us.get(PATH).json()["http_port"] is None


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        (lambda: over(), 422, "ended on"),
        (lambda: {**pair(), "key": pair()["key"]}, 422, "does not belong"),
        (lambda: {**pair(), "cname": "other.example.com"}, 422, "is for score.example.com; clients call other"),
        (lambda: {**pair(), "cname": "not a name"}, 422, "not a domain name"),
        (lambda: {"certificate": pair()["certificate"]}, 400, "certificate and key"),
        (dict, 400, "made: true"),
        (lambda: {**pair(), "made": True}, 400, "not both"),
        (lambda: {"made": "perhaps"}, 400, "made"),
    ],
)
def test_what_cannot_be_is_refused_in_words_and_nothing_changes(
    us: Caller, gateway: Gateway, given: Callable[[], dict[str, Any]], status: int, words: str
) -> None:
    before = ComputeTarget.objects.values().get()
    answer = replace(us, **given())
    assert answer.status_code == status
    assert words in json.dumps(answer.json())
    assert ComputeTarget.objects.values().get() == before
    assert not Operation.objects.exists()
    assert not AuditEvent.objects.filter(action__startswith="gateway").exists()


def test_a_busy_target_and_one_that_does_not_run_are_refused(us: Caller, target: ComputeTarget) -> None:
    assert replace(us, **pair(), cname=HOST).status_code == 202
    answer = replace(us, made=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "operation_running")
    finish()
    ComputeTarget.objects.update(state="Missing")
    answer = replace(us, made=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_certificate_now")


def test_a_made_certificate_takes_the_place_of_an_own_one(us: Caller, gateway: Gateway, issuer: None) -> None:
    replace(us, **pair(), cname=HOST)
    finish()
    assert replace(us, made=True).status_code == 202
    shown = us.get(PATH).json()["certificate"]
    assert (shown["made_by"], shown["issuer"]) == ("issuer", "CN=authority.example")
    assert shown["names"] == ["aks.slipway.internal", HOST, "10.0.0.9"]
    assert ComputeTarget.objects.get().tls_key == ""
    assert AuditEvent.objects.filter(action="gateway.certificate_made").count() == 1


def test_an_issuer_that_is_over_is_a_sentence_and_changes_nothing(
    us: Caller, gateway: Gateway, issuer: None, settings: Any
) -> None:
    over = certificates.make(["authority.example"], timezone.now() - timedelta(20), 10)
    settings.TLS_ISSUER_CERTIFICATE, settings.TLS_ISSUER_KEY = over
    answer = replace(us, made=True)
    assert (answer.status_code, answer.json()["code"]) == (422, "issuer_unusable")
    assert "ended on" in answer.json()["detail"]
    gateway.refresh_from_db()
    assert certificates.facts(gateway.tls_certificate).issuer == "CN=aks.slipway.internal"


def test_an_own_certificate_is_warned_about_once_at_30_14_and_3_days(
    us: Caller, gateway: Gateway, client: Client, operator: User
) -> None:
    replace(us, **pair(), cname=HOST)
    finish()
    begun, lines = timezone.now(), []
    for day in (10, 59, 61, 62, 77, 78, 88, 89):
        with time_machine.travel(begun + timedelta(day), tick=False):
            actions.certificates_watch()
            actions.certificates_watch()
        lines.append(AuditEvent.objects.filter(action="gateway.certificate_ends").count())
    assert lines == [0, 0, 1, 1, 2, 2, 3, 3]
    gateway.refresh_from_db()
    assert f"The certificate for {HOST} ends on" in gateway.tls_note
    client.force_login(operator)
    for path in ("/w/lab/", "/w/lab/compute/aks/", "/w/lab/compute/aks/gateway/"):
        assert f"The certificate for {HOST} ends on" in client.get(path).content.decode(), path


def test_a_new_certificate_takes_the_warning_away(us: Caller, gateway: Gateway) -> None:
    replace(us, **pair(days=13), cname=HOST)
    finish()
    actions.certificates_watch()
    gateway.refresh_from_db()
    assert "in 12 days" in gateway.tls_note or "in 13 days" in gateway.tls_note
    replace(us, **pair(days=90), cname=HOST)
    actions.certificates_watch()
    gateway.refresh_from_db()
    assert gateway.tls_note == ""


def test_a_made_certificate_is_made_anew_by_beat_before_it_ends(
    target: ComputeTarget, issuer: None, settings: Any
) -> None:
    settings.TLS_DAYS = 30
    names = issuing.names_of(target, "10.0.0.9")
    certificate, key = issuing.pair(names, timezone.now())
    row = Gateway.objects.create(
        compute_target=target, probe_secret="s", tls_certificate=certificate, tls_key=key, tls_names=names,
        address="10.0.0.9",
    )  # fmt: skip
    begun = timezone.now()
    with time_machine.travel(begun + timedelta(19), tick=False):
        actions.certificates_watch()
    assert not Operation.objects.exists()
    with time_machine.travel(begun + timedelta(21), tick=False):
        actions.certificates_watch()
        actions.certificates_watch()
    row.refresh_from_db()
    assert (certificates.facts(row.tls_certificate).ends_at - begun).days in (50, 51)
    line = AuditEvent.objects.get(action="gateway.certificate_renewed")
    assert (line.actor_name, Operation.objects.count(), row.tls_note) == ("portal", 1, "")


def test_a_renewal_that_fails_is_told_with_its_reason(gateway: Gateway, issuer: None, settings: Any) -> None:
    settings.TLS_ISSUER_KEY = "nothing"
    old = certificates.make(["aks.slipway.internal"], timezone.now() - timedelta(28), 30)
    Gateway.objects.update(tls_certificate=old[0], tls_key=old[1])
    actions.certificates_watch()
    gateway.refresh_from_db()
    assert "in 1 days, and was not made anew: The key is not PEM" in gateway.tls_note


def test_the_page_replaces_it_and_says_what_is_wrong_without_the_key(
    client: Client, operator: User, gateway: Gateway
) -> None:
    client.force_login(operator)
    path, given = "/w/lab/compute/aks/gateway/certificate/", pair()
    answer = client.post(path, {**given, "cname": "other.example.com"})
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "clients call other.example.com" in text
    assert given["key"].splitlines()[1] not in text
    assert client.post(path, {**given, "cname": HOST}).status_code == 302
    assert ComputeTarget.objects.get().tls_certificate.strip() == given["certificate"].strip()
    finish()
    assert client.post(path, {"made": "on"}).status_code == 302
    assert ComputeTarget.objects.get().tls_certificate == ""


def test_before_the_first_service_the_page_says_that_it_brings_the_certificate(
    client: Client, operator: User, target: ComputeTarget
) -> None:
    client.force_login(operator)
    assert "The gateway comes with the first service" in client.get("/w/lab/compute/aks/gateway/").content.decode()
