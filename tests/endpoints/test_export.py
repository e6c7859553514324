"""Exports: who gets what, and that the text is what the portal applies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from django.test import Client
from rest_framework.test import APIClient

from deployments import manifests
from deployments import queries as deployments
from deployments.steps.workload import view_of
from endpoints import export, gateway
from endpoints.models import Endpoint, Gateway
from endpoints.steps import picture
from portal.models import AuditEvent, User, Workspace
from tests.endpoints.make import Caller, make_environment, make_target, make_version

ClientOf = Callable[[User], APIClient]
KEY = "scoring-key-of-the-test"


@pytest.fixture
def endpoint(workspace: Workspace) -> Endpoint:
    target = make_target(workspace, "aks", observed={"nodes": []})
    made = Endpoint.objects.create(workspace=workspace, compute_target=target, name="iris", kind="Endpoint")
    make_version(made, "v1", is_default=True, numReplicas=2)
    make_version(made, "v2")
    made.keys.create(slot="primary", value=KEY, fingerprint="x")
    return made


@pytest.fixture
def gateway_row(endpoint: Endpoint) -> Gateway:
    return Gateway.objects.create(
        compute_target=endpoint.compute_target, installed="x", probe_secret="probe-secret", tls_certificate="CERT",
        tls_key="TLS KEY", revision=7,
    )  # fmt: skip


def documents(text: str) -> list[Any]:
    return list(yaml.safe_load_all(text))


def wanted(endpoint: Endpoint) -> list[Any]:
    found: list[Any] = []
    for row in endpoint.versions.order_by("pk"):
        revision = deployments.revision_of(deployment=row.deployment, number=1)
        built = manifests.build(view_of(row.deployment, revision, ""))
        found += [item for item in built if item["kind"] != "Secret" and item not in found]
    return found


def test_a_readers_export_is_what_the_builders_make_less_the_secrets(
    endpoint: Endpoint, reader: User, client_of: ClientOf
) -> None:
    answer = Caller(client_of(reader), endpoint.workspace).get("endpoints/iris/export/")
    assert answer.status_code == 200
    assert documents(answer.json()["yaml"]) == wanted(endpoint)
    names = [manifests.workload_name(row.deployment) for row in endpoint.versions.order_by("pk")]
    assert {f"ws-a/{name}" for name in names} <= set(answer.json()["left_out"])
    assert all(f"Secret ws-a/{name}." in answer.json()["yaml"] for name in names)


def test_the_file_itself_is_had_by_its_format(endpoint: Endpoint, reader: User, client_of: ClientOf) -> None:
    caller = Caller(client_of(reader), endpoint.workspace)
    answer = caller.client.get(f"{caller.root}endpoints/iris/export/?format=yaml")
    assert answer["Content-Type"].startswith("application/yaml")
    assert documents(answer.content.decode()) == wanted(endpoint)
    refused = caller.client.get(f"{caller.root}endpoints/none/export/?format=yaml")
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_secrets_need_a_contributor_and_a_stranger_finds_nothing(
    endpoint: Endpoint, reader: User, stranger: User, client_of: ClientOf
) -> None:
    path = f"/api/v1/workspaces/{endpoint.workspace.slug}/endpoints/iris/export/"
    assert client_of(reader).get(path + "?secrets=true").status_code == 403
    assert client_of(stranger).get(path).status_code == 404
    assert client_of(reader).get(path + "?secrets=maybe").status_code == 400
    assert not AuditEvent.objects.filter(action="export.revealed").exists()


def test_a_version_that_waits_for_its_image_cannot_be_exported_and_says_why(
    endpoint: Endpoint, reader: User, client_of: ClientOf
) -> None:
    make_environment(endpoint.workspace)
    type(make_environment(endpoint.workspace)).objects.update(image="")
    answer = Caller(client_of(reader), endpoint.workspace).get("endpoints/iris/export/")
    assert answer.status_code == 409
    assert "waits for its environment sk:1" in answer.json()["detail"]


def test_a_gateways_export_is_what_is_installed_and_published(
    gateway_row: Gateway, reader: User, operator: User, contributor: User, client_of: ClientOf
) -> None:
    path = f"/api/v1/workspaces/{gateway_row.compute_target.workspace.slug}/compute-targets/aks/gateway/export/"
    view = picture.draw(gateway_row)
    built = gateway.install(view, gateway.build(view, 7, {}))
    answer = client_of(reader).get(path)
    assert documents(answer.json()["yaml"]) == [item for item in built if item["kind"] != "Secret"]
    assert not [word for word in ("TLS KEY", KEY, "probe-secret") if word in answer.json()["yaml"]]
    assert client_of(contributor).get(path + "?secrets=true").status_code == 403
    full = client_of(operator).get(path + "?secrets=true")
    assert documents(full.json()["yaml"]) == built
    assert full["Cache-Control"] == "no-store"
    (line,) = AuditEvent.objects.filter(action="export.revealed")
    assert (line.actor_name, line.target_name) == (operator.username, "aks")


def test_a_target_without_a_gateway_says_when_one_comes(endpoint: Endpoint, reader: User, client_of: ClientOf) -> None:
    answer = Caller(client_of(reader), endpoint.workspace).get("compute-targets/aks/gateway/export/")
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing_to_export")


def test_the_pages_show_the_text_and_give_the_file(
    endpoint: Endpoint, gateway_row: Gateway, reader: User, operator: User, client: Client
) -> None:
    slug = endpoint.workspace.slug
    client.force_login(reader)
    for path in (f"/w/{slug}/endpoints/iris/export/", f"/w/{slug}/compute/aks/gateway/export/"):
        page = client.get(path).content.decode()
        assert "kubectl diff --server-side --field-manager=slipway" in page
        assert "Download with secrets" not in page
        file = client.get(path + "?download=1")
        assert 'attachment; filename="' in file["Content-Disposition"]
        assert documents(file.content.decode())[0]["kind"] == "Namespace"
        assert client.post(path).status_code == 403
    client.force_login(operator)
    file = client.post(f"/w/{slug}/compute/aks/gateway/export/")
    assert file["Cache-Control"] == "no-store"
    assert [item["kind"] for item in documents(file.content.decode())].count("Secret") == 1
    assert AuditEvent.objects.filter(action="export.revealed").count() == 1


@pytest.mark.parametrize(
    "text", ["1e3", "0x1F", "1_000", "12:30", "on", "NO", "~", "null", ".5", "-", "a: b", "é", "#x"]
)
def test_texts_that_yaml_could_read_as_something_else_stay_texts(text: str) -> None:
    obj = {"kind": "ConfigMap", "data": {"value": text, "program": f"if x:\n    print('{text}')\n"}}
    written = export._text([obj])
    assert documents(written) == [obj]
    assert f"value: {text}\n" not in written or text in ("é",)
