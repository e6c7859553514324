"""What others change in a cluster is seen, told with their names, and put back only when somebody asks: with the real
kubectl against the sandbox's API server. Exports applied by hand change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.test import APIClient

from compute import queries as compute
from compute.models import ComputeTarget
from deployments import manifests
from deployments import steps as deployments
from deployments.models import Deployment
from endpoints import actions, export
from endpoints.models import Endpoint, EndpointVersion, Gateway
from endpoints.steps import install, publish, watch
from portal.models import AuditEvent, Operation, User, Workspace
from portal.types import OperationKind, OperationState
from tests import kept
from tests.endpoints.cloud import TOKEN, Kubectl, arm, sandbox
from tests.endpoints.keeps import blue, workspace
from tests.endpoints.make import Caller, make_target, make_version
from tests.sandbox.kube.conftest import CLUSTER, Server

__all__ = ["blue", "workspace"]
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]
ClientOf = Callable[[User], APIClient]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sandbox(tmp_path_factory.mktemp("kube")) as found:
        yield found


@pytest.fixture(scope="module")
def kubectl(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    return Kubectl(server, tmp_path_factory.mktemp("kubectl"))


@pytest.fixture
def target(server: Server, workspace: Workspace, settings: Any) -> Iterator[ComputeTarget]:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    with arm(server.kube.kubeconfig(CLUSTER, "clusterUser", server.url)) as url:
        workspace.arm_endpoint, workspace.arm_credential = url, json.dumps({"kind": "static", "token": TOKEN})
        workspace.save()
        facts = {"nodes": [], "power_state": "Running"}
        kept.once("aks of drift", lambda: make_target(workspace, "aks", observed=facts))
        made = ComputeTarget.objects.get(name="aks")
        yield made
        compute.forget_cluster(made)


@pytest.fixture
def endpoint(target: ComputeTarget, server: Server) -> Endpoint:
    """An endpoint with a version of two replicas and one that is autoscaled, as applied; and its gateway."""
    there = SimpleNamespace(objects=server.store._objects)
    kept.once("all of drift", lambda: put(target), there)
    server.store._objects = there.objects
    return Endpoint.objects.get(name="iris")


def put(target: ComputeTarget) -> None:
    made = Endpoint.objects.create(workspace=target.workspace, compute_target=target, name="iris", kind="Endpoint")
    cpu = {"containerResourceRequirements": {"cpu": 1, "memoryInGB": 1}}  # quantities that the server writes anew
    for name, config in (("v1", {"numReplicas": 2, **cpu}), ("v2", {})):
        deployments.put_back(Operation(), make_version(made, name, is_default=name == "v1", **config).deployment)
    op = Operation(kind=OperationKind.GATEWAY_PUT_BACK, input={"target_id": target.pk})
    assert install.put_back_gateway(op) is None


def version(endpoint: Endpoint, name: str = "v1") -> Deployment:
    return EndpointVersion.objects.get(endpoint=endpoint, name=name).deployment


def place(endpoint: Endpoint, name: str = "v1") -> tuple[str, str, str]:
    """Where kubectl finds a version's Deployment."""
    return "-n", "ws-a", f"deployment/{manifests.workload_name(version(endpoint, name))}"


def seen(endpoint: Endpoint, name: str = "v1") -> dict[str, str]:
    """Look, and tell code -> message of what differs."""
    watch.watch_target(endpoint.compute_target_id)
    return {row["code"]: row["message"] for row in version(endpoint, name).drift}


def gateway_of(endpoint: Endpoint) -> Gateway:
    watch.watch_target(endpoint.compute_target_id)
    return Gateway.objects.select_related("compute_target__workspace").get(compute_target=endpoint.compute_target)


def done(run: Any) -> None:
    assert run.returncode == 0, run.stderr


def write(folder: Path, found: export.Export) -> str:
    (folder / found.name).write_text(found.yaml)
    return str(folder / found.name)


def test_an_export_applied_by_hand_changes_nothing_and_kubectl_diff_is_empty(
    endpoint: Endpoint, kubectl: Kubectl, tmp_path: Path
) -> None:
    parts = [export.of_endpoint, lambda on, **more: export.of_gateway(on.compute_target, **more)]
    for part in parts:
        for is_secret in (False, True):
            file = write(tmp_path, part(endpoint, with_secrets=is_secret))
            different = kubectl("diff", "--server-side", "--field-manager=slipway", "-f", file)
            assert (different.returncode, different.stdout) == (0, ""), different.stdout + different.stderr
            done(kubectl("apply", "--server-side", "--field-manager=slipway", "-f", file))
    assert seen(endpoint) == seen(endpoint, "v2") == {}
    assert gateway_of(endpoint).drift == []


