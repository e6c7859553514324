"""KEDA where the cluster has it, the portal's loop elsewhere: never both, and no jump from one to the other. The
cluster is at the socket and takes KEDA's objects only when they fit its published schema."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from jsonschema.validators import Draft202012Validator

from compute import queries as compute
from compute.cluster import validate
from compute.models import ComputeTarget
from deployments import autoscale, manifests
from deployments import steps as deployments
from deployments.config import DeploymentConfig
from deployments.models import Deployment, Revision
from deployments.types import Scaler
from endpoints import export, scaler
from endpoints.models import Endpoint, EndpointVersion, Gateway
from endpoints.steps import numbers, scaling, watch
from endpoints.types import AuthMode, EndpointKind
from portal.models import Operation, User, Workspace
from portal.types import Wait
from tests.endpoints.kube import TOKEN, Kube
from tests.endpoints.make import make_target, make_version

Json = dict[str, Any]


def closed(required: tuple[str, ...] = (), **properties: Any) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def counted(least: int) -> Json:
    return {"type": "integer", "minimum": least}


TEXT: Json = {"type": "string"}
TEXTS: Json = {"type": "object", "additionalProperties": TEXT}
POLICY = closed(
    ("type", "value", "periodSeconds"), type=TEXT, value=counted(1), periodSeconds={**counted(1), "maximum": 1800}
)
RULES = closed(
    stabilizationWindowSeconds={**counted(0), "maximum": 3600}, selectPolicy={"enum": ["Max", "Min", "Disabled"]},
    policies={"type": "array", "items": POLICY},
)  # fmt: skip
META = closed(("name", "namespace"), name=TEXT, namespace=TEXT, labels=TEXTS)
TRIGGER = closed(
    ("type", "metadata"), type={**TEXT, "minLength": 1}, metadata=TEXTS, metricType={"enum": ["AverageValue", "Value"]},
    authenticationRef=closed(("name",), name=TEXT),
)  # fmt: skip
# The part of config/crd/bases of kedacore/keda that we use, closed: a field that is misspelt is refused.
SCHEMAS = {
    "ScaledObject": closed(
        ("scaleTargetRef", "triggers"), scaleTargetRef=closed(("name",), apiVersion=TEXT, kind=TEXT, name=TEXT),
        minReplicaCount=counted(0), maxReplicaCount=counted(1), pollingInterval=counted(1), cooldownPeriod=counted(0),
        triggers={"type": "array", "minItems": 1, "items": TRIGGER},
        advanced=closed(horizontalPodAutoscalerConfig=closed(behavior=closed(scaleUp=RULES, scaleDown=RULES))),
    ),
    "TriggerAuthentication": closed(
        secretTargetRef={
            "type": "array", "items": closed(("key", "name", "parameter"), key=TEXT, name=TEXT, parameter=TEXT),
        }
    ),
}  # fmt: skip


def wrong(obj: Json) -> str:
    """What KEDA's part of the API server has against an object; empty when nothing."""
    schema = closed(
        ("apiVersion", "kind", "metadata", "spec"), apiVersion={"const": "keda.sh/v1alpha1"}, kind=TEXT, metadata=META,
        spec=SCHEMAS[obj["kind"]],
    )  # fmt: skip
    errors = [error.message for error in Draft202012Validator(schema).iter_errors(obj)]
    spec = obj["spec"]
    if spec.get("minReplicaCount", 0) > spec.get("maxReplicaCount", 100):
        errors.append("minReplicaCount must be less than or equal to maxReplicaCount")
    return "; ".join(errors)


def picture(**config: Any) -> scaler.ScalerView:
    return scaler.ScalerView(
        4, "iris-v1-4", "ws-a", "blue", "iris", "v1", DeploymentConfig.parse(config), "http://numbers.ns.svc:9902/in-flight",
        "the-secret",
    )  # fmt: skip


