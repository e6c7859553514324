"""What a workspace decides about all that runs: outgoing connections, quotas, logins; both doors, and what it makes."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from deployments import actions, outgoing, registries, steps
from deployments.models import Deployment, RegistryLogin, RunRules
from deployments.types import DeploymentState
from portal.models import AuditEvent, User, Workspace
from portal.problems import Invalid
from portal.types import Role

from .conftest import client_for, member
from .test_steps import job, place, put_pod

RULES, LOGINS = "/api/v1/workspaces/vision-dev/rules/", "/api/v1/workspaces/vision-dev/registries/"
PASSWORD = "pa55~word"  # noqa: S105


@pytest.fixture
def boss(home: Workspace) -> User:
    return member(home, "boss", Role.OWNER)


def patch(who: User, body: Any) -> Any:
    return client_for(who).patch(RULES, body, format="json")


def put(who: User, server: str = "r.example.com", **more: Any) -> Any:
    return client_for(who).put(f"{LOGINS}{server}/", {"username": "robot", "password": PASSWORD, **more}, format="json")


def test_an_owner_sets_rules_and_history_tells_what_changed(boss: User) -> None:
    assert client_for(boss).get(RULES).json() == {"outgoing": "https", "allowed": [], "quota": {}}
    wish = {"outgoing": "needed", "allowed": ["10.1.0.0/16:5432", "10.1.0.0/16:5432"], "quota": {"gpus": 0, "cpu": 2.5}}
    answer = patch(boss, wish)
    assert answer.status_code == 200, answer.content
    now = {"outgoing": "needed", "allowed": ["10.1.0.0/16:5432"], "quota": {"cpu": 2.5, "gpus": 0}}
    assert answer.json() == client_for(boss).get(RULES).json() == now
    assert patch(boss, wish).status_code == 200
    (event,) = AuditEvent.objects.filter(action="rules.set")
    assert event.after == now
    assert event.before == {"outgoing": "https", "allowed": [], "quota": {}}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"outgoing": "all"}, 400, "outgoing"),
        ({"allowed": ["10.1.0.1/16"]}, 422, "10.1.0.1/16"),
        ({"allowed": ["db.example.com:5432"]}, 422, "no block of addresses"),
        ({"allowed": ["10.0.0.0/8:0"]}, 422, "port 0"),
        ({"allowed": ["169.254.169.254:80"]}, 422, "machine identities"),
        ({"allowed": [f"10.0.0.{n}" for n in range(51)]}, 422, "51 exceptions"),
        ({"quota": {"cpu": -1}}, 422, "cpu is -1.0"),
        ({"quota": {"pods": 10**7}}, 422, "from 0 to 1000000"),
        ({"quota": {"disks": 1}}, 400, "disks"),
    ],
)
def test_wrong_rules_are_refused_with_the_entry_and_change_nothing(
    boss: User, body: Any, status: int, says: str
) -> None:
    answer = patch(boss, body)
    assert (answer.status_code, says in answer.content.decode()) == (status, True), answer.content
    assert not RunRules.objects.exists()
    assert not AuditEvent.objects.filter(action="rules.set").exists()


def test_the_page_sets_the_same_and_says_the_same(boss: User, settings: Any) -> None:
    settings.ROOT_URLCONF = "portal.urls"
    client = Client()
    client.force_login(boss)
    page = "/w/vision-dev/settings/running/"
    assert (
        client.post(page, {"outgoing": "open", "allowed": "10.2.0.0/16\n", "cpu": "4", "gpus": ""}).status_code == 302
    )
    assert RunRules.objects.get().quota == {"cpu": 4}
    bad = client.post(page, {"outgoing": "open", "allowed": "nowhere"})
    assert bad.status_code == 422
    assert "&#x27;nowhere&#x27; is no block of addresses" in bad.content.decode()
    login = {"server": "r.example.com", "username": "robot", "password": PASSWORD}
    assert client.post(f"{page}registry/", login).status_code == 302
    shown = client.get(page).content.decode()
    assert "r.example.com" in shown
    assert PASSWORD not in shown
    assert "10.2.0.0/16" in shown
    assert client.post(f"{page}registry/r.example.com/remove/").status_code == 302
    assert not RegistryLogin.objects.exists()


def test_a_login_is_stored_encrypted_and_comes_out_nowhere(boss: User) -> None:
    assert put(boss).status_code == 200
    assert put(boss, username="other").status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT password FROM deployments_registrylogin")
        assert PASSWORD not in cursor.fetchone()[0]
    listed = client_for(boss).get(LOGINS).content.decode()
    events = [
        [each.action, each.before, each.after]
        for each in AuditEvent.objects.filter(action__startswith="registry").order_by("pk")
    ]
    assert [each[0] for each in events] == ["registry.added", "registry.changed"]
    assert PASSWORD not in listed + json.dumps(events)
    assert client_for(boss).delete(f"{LOGINS}r.example.com/").status_code == 204
    assert client_for(boss).delete(f"{LOGINS}r.example.com/").status_code == 404


@pytest.mark.parametrize(
    ("server", "more", "says"),
    [
        ("plain", {}, "no registry"), ("r.example.com", {"username": "a:b"}, "has a ':'"),
        ("r.example.com", {"password": "x\ny"}, "password has 3 characters"), ("-a.example", {}, "no registry"),
        ("r.example.com", {"password": "x" * 9000}, "9000 characters"),
    ],
)  # fmt: skip
def test_a_wrong_login_is_refused_without_its_password(boss: User, server: str, more: Any, says: str) -> None:
    answer = put(boss, server, **more)
    assert answer.status_code == 422, answer.content
    assert says in answer.json()["detail"]
    assert PASSWORD not in answer.content.decode()
    assert not RegistryLogin.objects.exists()


@pytest.mark.parametrize(
    ("image", "server"),
    [
        ("python:3.11", "docker.io"), ("team/image", "docker.io"), ("r.example.com/a/b:1", "r.example.com"),
        ("localhost:5000/a", "localhost:5000"), ("r.example.com:8443/a@sha256:" + "0" * 64, "r.example.com:8443"),
    ],
)  # fmt: skip
def test_the_registry_of_an_image_is_known(image: str, server: str) -> None:
    assert registries.server_of(image) == server


def test_a_pull_secret_has_the_logins_of_its_images_and_no_other() -> None:
    logins = {"r.example.com": ("u", "p"), "docker.io": ("v", "q"), "other.example.com": ("w", "r")}
    found = json.loads(registries.docker_config(logins, ["r.example.com/a:1", "python:3.11"]))["auths"]
    assert set(found) == {"r.example.com", "https://index.docker.io/v1/"}
    assert b64decode(found["r.example.com"]["auth"]) == b"u:p"
    assert registries.docker_config(logins, ["x.example.com/a"]) == '{"auths": {}}'


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("[fd00::/8]:443", "[fd00::/8]:443"),
        (" 0.0.0.0/0:25 ", "0.0.0.0/0:25"),
    ],
)
def test_an_exception_is_stored_in_one_form(given: str, stored: str) -> None:
    assert outgoing.checked("https", [given]).allowed == (stored,)


def test_what_is_decided_is_applied_with_a_deployment_and_anew_when_it_changes(
    azure: Any,
    deployment: Deployment,
    boss: User,
) -> None:
    login = place(deployment, "secrets", f"iris-{deployment.pk}-login")
    quota = place(deployment, "resourcequotas", "slipway-vision-dev")
    policy = place(deployment, "networkpolicies", group="/apis/networking.k8s.io/v1")
    steps.apply_workload(job(deployment))
    assert b64decode(azure.objects[login]["data"][".dockerconfigjson"]) == b'{"auths": {}}'
    assert quota not in azure.objects
    Deployment.objects.update(state=DeploymentState.HEALTHY)
    put(boss, "slipwaysandbox.azurecr.io")
    patch(boss, {"outgoing": "needed", "quota": {"pods": 5}})
    template = azure.objects[place(deployment, "deployments", group="/apis/apps/v1")]
    steps.observe_target(deployment.compute_target_id)
    assert PASSWORD in b64decode(azure.objects[login]["data"][".dockerconfigjson"]).decode()
    assert azure.objects[quota]["spec"]["hard"] == {"pods": "5"}
    assert 443 not in [port["port"] for rule in azure.objects[policy]["spec"]["egress"] for port in rule["ports"]]
    assert azure.objects[place(deployment, "deployments", group="/apis/apps/v1")] is template
    client_for(boss).delete(f"{LOGINS}slipwaysandbox.azurecr.io/")
    patch(boss, {"quota": {}})
    steps.observe_target(deployment.compute_target_id)
    assert b64decode(azure.objects[login]["data"][".dockerconfigjson"]) == b'{"auths": {}}'
    assert quota not in azure.objects


def test_what_the_quota_of_a_namespace_could_never_hold_is_refused_with_the_numbers(
    home: Workspace, target: Any, spec: Any, boss: User, author: User
) -> None:
    patch(boss, {"quota": {"cpu": 0.15}})
    with pytest.raises(Invalid) as caught:
        actions.deployment_create(workspace=home, target=target, name="iris", spec=spec, actor=author)
    assert caught.value.detail.startswith(
        "2 replicas ask for 0.2 vCPUs; a namespace of this workspace may ask for 0.15."
    )
    assert not Deployment.objects.exists()
    patch(boss, {"quota": {"cpu": 0.2, "gpus": 0}})
    actions.deployment_create(workspace=home, target=target, name="iris", spec=spec, actor=author)


def test_a_login_that_is_given_while_replicas_wait_for_it_reaches_them_and_they_get_time(
    azure: Any, deployment: Deployment, boss: User
) -> None:
    op = job(deployment)
    steps.apply_workload(op)
    waiting = {"reason": "ImagePullBackOff", "message": "401 Unauthorized"}
    status = {
        "name": "server",
        "image": "slipwaysandbox.azurecr.io/e",
        "restartCount": 0,
        "state": {"waiting": waiting},
    }
    put_pod(azure, deployment, "a", {"phase": "Pending", "containerStatuses": [status]})
    put(boss, "slipwaysandbox.azurecr.io")
    waited = steps.await_replicas(op)
    assert waited is not None
    held = azure.objects[place(deployment, "secrets", f"iris-{deployment.pk}-login")]["data"]
    assert PASSWORD in b64decode(held[".dockerconfigjson"]).decode()
    op.memo["renewed_at"] -= 331
    op.memo["_why"]["at"] -= 10
    op.memo["_why"]["since"] -= 1000
    with pytest.raises(steps.DeploymentFailed):
        steps.await_replicas(op)


def test_the_namespace_of_others_is_left_as_it_is(azure: Any, deployment: Deployment) -> None:
    theirs = {"metadata": {"name": deployment.namespace, "labels": {"team": "theirs"}}}
    azure.objects[f"/api/v1/namespaces/{deployment.namespace}"] = theirs
    steps.apply_workload(job(deployment))
    assert azure.objects[f"/api/v1/namespaces/{deployment.namespace}"] == theirs
    assert place(deployment, "deployments", group="/apis/apps/v1") in azure.objects