def test_an_edited_export_differs_and_is_seen_though_the_portals_name_was_used(
    endpoint: Endpoint, kubectl: Kubectl, tmp_path: Path
) -> None:
    file = Path(write(tmp_path, export.of_endpoint(endpoint)))
    file.write_text(file.read_text().replace("maxUnavailable: '25%'", "maxUnavailable: '50%'"))
    different = kubectl("diff", "--server-side", "--field-manager=slipway", "-f", str(file))
    assert different.returncode == 1
    assert "maxUnavailable: 50%" in different.stdout
    done(kubectl("apply", "--server-side", "--field-manager=slipway", "-f", str(file)))
    Deployment.objects.update(applied=_older(version(endpoint)))
    assert "applied anew under the portal's name" in seen(endpoint)["changed"]


def _older(row: Deployment) -> dict[str, Any]:
    """The server counts seconds: an apply within the second of ours looks like ours."""
    return {name: {**mark, "time": "2020-01-01T00:00:00Z"} for name, mark in row.applied.items() if "Budget" in name}


def test_nothing_differs_of_what_was_just_applied(endpoint: Endpoint) -> None:
    assert seen(endpoint) == seen(endpoint, "v2") == {}
    assert gateway_of(endpoint).drift == []


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["set", "image", "server=example/other:1"], "changed", "containers[server].image by kubectl-set"),
        (["set", "env", "NEW=1"], "changed", "env[NEW]"),
        (["set", "env", "PYTHONUNBUFFERED-"], "changed", "lost fields"),
        (["scale", "--replicas=5"], "replicas", "has 5 replicas; 2 are wanted"),
        (["label", "--overwrite", "slipway.dev/revision=9"], "revision", "is at revision 9; 1 is wanted"),
    ],
)
def test_what_kubectl_does_to_a_workload_is_told(
    endpoint: Endpoint, kubectl: Kubectl, words: list[str], code: str, told: str
) -> None:
    verb = words[: 2 if words[0] == "set" else 1]
    done(kubectl(*verb, *place(endpoint), *words[len(verb) :]))
    assert told in seen(endpoint)[code]
    assert seen(endpoint, "v2") == {}


def test_putting_back_takes_out_what_others_added_and_nothing_else(endpoint: Endpoint, kubectl: Kubectl) -> None:
    before = json.loads(kubectl("get", *place(endpoint), "-o", "json").stdout)["spec"]
    done(kubectl("set", "env", *place(endpoint), "NEW=1", "OTHER=2", "SERVICE_NAME=theirs"))
    done(kubectl("set", "image", *place(endpoint), "server=example/other:1"))
    patch = json.dumps({"spec": {"template": {"spec": {"hostNetwork": True, "tolerations": [{"operator": "Exists"}]}}}})
    done(kubectl("patch", *place(endpoint), "--type=merge", "-p", patch))
    assert "hostNetwork" in seen(endpoint)["changed"]
    deployments.put_back(Operation(), version(endpoint))
    assert seen(endpoint) == {}
    after = json.loads(kubectl("get", *place(endpoint), "-o", "json").stdout)["spec"]
    assert after == before


def test_the_count_of_an_autoscaled_version_and_a_restart_are_no_drift(endpoint: Endpoint, kubectl: Kubectl) -> None:
    done(kubectl("scale", *place(endpoint, "v2"), "--replicas=5"))
    done(kubectl("rollout", "restart", *place(endpoint, "v2")))
    assert seen(endpoint, "v2") == {}


def test_what_is_deleted_is_told_and_stays_deleted_until_somebody_puts_it_back(
    endpoint: Endpoint, kubectl: Kubectl, contributor: User
) -> None:
    namespace, ws, name = place(endpoint)
    done(kubectl("delete", namespace, ws, name.replace("deployment", "service")))
    assert "was deleted outside the portal" in seen(endpoint)["deleted"]
    since = version(endpoint).drift[0]["since"]
    watch.watch_target(endpoint.compute_target_id)
    assert version(endpoint).drift[0]["since"] == since
    assert kubectl("get", namespace, ws, name.replace("deployment", "service")).returncode == 1
    deployments.put_back(Operation(), version(endpoint))
    assert version(endpoint).drift == []
    assert seen(endpoint) == {}


def test_an_object_that_lost_only_our_label_is_not_called_deleted(endpoint: Endpoint, kubectl: Kubectl) -> None:
    done(kubectl("label", *place(endpoint), "app.kubernetes.io/managed-by-"))
    assert seen(endpoint) == {"changed": seen(endpoint)["changed"]}
    assert "lost fields" in seen(endpoint)["changed"]