OPTIONS = [
    {"maxConcurrentRequestsPerContainer": many, "autoScaler": {"minReplicas": least, "maxReplicas": most,
     "targetUtilization": share, "refreshPeriodInSeconds": refresh}}
    for many, (least, most), share, refresh in itertools.product(
        (1, 4, 7), ((1, 1), (1, 10), (3, 200)), (1, 33, 70, 100), (1, 60))
]  # fmt: skip


@pytest.mark.parametrize("config", OPTIONS)
def test_what_keda_is_given_fits_its_schema_and_goes_by_the_rule_of_v1(config: Json) -> None:
    secret, login, scaled = scaler.build(picture(**config))
    for obj in (secret, login, scaled):
        validate(obj, "1.33")
    assert [wrong(login), wrong(scaled)] == ["", ""]
    spec, wish = scaled["spec"], DeploymentConfig.parse(config)
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (wish.min_replicas, wish.max_replicas)
    target = float(spec["triggers"][0]["metadata"]["targetValue"])
    for under_way in (0, 1, 5, 23, 150):
        by_keda = min(max(math.ceil(round(under_way / target, 6)), wish.min_replicas), wish.max_replicas)
        by_portal = autoscale.wanted(
            current=wish.min_replicas, rps=under_way, seconds=1.0, target_utilization=wish.target_utilization,
            concurrency=wish.max_concurrent_requests, min_replicas=wish.min_replicas, max_replicas=wish.max_replicas,
            quiet_seconds=math.inf,
        )  # fmt: skip
        assert by_keda == by_portal


def test_the_secret_is_in_a_secret_only_and_all_is_found_by_the_deployments_label() -> None:
    objects = scaler.build(picture())
    value = base64.b64encode(b"the-secret").decode()
    assert [value in str(obj) for obj in objects] == [True, False, False]
    assert "the-secret" not in str(objects) + repr(picture())
    assert {obj["metadata"]["labels"]["slipway.dev/deployment"] for obj in objects} == {"4"}
    names = {(obj["kind"], obj["metadata"]["name"]) for obj in objects}
    assert names == set(autoscale.things("iris-v1-4"))
    assert objects[1]["spec"]["secretTargetRef"][0]["name"] == objects[0]["metadata"]["name"]
    assert objects[2]["spec"]["triggers"][0]["authenticationRef"]["name"] == objects[1]["metadata"]["name"]


def test_the_schema_of_these_tests_refuses_what_is_misspelt() -> None:
    scaled = scaler.build(picture())[2]
    scaled["spec"]["minReplicas"] = 1
    assert "minReplicas" in wrong(scaled)


@pytest.fixture
def kube(tmp_path: Path, settings: Any) -> Iterator[Kube]:
    settings.OUTBOUND_ALLOW = ["127.0.0.0/8"]
    made = Kube(tmp_path)
    made.keda = wrong
    yield made
    made.stop()


@pytest.fixture
def target(kube: Kube, workspace: Workspace) -> Iterator[ComputeTarget]:
    workspace.arm_endpoint, workspace.arm_credential = kube.arm_url, f'{{"kind": "static", "token": "{TOKEN}"}}'
    workspace.save()
    made = make_target(workspace, "aks", observed={"nodes": []})
    Gateway.objects.create(compute_target=made, probe_secret="probe", tls_certificate="", tls_key="", installed="x")
    yield made
    compute.forget_cluster(made)


@pytest.fixture
def version(target: ComputeTarget) -> EndpointVersion:
    """A version that is autoscaled from 1 to 10 and has been applied; nobody scales it yet."""
    made = Endpoint.objects.create(
        workspace=target.workspace, compute_target=target, name="iris", kind=EndpointKind.VERSIONED, auth=AuthMode.NONE
    )
    row = make_version(made, "v1", is_default=True)
    EndpointVersion.objects.filter(pk=row.pk).update(is_loaded=True, is_routed=True)
    deployments.put_back(Operation(), row.deployment)
    return fresh(row)


def fresh(version: EndpointVersion) -> EndpointVersion:
    rows = EndpointVersion.objects.select_related("endpoint", "deployment__compute_target__workspace")
    return rows.get(pk=version.pk)


