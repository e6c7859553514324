"""Rows that give pages something to show: clusters, models, services, an endpoint with three versions, operations."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from compute import certificates
from compute.models import ComputeTarget, NodePool
from deployments.models import (
    Artifact,
    CollectedDay,
    Collecting,
    Deployment,
    Environment,
    RegisteredModel,
    RegistryLogin,
)
from endpoints import actions
from endpoints.models import Endpoint, EndpointVersion, Gateway, ScoringKey, TrafficSample
from portal import audit
from portal.models import Operation, OperationLog, User, Workspace
from portal.operations import step_names
from portal.secrets import fingerprint
from portal.types import OperationKind, OperationState

GIB = 1024**3


def node(name: str, *, ready: bool = True, cpu_free: float = 2.1, memory_free: float = 7.5) -> dict[str, Any]:
    """One node as drift checks see it."""
    return {
        "name": name, "pool": "nodepool1", "ready": ready, "cpu": 3.86, "memory_bytes": int(12.4 * GIB), "gpus": 0,
        "cpu_free": cpu_free, "memory_free": int(memory_free * GIB), "gpus_free": 0,
    }  # fmt: skip


def target(home: Workspace, name: str = "prod-1", **more: Any) -> ComputeTarget:
    """A cluster with three nodes, all seen."""
    nodes = [node(f"aks-nodepool1-1234567-vmss00000{n}", cpu_free=2.4 - n / 2, memory_free=9 - n) for n in range(3)]
    given: dict[str, Any] = {
        "state": "Succeeded", "purpose": "FastProd", "subscription_id": home.subscription_id, "resource_group": "rg",
        "cluster_name": f"{name}-7", "region": "westeurope", "vm_size": "Standard_D3_v2", "vcpus": 4, "memory_gb": 14,
        "node_count": 3, "observed": {"nodes": nodes, "kubernetes_version": "1.33.6"}, "observed_at": timezone.now(),
        **more,
    }  # fmt: skip
    return ComputeTarget.objects.create(workspace=home, name=name, **given)


def pool(of: ComputeTarget, name: str = "extra", **more: Any) -> NodePool:
    """A further node pool of two nodes, as Azure was seen to have it."""
    given: dict[str, Any] = {
        "vm_size": "Standard_D2s_v3", "vcpus": 2, "memory_gb": 8, "count": 2, "state": "Succeeded",
        "observed": {"count": 2, "provisioning_state": "Succeeded", "power_state": "Running"}, **more,
    }  # fmt: skip
    return NodePool.objects.create(target=of, name=name, **given)


def model(home: Workspace, name: str = "iris", version: int = 1, **more: Any) -> RegisteredModel:
    """A registered model of one file."""
    digest = fingerprint(f"{name}{version}")
    files = [{"path": "model.pkl", "size": 84_213, "sha256": digest}]
    artifact = Artifact.objects.create(workspace=home, digest=digest, size=84_213, kind="model", files=files)
    return RegisteredModel.objects.create(
        workspace=home, name=name, version=version, artifact=artifact, files=files, size=84_213,
        framework="ScikitLearn", framework_version="1.5.2", **more,
    )  # fmt: skip


def environment(home: Workspace, name: str = "sklearn", version: int = 1, **more: Any) -> Environment:
    """A built environment."""
    given = {
        "spec": {"python": "3.11", "pip": ["scikit-learn==1.5.2", "numpy<3", "joblib"]},
        "content_hash": fingerprint(name),
        "state": "Succeeded", "image": "registry.example.com/slipway/environments:9f2a", **more,
    }  # fmt: skip
    return Environment.objects.create(workspace=home, name=name, version=version, **given)


def endpoint(on: ComputeTarget, name: str = "iris", kind: str = "Endpoint", **more: Any) -> Endpoint:
    """A service or endpoint without versions."""
    uri = f"http://127.0.0.2:8080/api/v1/service/{name}/score"
    given = {"scoring_uri": uri, "state": "Healthy", **more}
    return Endpoint.objects.create(workspace=on.workspace, compute_target=on, name=name, kind=kind, **given)


def gateway(on: ComputeTarget, days: int = 12) -> Gateway:
    """A gateway with an uploaded certificate that ends in some days, which was told."""
    now = timezone.now()
    authority = certificates.Issuer(*certificates.make(["Example Authority"], now, 900))
    chain, key = certificates.make(["score.example.com"], now, days, authority)
    on.config = {**on.config, "tls": {"mode": "own", "cname": "score.example.com", "http": True}}
    on.tls_certificate, on.tls_key = chain, key
    on.save()
    row = Gateway.objects.create(
        compute_target=on, state="Ready", address="20.61.7.9", probe_secret="s", tls_certificate=chain, tls_key=key,
        tls_seen={"fingerprint": certificates.facts(chain).fingerprint},
    )  # fmt: skip
    actions.certificate_watch(row)
    return row


def version(
    of: Endpoint, name: str, percentile: str = "0", *, is_default: bool = False, is_control: bool = False,
    color: int = 0, ready: int = 2, wanted: int = 2,
    models: tuple[RegisteredModel, ...] = (), state: str = "Healthy", **more: Any,
) -> EndpointVersion:  # fmt: skip
    """A version that the gateway knows, with replicas."""
    home = of.workspace
    row = Deployment.objects.create(
        workspace=home, compute_target=of.compute_target, name=f"{of.name}-{name}", namespace="lab", state=state,
        revision=1, serving_revision=1, wanted_replicas=wanted, ready_replicas=ready, **more,
    )  # fmt: skip
    built = Environment.objects.filter(workspace=home).first() or environment(home)
    config = {"containerResourceRequirements": {"cpu": 0.2, "memoryInGB": 0.5}, "autoScaler": {"minReplicas": 2}}
    revision = row.revisions.create(number=1, environment=built, entry_script="score.py", config=config)
    revision.models.set(models)
    return EndpointVersion.objects.create(
        endpoint=of, name=name, deployment=row, traffic_percentile=Decimal(percentile), is_default=is_default,
        is_control=is_control, is_loaded=True, is_routed=ready > 0, color=color,
    )  # fmt: skip


def answers(of: Endpoint, **counts: int) -> None:
    """What the gateway counted a minute ago, by version."""
    moment = timezone.now() - timedelta(minutes=1)
    for name, count in counts.items():
        TrafficSample.objects.create(
            endpoint=of, version=name, at=moment, codes={"200": count}, seconds=count * 0.012,
            buckets={"10000": count // 2, "25000": count},
        )  # fmt: skip


def keys(of: Endpoint) -> None:
    """Two scoring keys."""
    for slot in ("primary", "secondary"):
        value = f"{slot}-key-of-{of.name}-0123456789"
        ScoringKey.objects.create(endpoint=of, slot=slot, value=value, fingerprint=fingerprint(value))


def operation(
    on: Any, kind: OperationKind, state: OperationState, actor: User, *, step: int = 1, **more: Any
) -> Operation:
    """A long job that has come to `step`, with the log of what it did."""
    now = timezone.now()
    op = Operation.objects.create(
        workspace=on.workspace, kind=kind, target_ref=on.ref, target_name=on.name, state=state, step=step, actor=actor,
        due_at=now + timedelta(days=1), created_at=now - timedelta(seconds=48), started_at=now - timedelta(seconds=47),
        ended_at=None if state in ("Running", "NotStarted") else now, **more,
    )  # fmt: skip
    for number, name in enumerate(step_names(op)[: step + 1]):
        began = now - timedelta(seconds=45 - 9 * number)
        OperationLog.objects.create(operation=op, at=began, step=name, event="started")
        if number < step:
            OperationLog.objects.create(operation=op, at=began + timedelta(seconds=8), step=name, event="done")
        elif op.error:
            OperationLog.objects.create(operation=op, at=now, step=name, event="failed", text=op.error["detail"])
        else:
            OperationLog.objects.create(operation=op, at=now, step=name, event="line", text=op.note or "Looking")
    return op


def collected(of: EndpointVersion, days: int = 3, *, pk: int = 4711) -> None:
    """Days of collected requests of a version, the newest of which lost some."""
    now, service = timezone.now(), of.endpoint.name
    for age in range(days):
        CollectedDay.objects.create(
            pk=pk + age, workspace=of.endpoint.workspace, source=of.deployment_id, service=service, version=of.name,
            day=(now - timedelta(days=age)).date(), lines=12_408 - 700 * age, size=9_400_000 - 410_000 * age,
            lost=0 if age else 312, last_at=now - timedelta(days=age, minutes=1),
        )  # fmt: skip
    Collecting.objects.create(
        deployment=of.deployment, is_on=True, told_at=now, since=now - timedelta(minutes=4), troubled_at=now, lost=312,
        reason="The store refused: No space left on device. Replicas keep it and try again.",
    )  # fmt: skip


def everything(home: Workspace, actor: User) -> Endpoint:
    """A workspace as it looks after a day of work; answers the endpoint with three versions."""
    prod, test = target(home), target(home, "trial", purpose="DevTest", node_count=1, state="Succeeded")
    creating = target(
        home, "gpu-west", state="Creating", observed={}, observed_at=None, vm_size="Standard_NC4as_T4_v3", gpus=1
    )
    ComputeTarget.objects.filter(pk=test.pk).update(observed={"nodes": [node("aks-nodepool1-77-vmss000000")]})
    RegistryLogin.objects.create(workspace=home, server="r.example.com", username="robot", password="secret-of-r")
    gateway(prod)
    pool(test)
    pool(
        prod, "gpu1", vm_size="Standard_NC4as_T4_v3", vcpus=4, memory_gb=28, gpus=1, taints=["sku=gpu:NoSchedule"],
        count=0, min_count=0, max_count=2, is_adopted=True,
        observed={
            "count": 0, "provisioning_state": "Succeeded", "power_state": "Running", "min_count": 0, "max_count": 2,
        },
    )  # fmt: skip
    first, second, third = (
        model(home, "iris", number, created_by=actor, description=f"Round {number}") for number in (1, 2, 3)
    )
    model(home, "churn", 1, created_by=actor)
    environment(
        home,
        created_by=actor,
        log="Collecting scikit-learn==1.5.2\nInstalling collected packages: numpy, scikit-learn\nBuilt.",
    )
    environment(
        home,
        "torch",
        1,
        created_by=actor,
        state="Failed",
        image="",
        reason="torch==9 is in no index: the build ended at step 3.",
    )
    iris = endpoint(prod, created_by=actor, description="Which iris is it?")
    version(iris, "v1", "20", is_default=True, is_control=True, models=(first,))
    version(iris, "v2", "30", color=1, models=(second,), ready=2, wanted=3)
    version(
        iris,
        "v3",
        "10",
        color=2,
        models=(third,),
        ready=0,
        wanted=2,
        state="Unhealthy",
        reason="No replica is ready: 1 of 2 restarts.",
    )
    collected(iris.versions.get(name="v2"))
    answers(iris, v1=1402, v2=611)
    keys(iris)
    service = endpoint(prod, "churn", "Service", created_by=actor, description="Who is about to leave?")
    version(service, "v1", is_default=True, models=(RegisteredModel.objects.get(name="churn"),))
    answers(service, v1=420)
    keys(service)
    broken = endpoint(
        test,
        "fraud",
        "Service",
        state="Failed",
        auth="None",
        scoring_uri="",
        reason="init() raised: ModuleNotFoundError: xgboost",
    )
    version(
        broken,
        "v1",
        is_default=True,
        ready=0,
        state="Failed",
        reason="init() raised: ModuleNotFoundError: xgboost",
        evidence="File \"score.py\", line 3, in init: import xgboost\nNo module named 'xgboost'",
    )
    operation(
        creating,
        OperationKind.COMPUTE_CREATE,
        OperationState.RUNNING,
        actor,
        step=2,
        note="Azure: Creating (3 of 4 nodes)",
    )
    error = {
        "title": "A replica did not start",
        "detail": "init() of score.py raised ModuleNotFoundError: xgboost. Add it to the environment.",
        "evidence": "ModuleNotFoundError: No module named 'xgboost'",
    }
    operation(broken, OperationKind.SERVICE_CREATE, OperationState.FAILED, actor, step=3, error=error)
    done = operation(prod, OperationKind.COMPUTE_SCALE, OperationState.SUCCEEDED, actor, step=3)
    audit.record(
        action="compute_target.scaled",
        on=prod,
        actor=actor,
        operation=done,
        before={"node_count": 2},
        after={"node_count": 3},
    )
    was = {"v1": {"traffic_percentile": "100"}, "v2": {"traffic_percentile": "0"}, "v3": {"traffic_percentile": "0"}}
    audit.record(action="endpoint.traffic_set", on=iris, actor=actor, before={"versions": was}, after={"versions": {}})
    return iris