def test_another_certificate_in_the_gateway_is_told_and_put_back(endpoint: Endpoint, kubectl: Kubectl) -> None:
    home = publish.namespace(gateway_of(endpoint))
    patch = json.dumps({"stringData": {"sds.json": "{}"}})
    done(kubectl("patch", "-n", home, "secret/gateway-secret", "--type=merge", "-p", patch))
    told = {row["code"]: row["message"] for row in gateway_of(endpoint).drift}
    assert "data.sds.json by kubectl-patch" in told["changed"]
    assert "not the one that is wanted" in told["certificate"]
    op = Operation(kind=OperationKind.GATEWAY_PUT_BACK, input={"target_id": endpoint.compute_target_id})
    assert install.put_back_gateway(op) is None
    assert gateway_of(endpoint).drift == []


def test_routes_that_others_wrote_are_told(endpoint: Endpoint, kubectl: Kubectl) -> None:
    home = publish.namespace(gateway_of(endpoint))
    patch = json.dumps({"data": {"rds.json": "{}"}})
    done(kubectl("patch", "-n", home, "configmap/gateway-config", "--type=merge", "-p", patch))
    assert "rds.json" in {row["code"]: row["message"] for row in gateway_of(endpoint).drift}["files"]


def test_what_an_operation_works_on_is_left_for_the_next_look(endpoint: Endpoint, kubectl: Kubectl) -> None:
    done(kubectl("scale", *place(endpoint), "--replicas=5"))
    op = actions.endpoint_put_back(endpoint=endpoint, actor=None)  # type: ignore[arg-type]
    assert seen(endpoint) == {}
    Operation.objects.filter(pk=op.pk).update(state=OperationState.SUCCEEDED)
    assert "replicas" in seen(endpoint)


def test_a_cluster_that_does_not_answer_changes_nothing_of_what_is_told(endpoint: Endpoint, kubectl: Kubectl) -> None:
    done(kubectl("scale", *place(endpoint), "--replicas=5"))
    before = seen(endpoint)
    compute.forget_cluster(endpoint.compute_target)
    Workspace.objects.update(arm_endpoint="http://127.0.0.1:9")
    assert seen(endpoint) == before


def test_drift_is_on_the_pages_in_rest_and_on_the_overview(
    endpoint: Endpoint, reader: User, client_of: ClientOf, client: Any
) -> None:
    row = {
        "code": "changed",
        "object": "Deployment ws-a/x",
        "message": "It is odd.",
        "since": "2026-11-30T10:00:00+00:00",
    }
    Deployment.objects.filter(pk=version(endpoint).pk).update(drift=[row])
    Gateway.objects.update(drift=[{**row, "message": "The gateway is odd."}])
    caller = Caller(client_of(reader), endpoint.workspace)
    (told,) = caller.get("endpoints/iris/").json()["drift"]
    assert (told["version"], told["message"]) == ("v1", "It is odd.")
    assert caller.get("compute-targets/aks/gateway/drift/").json() == {
        "gateway": [{**row, "message": "The gateway is odd."}], "endpoints": {"iris": [row]},
    }  # fmt: skip
    client.force_login(reader)
    slug = endpoint.workspace.slug
    page = client.get(f"/w/{slug}/endpoints/iris/").content.decode()
    assert "It is odd." in page
    assert "Put back" not in page
    assert "The gateway is odd." in client.get(f"/w/{slug}/compute/aks/").content.decode()
    assert "Others changed it in the cluster" in client.get(f"/w/{slug}/").content.decode()


def test_putting_back_asks_for_the_role_and_is_an_operation_with_history(
    endpoint: Endpoint, reader: User, contributor: User, operator: User, stranger: User, client_of: ClientOf
) -> None:
    root = f"/api/v1/workspaces/{endpoint.workspace.slug}/"
    one, two = f"{root}endpoints/iris/put-back/", f"{root}compute-targets/aks/gateway/put-back/"
    assert [client_of(user).post(one).status_code for user in (stranger, reader, contributor)] == [404, 403, 202]
    assert [client_of(user).post(two).status_code for user in (stranger, contributor, operator)] == [404, 403, 202]
    assert client_of(contributor).post(one).json()["code"] == "operation_running"
    kinds = sorted(Operation.objects.values_list("kind", flat=True))
    assert kinds == ["endpoint.put_back", "gateway.put_back"]
    assert AuditEvent.objects.filter(action__in=kinds).count() == 2


def test_the_pages_put_back_too_and_a_reader_may_not(
    endpoint: Endpoint, reader: User, operator: User, client: Any
) -> None:
    slug = endpoint.workspace.slug
    paths = (f"/w/{slug}/endpoints/iris/put-back/", f"/w/{slug}/compute/aks/gateway/put-back/")
    client.force_login(reader)
    assert [client.post(path).status_code for path in paths] == [403, 403]
    client.force_login(operator)
    assert [client.post(path).status_code for path in paths] == [302, 302]
    assert [client.post(path).status_code for path in paths] == [409, 409]
