"""Rollouts, scheduling, endpoints and clean-up, on real processes."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from podworld import CLUSTER, PORTS, READY, World, container, deployment, node, pod, until

from compute.sandbox.controllers import disruption, machines
from compute.sandbox.kube.errors import ApiError


def change(world: World, name: str, **spec: Any) -> None:
    world.store.mutate(CLUSTER, "deployments", "default", name, lambda doc: doc["spec"].update(spec))


def answer(world: World, name: str, text: str) -> None:
    def edit(doc: dict[str, Any]) -> None:
        env = [{"name": "ANSWER", "value": text}]
        doc["spec"]["template"]["spec"]["containers"] = [container(ports=PORTS, readinessProbe=READY, env=env)]

    world.store.mutate(CLUSTER, "deployments", "default", name, edit)


def status(world: World, name: str) -> dict[str, Any]:
    return world.get("deployments", name).get("status") or {}


def reason(world: World, name: str, kind: str) -> tuple[str, str] | None:
    rows = (world.get("deployments", name).get("status") or {}).get("conditions", [])
    return next(((row["status"], row["reason"]) for row in rows if row["type"] == kind), None)


def settled(world: World, name: str, replicas: int) -> bool:
    doc = world.get("deployments", name)
    now = doc.get("status") or {}
    counts = [now.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
    return counts == [replicas] * 4 and now.get("observedGeneration") == doc["metadata"]["generation"]


async def test_scaling_up_and_down_follows_the_spec_and_says_so(world: World) -> None:
    world.make("deployments", deployment("web"))
    await until(lambda: settled(world, "web", 1))
    change(world, "web", replicas=3)
    await until(lambda: settled(world, "web", 3))
    change(world, "web", replicas=1)
    await until(lambda: settled(world, "web", 1) and len(world.pods(app="web")) == 1)
    name = world.store.list(CLUSTER, "replicasets")[0]["metadata"]["name"]
    assert world.events("ScalingReplicaSet") == [
        f"Scaled {way} replica set {name} from {a} to {b}" for way, a, b in (("up", 0, 1), ("up", 1, 3), ("down", 3, 1))
    ] or set(world.events("ScalingReplicaSet")) == {
        f"Scaled up replica set {name} from 0 to 1", f"Scaled up replica set {name} from 1 to 3",
        f"Scaled down replica set {name} from 3 to 1",
    }  # fmt: skip


async def test_a_rolling_update_never_has_too_few_or_too_many_and_a_rollback_gets_a_new_revision(world: World) -> None:
    world.make("deployments", deployment("web", 3))
    await until(lambda: settled(world, "web", 3))
    counts: set[tuple[int, bool]] = set()

    async def count() -> None:
        while True:
            going = [p for p in world.pods(app="web") if not p["metadata"].get("deletionTimestamp")]
            counts.add((len(going), len(world.ready(app="web")) >= 3))
            await asyncio.sleep(0.005)

    watch = asyncio.ensure_future(count())
    answer(world, "web", "second")
    await until(lambda: settled(world, "web", 3) and len(world.store.list(CLUSTER, "replicasets")) == 2, 30)
    watch.cancel()
    assert max(number for number, _ in counts) == 4
    assert all(enough for _, enough in counts)
    revision = "deployment.kubernetes.io/revision"
    assert world.get("deployments", "web")["metadata"]["annotations"][revision] == "2"
    assert world.get("deployments", "web")["metadata"]["generation"] == 2
    answer(world, "web", "hello")
    await until(lambda: settled(world, "web", 3), 30)
    assert world.get("deployments", "web")["metadata"]["annotations"][revision] == "3"


async def test_recreate_ends_all_old_pods_before_it_makes_new_ones(world: World) -> None:
    world.make("deployments", deployment("web", 2, strategy={"type": "Recreate"}))
    await until(lambda: settled(world, "web", 2))
    old = {p["metadata"]["uid"] for p in world.pods()}
    mixed: list[bool] = []

    async def watch() -> None:
        while True:
            uids = {p["metadata"]["uid"] for p in world.pods()}
            mixed.append(bool(uids & old) and bool(uids - old))
            await asyncio.sleep(0.01)

    task = asyncio.ensure_future(watch())
    answer(world, "web", "second")
    await until(lambda: settled(world, "web", 2) and not {p["metadata"]["uid"] for p in world.pods()} & old)
    task.cancel()
    assert not any(mixed)


async def test_a_rollout_that_cannot_become_ready_exceeds_its_deadline_and_the_old_pods_stay(world: World) -> None:
    world.make("deployments", deployment("web", progressDeadlineSeconds=60))
    await until(lambda: settled(world, "web", 1))
    broken = {**READY, "httpGet": {"path": "/broken", "port": 8080}}
    change(world, "web", template={
        "metadata": {"labels": {"app": "web"}},
        "spec": pod("x", container(ports=PORTS, readinessProbe=broken))["spec"],
    })  # fmt: skip
    await until(lambda: len(world.pods(app="web")) == 2)
    await until(
        lambda: reason(world, "web", "Progressing") in (("True", "ReplicaSetUpdated"), ("True", "NewReplicaSetCreated"))
    )

    def is_late() -> bool:
        world.clock.advance(61)  # each time: progress that was noted after the first starts the deadline anew
        return reason(world, "web", "Progressing") == ("False", "ProgressDeadlineExceeded")

    await until(is_late)
    assert reason(world, "web", "Available") == ("True", "MinimumReplicasAvailable")
    assert len(world.ready(app="web")) == 1


async def test_a_paused_deployment_does_not_roll_and_old_sets_beyond_the_history_go(world: World) -> None:
    world.make("deployments", deployment("web", revisionHistoryLimit=1))
    await until(lambda: settled(world, "web", 1))
    change(world, "web", paused=True)
    answer(world, "web", "second")
    await until(lambda: reason(world, "web", "Progressing") == ("Unknown", "DeploymentPaused"))
    await asyncio.sleep(0.3)
    assert len(world.store.list(CLUSTER, "replicasets")) == 1
    change(world, "web", paused=False)
    await until(lambda: settled(world, "web", 1) and len(world.store.list(CLUSTER, "replicasets")) == 2)
    answer(world, "web", "third")
    await until(
        lambda: settled(world, "web", 1) and reason(world, "web", "Progressing") == ("True", "NewReplicaSetAvailable")
    )
    await until(lambda: len(world.store.list(CLUSTER, "replicasets")) == 2)


async def test_a_pod_that_fits_nowhere_stays_pending_in_the_real_words_and_starts_when_there_is_room(
    world: World,
) -> None:
    await world.clusters.set_nodes(CLUSTER, [node(0), node(1), node(2)])
    big = {"requests": {"cpu": "6"}}
    world.make("pods", pod("big", container(resources=big)))
    await until(lambda: world.events("FailedScheduling"))
    assert world.events("FailedScheduling") == [
        "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: "
        "3 No preemption victims found for incoming pod."
    ]
    (event,) = world.store.list(CLUSTER, "events", where=lambda event: event["reason"] == "FailedScheduling")
    # As a real scheduler, which writes events of the newer kind.
    assert (event["eventTime"][-8:-7], event["lastTimestamp"], event["action"]) == (".", None, "Scheduling")
    condition = world.get("pods", "big")["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    await world.clusters.set_nodes(CLUSTER, [node(0), node(1), node(2), node(3, 8)])
    await until(lambda: (world.get("pods", "big")["spec"].get("nodeName")) == "node-3")


async def test_selectors_affinity_taints_and_cordons_decide_where_a_pod_goes(world: World) -> None:
    taint = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    nodes = [node(0), node(1, taints=taint, labels={"disk": "ssd", "size": "7"})]
    await world.clusters.set_nodes(CLUSTER, nodes)
    term = {"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["5"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    world.make("pods", pod("refused", nodeSelector={"disk": "ssd"}))
    await until(lambda: world.events("FailedScheduling"))
    assert world.events("FailedScheduling")[0].startswith(
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {gpu: yes}. preemption: 0/2 nodes are available: 2 Preemption is not helpful"
    )
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    world.make("pods", pod("placed", affinity=affinity, tolerations=tolerations))
    await until(lambda: world.get("pods", "placed")["spec"].get("nodeName") == "node-1")
    world.store.mutate(CLUSTER, "nodes", None, "node-0", lambda doc: doc["spec"].update(unschedulable=True))
    world.make("pods", pod("nowhere"))
    await until(lambda: any("1 node(s) were unschedulable" in text for text in world.events("FailedScheduling")))


async def test_a_pod_that_names_a_node_pool_waits_for_a_node_of_it_although_others_are_free(world: World) -> None:
    taint = [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]
    tolerations = [{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]
    world.make("pods", pod("bound", nodeSelector={"kubernetes.azure.com/agentpool": "gpu1"}, tolerations=tolerations))
    await until(lambda: world.events("FailedScheduling"))
    await world.clusters.set_nodes(CLUSTER, [node(0), replace(node(1, taints=taint), pool="gpu1")])
    await until(lambda: world.get("pods", "bound")["spec"].get("nodeName") == "node-1")


async def test_a_node_takes_no_more_pods_than_it_may(world: World) -> None:
    await world.clusters.set_nodes(CLUSTER, [node(0, max_pods=2), node(1, max_pods=1)])
    for name in ("a", "b"):
        world.make("pods", pod(name))
    await until(lambda: any("Too many pods" in text for text in world.events("FailedScheduling")) or
                any("nodeName" in p["spec"] for p in world.pods()))  # fmt: skip


def endpoints(world: World, service: str) -> list[tuple[str, bool, bool, bool]]:
    found = world.store.list(CLUSTER, "endpointslices", "default",
                             lambda s: s["metadata"]["labels"]["kubernetes.io/service-name"] == service)  # fmt: skip
    rows = [row for item in found for row in item["endpoints"]]
    return [
        (row["addresses"][0], *(row["conditions"][name] for name in ("ready", "serving", "terminating")))
        for row in rows
    ]


async def test_endpoint_slices_have_every_address_and_turn_terminating_at_once(world: World) -> None:
    world.make("services", {"metadata": {"name": "web"}, "spec": {
        "clusterIP": "None", "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}})  # fmt: skip
    await until(lambda: world.store.list(CLUSTER, "endpointslices", "default"))
    assert endpoints(world, "web") == []
    stop = {"preStop": {"sleep": {"seconds": 1}}}
    made = world.make("pods", pod("web", container(ports=PORTS, readinessProbe=READY, lifecycle=stop)))
    await until(lambda: [row[1:] for row in endpoints(world, "web")] == [(False, False, False)])
    await until(lambda: [row[1:] for row in endpoints(world, "web")] == [(True, True, False)])
    item = world.store.list(CLUSTER, "endpointslices", "default")[0]
    assert item["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert item["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert item["endpoints"][0]["targetRef"]["uid"] == made["metadata"]["uid"]
    world.store.delete(CLUSTER, "pods", "default", "web")
    await asyncio.sleep(0.1)
    assert [row[1:] for row in endpoints(world, "web")] == [(False, True, True)]
    await until(lambda: endpoints(world, "web") == [])
    world.store.delete(CLUSTER, "services", "default", "web")
    await until(lambda: not world.store.list(CLUSTER, "endpointslices", "default"))


async def test_deleting_a_deployment_takes_its_sets_and_pods_along(world: World) -> None:
    world.make("deployments", deployment("web", 2))
    await until(lambda: settled(world, "web", 2))
    pids = [pid for p in world.pods() for pid in world.pids(p["metadata"]["name"])]
    assert len(pids) == 2
    world.store.delete(CLUSTER, "deployments", "default", "web")
    await until(lambda: not world.pods() and not world.store.list(CLUSTER, "replicasets"))
    await until(lambda: not world.kubelet.processes())


async def test_a_new_namespace_gets_its_account_and_certificates_and_a_deleted_one_empties(world: World) -> None:
    world.store.create(CLUSTER, "namespaces", {"metadata": {"name": "team"}, "status": {"phase": "Active"}})
    await until(lambda: world.store.get(CLUSTER, "serviceaccounts", "team", "default"))
    await until(
        lambda: (
            "BEGIN"
            in (world.store.get(CLUSTER, "configmaps", "team", "kube-root-ca.crt") or {})
            .get("data", {})
            .get("ca.crt", "")
        )
    )
    doc = deployment("web")
    doc["metadata"]["namespace"] = "team"
    world.store.create(CLUSTER, "deployments", doc)
    await until(lambda: world.kubelet.processes())
    world.store.delete(CLUSTER, "namespaces", None, "team")
    assert world.store.get(CLUSTER, "namespaces", None, "team")["status"]["phase"] == "Terminating"
    await until(lambda: world.store.get(CLUSTER, "namespaces", None, "team") is None)
    await until(lambda: not world.kubelet.processes())
    assert not world.store.list(CLUSTER, "configmaps", "team")


async def test_a_budget_refuses_the_eviction_that_would_leave_too_few(world: World) -> None:
    world.make("poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": {
        "minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}})  # fmt: skip
    world.make("deployments", deployment("web", 2))
    await until(lambda: settled(world, "web", 2))
    budget = await until(
        lambda: (b := world.get("poddisruptionbudgets", "web")).get("status", {}).get("currentHealthy") == 2 and b
    )
    assert budget["status"]["disruptionsAllowed"] == 0
    with pytest.raises(ApiError) as refused:
        disruption.evict(world.store, CLUSTER, "default", world.pods()[0]["metadata"]["name"])
    assert refused.value.status == 429
    assert (
        refused.value.details["causes"][0]["message"]
        == "The disruption budget web needs 2 healthy pods and has 2 currently"
    )
    change(world, "web", replicas=3)
    await until(lambda: world.get("poddisruptionbudgets", "web")["status"]["disruptionsAllowed"] == 1)
    gone = world.pods()[0]["metadata"]["name"]
    disruption.evict(world.store, CLUSTER, "default", gone)
    marks = [
        row["reason"] for row in world.get("pods", gone)["status"]["conditions"] if row["type"] == "DisruptionTarget"
    ]
    assert marks == ["EvictionByEvictionAPI"]
    with pytest.raises(ApiError):
        disruption.evict(world.store, CLUSTER, "default", world.pods()[1]["metadata"]["name"])


async def test_taking_a_node_away_moves_its_pods_to_another(world: World) -> None:
    await world.clusters.set_nodes(CLUSTER, [node(0), node(1)])
    world.make("deployments", deployment("web", 2))
    await until(lambda: settled(world, "web", 2))
    assert {p["spec"]["nodeName"] for p in world.pods()} == {"node-0"}
    await world.clusters.set_nodes(CLUSTER, [node(1)])
    assert world.store.get(CLUSTER, "nodes", None, "node-0") is None
    await until(lambda: settled(world, "web", 2))
    assert {p["spec"]["nodeName"] for p in world.pods()} == {"node-1"}


async def test_a_budget_that_lets_nothing_go_holds_a_drain_up_and_the_refusal_names_it(world: World) -> None:
    await world.clusters.set_nodes(CLUSTER, [node(0), node(1)])
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    world.make("poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": spec})
    world.make("deployments", deployment("web"))
    await until(lambda: settled(world, "web", 1))
    removal = asyncio.ensure_future(world.clusters.set_nodes(CLUSTER, [node(1)]))
    await asyncio.sleep(0.3)
    world.clock.advance(121)
    with pytest.raises(
        machines.DrainRefused, match="The disruption budget web needs 1 healthy pods and has 1 currently"
    ):
        await removal
    assert world.store.get(CLUSTER, "nodes", None, "node-0")["spec"]["unschedulable"]
    assert len(world.ready(app="web")) == 1


async def test_a_pool_that_goes_whatever_budgets_say_ends_its_pods_in_good_order(world: World) -> None:
    await world.clusters.set_nodes(CLUSTER, [node(0), node(1)])
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    world.make("poddisruptionbudgets", {"metadata": {"name": "web"}, "spec": spec})
    world.make("deployments", deployment("web"))
    await until(lambda: settled(world, "web", 1))
    await asyncio.wait_for(world.clusters.set_nodes(CLUSTER, [node(1)], ignore_budgets=True), 20)
    await until(lambda: settled(world, "web", 1))
    assert {p["spec"]["nodeName"] for p in world.pods()} == {"node-1"}


async def test_a_lost_node_can_be_taken_away_at_once(world: World) -> None:
    await world.clusters.set_nodes(CLUSTER, [node(0), node(1)])
    world.make("deployments", deployment("web"))
    await until(lambda: settled(world, "web", 1))
    world.clusters.set_node_ready(CLUSTER, "node-0", False)
    await asyncio.wait_for(world.clusters.set_nodes(CLUSTER, [node(1)]), 3)
    await until(lambda: settled(world, "web", 1))
    assert {p["spec"]["nodeName"] for p in world.pods()} == {"node-1"}


async def test_a_lost_node_loses_its_pods_after_five_minutes_and_they_come_up_elsewhere(world: World) -> None:
    await world.clusters.set_nodes(CLUSTER, [node(0), node(1)])
    world.make("deployments", deployment("web"))
    await until(lambda: settled(world, "web", 1))
    first = world.pods()[0]
    world.clusters.set_node_ready(CLUSTER, "node-0", False)
    await until(lambda: not world.kubelet.processes())
    await until(lambda: not world.ready(app="web"))
    await asyncio.sleep(0.2)
    assert len(world.pods()) == 1
    world.clock.advance(301)
    await until(lambda: [p for p in world.ready(app="web") if p["spec"]["nodeName"] == "node-1"])
    old = world.get("pods", first["metadata"]["name"])
    assert old["metadata"]["deletionTimestamp"]
    assert "DeletionByTaintManager" in {row.get("reason") for row in old["status"]["conditions"]}
    world.clusters.set_node_ready(CLUSTER, "node-0", True)
    await until(lambda: world.get("pods", first["metadata"]["name"]) is None)
    assert "taints" not in world.store.get(CLUSTER, "nodes", None, "node-0")["spec"]


async def test_a_stopped_cluster_has_no_processes_and_starts_them_again(world: World) -> None:
    world.make("deployments", deployment("web"))
    await until(lambda: settled(world, "web", 1))
    world.clusters.stop(CLUSTER)
    await until(lambda: not world.kubelet.processes())
    assert not world.pods()
    world.clusters.start(CLUSTER)
    await until(lambda: world.ready(app="web"))


async def test_the_status_of_a_quota_shows_what_is_used(world: World) -> None:
    hard = {"pods": "5", "requests.cpu": "4", "limits.memory": "1Gi", "count/deployments.apps": "3"}
    world.make("resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    main = container(resources={"requests": {"cpu": "250m"}, "limits": {"memory": "128Mi"}})
    world.make("deployments", deployment("web", 2, main))
    await until(lambda: len(world.ready(app="web")) == 2)
    used = {"pods": "2", "requests.cpu": "500m", "limits.memory": "256Mi", "count/deployments.apps": "1"}
    await until(lambda: world.get("resourcequotas", "q")["status"]["used"] == used)


async def test_a_policy_that_refuses_pods_is_said_by_set_and_deployment_until_it_lets_them(world: World) -> None:
    world.faults.set("kube.admission", {"webhook": "rules.example", "message": "no GPUs on Fridays"})
    world.make("deployments", deployment("web"))
    await until(lambda: reason(world, "web", "ReplicaFailure"))
    said = 'admission webhook "rules.example" denied the request: no GPUs on Fridays'
    rows = {row["type"]: row.get("message") for row in status(world, "web")["conditions"]}
    assert (rows["ReplicaFailure"], world.pods()) == (said, [])
    assert world.events("FailedCreate") == [f"Error creating: {said}"]
    world.faults.clear("kube.admission")
    await until(lambda: settled(world, "web", 1))
    assert reason(world, "web", "ReplicaFailure") is None


async def test_a_replica_is_available_only_after_its_minimum_time(world: World) -> None:
    world.make("deployments", deployment("web", minReadySeconds=600))
    await until(lambda: status(world, "web").get("readyReplicas") == 1)
    assert "availableReplicas" not in status(world, "web")
    world.clock.advance(601)
    await until(lambda: status(world, "web").get("availableReplicas") == 1)


@pytest.mark.parametrize(
    ("spec", "desired", "allowed"),
    [
        ({"maxUnavailable": 1}, 3, 1), ({"maxUnavailable": "50%"}, 2, 2), ({"minAvailable": "75%"}, 3, 1),
        ({"minAvailable": 4}, 4, 0), ({"maxUnavailable": 0}, 4, 0),
    ],
)  # fmt: skip
async def test_budgets_in_numbers_and_shares(world: World, spec: dict[str, Any], desired: int, allowed: int) -> None:
    made = world.make("replicasets", {
        "metadata": {"name": "web"}, "spec": {"replicas": 4, "selector": {}, "template": pod("web", container())},
    })  # fmt: skip
    await until(lambda: len(world.ready(app="web")) == 4)
    budget = {"metadata": {"name": "b"}, "spec": {**spec, "selector": {"matchLabels": {"app": "web"}}}}
    world.make("poddisruptionbudgets", budget)
    now = await until(lambda: world.get("poddisruptionbudgets", "b").get("status"))
    assert (now["expectedPods"], now["currentHealthy"], now["desiredHealthy"], now["disruptionsAllowed"]) == (
        4, 4, desired, allowed,
    )  # fmt: skip
    assert made["spec"]["replicas"] == 4


async def test_an_object_goes_with_the_last_of_its_owners(world: World) -> None:
    owners = [world.make("configmaps", {"metadata": {"name": name}}) for name in ("one", "two")]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": o["metadata"]["name"], "uid": o["metadata"]["uid"]}
        for o in owners
    ]
    world.make("secrets", {"metadata": {"name": "owned", "ownerReferences": references}})
    world.store.delete(CLUSTER, "configmaps", "default", "one")
    await until(lambda: len(world.get("secrets", "owned")["metadata"]["ownerReferences"]) == 1)
    world.store.delete(CLUSTER, "configmaps", "default", "two")
    await until(lambda: world.get("secrets", "owned") is None)


async def test_scaling_in_the_middle_of_a_rollout_reaches_the_new_number(world: World) -> None:
    world.make("deployments", deployment("web", 2))
    await until(lambda: settled(world, "web", 2))
    answer(world, "web", "second")
    await until(lambda: len(world.store.list(CLUSTER, "replicasets")) == 2)
    change(world, "web", replicas=4)
    await until(lambda: settled(world, "web", 4), 30)
    change(world, "web", replicas=0)
    await until(lambda: not world.pods())


async def test_a_deleted_cluster_leaves_no_process_and_no_listener(world: World) -> None:
    world.make("deployments", deployment("web", 2))
    await until(lambda: settled(world, "web", 2))
    pids = [pid for row in world.kubelet.processes() for pid in row["pids"]]
    world.clusters.delete(CLUSTER)
    await until(lambda: not world.kubelet.processes())
    assert len(pids) == 2
    await until(lambda: not list((world.settings.state / "pods").iterdir()))