def job(version: EndpointVersion, revision: int = 1) -> Operation:
    given = {
        "endpoint_id": version.endpoint_id, "version_id": version.pk, "deployment_id": version.deployment_id,
        "revision": revision,
    }  # fmt: skip
    return Operation(input=given)


def settled(version: EndpointVersion) -> Deployment:
    assert scaling.settle_scalers(job(version)) is None
    return fresh(version).deployment


def live(kube: Kube, version: EndpointVersion) -> Json:
    return kube.objects["deployments", "ws-a", manifests.workload_name(version.deployment)]


def revise(version: EndpointVersion, **config: Any) -> None:
    """A second revision with another configuration, wanted but not applied."""
    first = Revision.objects.get(deployment=version.deployment, number=1)
    version.deployment.revisions.create(number=2, environment=first.environment, entry_script="score.py", config=config)
    Deployment.objects.filter(pk=version.deployment_id).update(revision=2)


pytestmark = pytest.mark.django_db


def test_a_cluster_with_keda_scales_by_itself_and_the_portal_never_sets_the_count(
    kube: Kube, version: EndpointVersion
) -> None:
    row = settled(version)
    assert (row.scaler, row.scaler_note) == (Scaler.KEDA, "")
    kinds = {kind for kind, _, _ in kube.objects}
    assert {"scaledobjects", "triggerauthentications"} <= kinds
    assert "replicas" not in live(kube, version)["spec"]
    kube.asked.clear()
    load = numbers.Look({}, 1.0, {("iris", "v1"): 50}, {})
    numbers._scale(compute.open_cluster(row.compute_target), fresh(version), load)
    deployments.put_back(Operation(), fresh(version).deployment)
    assert kube.changed("/scale") == []
    assert fresh(version).deployment.wanted_replicas == 1


def test_the_portal_scales_where_there_is_no_keda(kube: Kube, version: EndpointVersion) -> None:
    kube.keda = None
    row = settled(version)
    assert row.scaler == Scaler.PORTAL
    kube.asked.clear()
    numbers._scale(
        compute.open_cluster(row.compute_target), fresh(version), numbers.Look({}, 1.0, {("iris", "v1"): 5}, {})
    )
    assert kube.changed("/scale") == [f"PATCH deployments/{manifests.workload_name(row)}/scale"]
    assert fresh(version).deployment.wanted_replicas == 8


def test_what_is_as_wanted_is_not_written_again_and_new_limits_are(kube: Kube, version: EndpointVersion) -> None:
    settled(version)
    kube.asked.clear()
    settled(version)
    assert kube.asked == []
    revise(version, autoScaler={"minReplicas": 2, "maxReplicas": 3})
    settled(version)
    (scaled,) = [obj for (kind, _, _), obj in kube.objects.items() if kind == "scaledobjects"]
    assert (scaled["spec"]["minReplicaCount"], scaled["spec"]["maxReplicaCount"]) == (2, 3)


def test_when_keda_goes_the_portal_goes_on_from_the_replicas_that_there_are(
    kube: Kube, version: EndpointVersion
) -> None:
    settled(version)
    live(kube, version)["spec"]["replicas"] = 4
    kube.keda = None
    kube.asked.clear()
    before = timezone.now()
    row = settled(version)
    assert (row.scaler, row.wanted_replicas) == (Scaler.PORTAL, 4)
    assert kube.changed("/scale") == []
    quiet = fresh(version).busy_at
    assert quiet is not None
    assert quiet >= before  # a minute of quiet begins now
    assert not [name for name in row.applied if "Scaled" in name or "Trigger" in name or "-scaler" in name]


def test_when_keda_comes_it_gets_the_scaling_and_nothing_is_scaled(kube: Kube, version: EndpointVersion) -> None:
    kube.keda = None
    settled(version)
    Deployment.objects.update(wanted_replicas=6)
    live(kube, version)["spec"]["replicas"] = 6
    kube.keda = wrong
    kube.asked.clear()
    assert settled(version).scaler == Scaler.KEDA
    assert kube.changed("deployments/") == []


def test_a_refusal_by_the_cluster_leaves_the_scaling_to_the_portal_and_is_told(
    kube: Kube, version: EndpointVersion
) -> None:
    kube.keda = lambda obj: "forbidden"
    row = settled(version)
    assert row.scaler == Scaler.PORTAL
    assert "refused its object" in row.scaler_note
    assert "forbidden" in row.scaler_note


def test_keda_lets_go_before_a_fixed_count_is_applied(kube: Kube, version: EndpointVersion) -> None:
    settled(version)
    revise(version, numReplicas=3)
    kube.asked.clear()
    assert scaling.release_scaler(job(version, 2)) is None
    assert kube.asked[0].startswith("DELETE scaledobjects/")
    assert fresh(version).deployment.scaler == Scaler.FIXED
    deployments.put_back(Operation(), fresh(version).deployment)
    assert live(kube, version)["spec"]["replicas"] == 3
    assert settled(version).scaler == Scaler.FIXED


def test_a_scaler_that_is_slow_to_go_is_waited_for(
    kube: Kube, version: EndpointVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(version)
    revise(version, numReplicas=3)
    kept = dict(kube.objects)
    monkeypatch.setattr(kube, "_delete", lambda where, query, body: (200, {}))  # a finalizer holds it
    waiting = scaling.release_scaler(job(version, 2))
    assert isinstance(waiting, Wait)
    assert kube.objects == kept
    assert fresh(version).deployment.scaler == Scaler.KEDA


def test_a_version_takes_its_scaler_along_when_it_goes(kube: Kube, version: EndpointVersion) -> None:
    settled(version)
    kube.asked.clear()
    deployments.remove_from(compute.open_cluster(version.deployment.compute_target), fresh(version).deployment)
    assert kube.asked[0].startswith("DELETE scaledobjects/")
    assert not [key for key in kube.objects if key[1] == "ws-a"]


def test_the_look_at_drift_follows_what_keda_set_and_says(kube: Kube, version: EndpointVersion) -> None:
    row = settled(version)
    Deployment.objects.filter(pk=row.pk).update(applied={f"ScaledObject ws-a/{manifests.workload_name(row)}": {}})
    live(kube, version)["spec"]["replicas"] = 7
    there = {
        f"Deployment ws-a/{manifests.workload_name(row)}": live(kube, version),
        f"ScaledObject ws-a/{manifests.workload_name(row)}": {
            "status": {"conditions": [{"type": "Ready", "status": "False", "message": "no such host"}]}
        },
    }
    scaling.note_seen(row, there)
    told = fresh(version).deployment
    assert (told.wanted_replicas, told.scaler_note) == (7, "KEDA says: no such host")


def test_an_autoscaled_version_from_before_gets_its_scaler_by_the_beat(kube: Kube, version: EndpointVersion) -> None:
    assert version.deployment.scaler == Scaler.FIXED
    Deployment.objects.update(applied={"Namespace ws-a": {"uid": "", "fields": "", "time": ""}})
    watch.watch_target(version.endpoint.compute_target_id)
    assert fresh(version).deployment.scaler == Scaler.KEDA


def test_who_scales_is_in_rest_on_the_page_and_in_the_export(
    kube: Kube, version: EndpointVersion, reader: User, client: Any
) -> None:
    settled(version)
    client.force_login(reader)
    slug = version.endpoint.workspace.slug
    told = client.get(f"/api/v1/workspaces/{slug}/endpoints/iris/").json()["versions"]["v1"]
    assert (told["scaler"], told["scaler_note"]) == ("KEDA", "")
    assert "KEDA in the cluster scales" in client.get(f"/w/{slug}/endpoints/iris/versions/v1/").content.decode()
    text = export.of_endpoint(version.endpoint).yaml
    assert "kind: ScaledObject" in text
    assert base64.b64encode(b"probe").decode() not in text
