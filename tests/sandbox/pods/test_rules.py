"""The rules beneath kubelet and controllers, without processes: tables of cases."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from compute.sandbox.controllers import fit, rollout
from compute.sandbox.controllers.base import matches
from compute.sandbox.kubelet import environment, logs, status, volumes
from compute.sandbox.kubelet.environment import ConfigError
from compute.sandbox.kubelet.probes import Counter
from compute.sandbox.kubelet.status import Record
from compute.sandbox.kubelet.waiting import BackOff


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(A)", "1"), ("x$(A)y$(B)", "x1y2"), ("$(NONE)", "$(NONE)"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"),
        ("$A", "$A"), ("$(A", "$(A"), ("100$", "100$"), ("", ""), ("$()", "$()"),
    ],
)  # fmt: skip
def test_references_are_expanded_and_what_is_unknown_stays(text: str, result: str) -> None:
    assert environment.expand(text, {"A": "1", "B": "2"}) == result


POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": '2"', "a": "1"}, "annotations": {}},
    "spec": {"nodeName": "node", "containers": [{"name": "c", "resources": {"limits": {"cpu": "250m"}}}]},
    "status": {"podIP": "127.1.1.1", "hostIP": "127.0.0.1"},
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"), ("metadata.uid", "u"), ("status.podIP", "127.1.1.1"), ("metadata.labels['a']", "1"),
        ("metadata.labels", 'a="1"\nb="2\\""'), ("metadata.annotations['none']", ""), ("spec.nodeName", "node"),
        ("spec.serviceAccountName", "default"),
    ],
)  # fmt: skip
def test_fields_of_the_downward_api(path: str, value: str) -> None:
    assert environment.field(POD, path) == value


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="unsupported fieldPath: spec.nonsense"):
        environment.field(POD, "spec.nonsense")


@pytest.mark.parametrize(
    ("ref", "value"),
    [
        ({"resource": "limits.cpu"}, "1"), ({"resource": "limits.cpu", "divisor": "1m"}, "250"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "2048"), ({"resource": "requests.memory"}, "0"),
    ],
)  # fmt: skip
def test_resource_fields_are_rounded_up_and_default_to_what_the_node_has(ref: dict[str, Any], value: str) -> None:
    assert environment.resource_field(POD, "c", ref, {"memory": "2Gi"}) == value


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "result"),
    [
        (10, "25%", "25%", (3, 2)), (1, "25%", "25%", (1, 0)), (3, 1, 0, (1, 0)), (4, "0%", "10%", (0, 1)),
        (2, 0, 5, (0, 2)), (0, "25%", "25%", (0, 0)),
    ],
)  # fmt: skip
def test_surge_rounds_up_unavailable_down_and_never_both_zero(
    replicas: int, surge: int | str, unavailable: int | str, result: tuple[int, int]
) -> None:
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    assert rollout.bounds({"spec": {"replicas": replicas, "strategy": strategy}}) == result


def deployment(replicas: int, surge: int, unavailable: int) -> dict[str, Any]:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"metadata": {}, "spec": {"replicas": replicas, "strategy": {"rollingUpdate": rolling}}}


def replica_set(name: str, replicas: int, available: int, created: int = 0) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-01T00:00:{created:02d}Z"},
        "spec": {"replicas": replicas}, "status": {"availableReplicas": available},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("bounds", "new", "old", "wanted_new", "wanted_old"),
    [
        ((3, 1, 0), (0, 0), (3, 3), 1, None),
        ((3, 1, 0), (1, 0), (3, 3), 1, None),  # not available yet: nothing goes
        ((3, 1, 0), (1, 1), (3, 3), 1, 2),
        ((3, 1, 0), (2, 1), (2, 2), 2, None),
        ((4, 0, 2), (0, 0), (4, 4), 0, 2),
        ((3, 1, 0), (1, 0), (3, 1), 1, None),  # two of the old are broken, and are replaced only one by one
        ((3, 1, 1), (1, 0), (3, 1), 1, 2),  # a broken one goes first
        ((3, 3, 0), (3, 3), (3, 3), 3, 0),
    ],
)
def test_a_rollout_keeps_enough_available_and_not_too_many(
    bounds: tuple[int, int, int], new: tuple[int, int], old: tuple[int, int], wanted_new: int, wanted_old: int | None
) -> None:
    owner, fresh, before = deployment(*bounds), replica_set("new", *new, 9), replica_set("old", *old)
    assert rollout.new_size(owner, fresh, [fresh, before]) == wanted_new
    if wanted_new == new[0]:
        sizes = rollout.old_sizes(owner, fresh, [before])
        assert sizes == ({} if wanted_old is None else {"old": wanted_old})


def test_scaling_in_the_middle_of_a_rollout_keeps_the_shares_and_the_sum() -> None:
    sets = [replica_set("new", 5, 5, 9), replica_set("old", 8, 8)]
    sizes = rollout.proportional(deployment(20, 3, 0), sets)
    assert sum(sizes.values()) == 23
    assert sizes["old"] > sizes["new"] > 5
    assert rollout.proportional(deployment(0, 1, 0), sets) == {"new": 0, "old": 0}


def test_the_name_of_a_template_is_stable_and_ignores_the_order_of_its_keys() -> None:
    first = rollout.template_hash({"a": 1, "b": [1, 2]}, 0)
    assert first == rollout.template_hash({"b": [1, 2], "a": 1}, 0)
    assert first != rollout.template_hash({"a": 1, "b": [2, 1]}, 0)
    assert len(first) == 10


TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "covered"),
    [
        ({"key": "gpu", "operator": "Exists"}, True), ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "value": "no"}, False), ({"operator": "Exists"}, True), ({"key": "cpu"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False), ({}, False),
    ],
)  # fmt: skip
def test_tolerations_cover_taints(toleration: dict[str, Any], covered: bool) -> None:
    assert fit.covers(toleration, TAINT) is covered


@pytest.mark.parametrize(
    ("rule", "picked"),
    [
        (("size", "In", ["7", "8"]), True), (("size", "NotIn", ["7"]), False), (("none", "NotIn", ["7"]), True),
        (("size", "Exists", []), True), (("size", "DoesNotExist", []), False), (("size", "Gt", ["6"]), True),
        (("size", "Lt", ["6"]), False), (("disk", "Gt", ["6"]), False), (("none", "Lt", ["6"]), False),
    ],
)  # fmt: skip
def test_node_affinity_rules(rule: tuple[str, str, list[str]], picked: bool) -> None:
    node = {"metadata": {"name": "n", "labels": {"size": "7", "disk": "ssd"}}}
    term = {"matchExpressions": [{"key": rule[0], "operator": rule[1], "values": rule[2]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    assert fit.selected({"affinity": {"nodeAffinity": required}}, node) is picked


def test_without_nodes_the_scheduler_says_so() -> None:
    assert fit.message(0, []) == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        (None, False), ({}, True), ({"matchLabels": {"a": "1"}}, True), ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
    ],
)  # fmt: skip
def test_label_selectors(selector: dict[str, Any] | None, picked: bool) -> None:
    assert matches(selector, {"a": "1"}) is picked


def record(state: str, code: int = 0, *, before: bool = False) -> Record:
    made = Record("c", "i")
    made.state = {state: {"exitCode": code} if state == "terminated" else {}}
    made.last_state = {"terminated": {"exitCode": 1}} if before else {}
    return made


@pytest.mark.parametrize(
    ("policy", "inits", "mains", "phase"),
    [
        ("Always", [], [record("running")], "Running"),
        ("Always", [], [record("waiting")], "Pending"),
        ("Always", [], [record("waiting", before=True)], "Running"),
        ("Always", [record("running")], [record("waiting")], "Pending"),
        ("Never", [record("terminated", 1)], [record("waiting")], "Failed"),
        ("Always", [record("terminated", 1)], [record("waiting")], "Pending"),
        ("Never", [], [record("terminated"), record("terminated")], "Succeeded"),
        ("Never", [], [record("terminated"), record("terminated", 2)], "Failed"),
        ("Never", [], [record("terminated"), record("running")], "Running"),
        ("OnFailure", [], [record("terminated", 2)], "Running"),
        ("Always", [], [record("terminated")], "Running"),
    ],
)
def test_the_phase_of_a_pod(policy: str, inits: list[Record], mains: list[Record], phase: str) -> None:
    assert status.phase({"restartPolicy": policy}, inits, mains) == phase


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"), ({"requests": {"cpu": "1"}}, "Burstable"), ({"limits": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)  # fmt: skip
def test_the_quality_of_service(resources: dict[str, Any], quality: str) -> None:
    assert status.qos_class({"containers": [{"resources": resources}]}) == quality


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    ready = Record("c", "i", ready=True)
    first = status.conditions("t1", [], "Running", [], [ready])
    again = status.conditions("t2", first, "Running", [], [ready])
    assert again == first
    ready.ready = False
    third = {row["type"]: row for row in status.conditions("t3", again, "Running", [], [ready])}
    assert (third["Ready"]["lastTransitionTime"], third["PodScheduled"]["lastTransitionTime"]) == ("t3", "t1")


def test_probe_verdicts_need_their_thresholds_in_a_row() -> None:
    counter = Counter({"successThreshold": 2, "failureThreshold": 3})
    results = [True, True, False, False, True, False, False, False]
    assert [counter.add(result) for result in results] == [None, True, None, None, None, None, None, False]


def test_restarts_wait_longer_each_time_and_a_good_run_forgives() -> None:
    waits = BackOff(1)
    assert [waits.take(0) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert waits.take(601) == 0


def test_a_volume_changes_all_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    assert volumes.write(folder, {"a": (b"1", 0o644), "deep/b": (b"2", 0o400)})
    first = (folder / "..data").resolve()
    assert (folder / "deep/b").read_bytes() == b"2"
    assert (folder / "a").stat().st_mode & 0o777 == 0o600
    assert not volumes.write(folder, {"a": (b"1", 0o644), "deep/b": (b"2", 0o400)})
    assert volumes.write(folder, {"a": (b"3", 0o644)})
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("..")) == ["a"]
    assert not first.exists()
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        ({"name": "v", "configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"name": "v", "secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"name": "v", "configMap": {"name": "cm", "items": [{"key": "x", "path": "x"}]}},
            "non-existent configmap key: x",
        ),
        ({"name": "v", "hostPath": {"path": "/"}}, "a kind that this cluster cannot mount"),
    ],
)
def test_volumes_that_cannot_be_made_say_why(volume: dict[str, Any], message: str) -> None:
    def lookup(resource: str, name: str) -> dict[str, Any] | None:
        return {"data": {"k": "v"}} if name == "cm" else None

    with pytest.raises(ConfigError, match=message):
        volumes.content(volume, volumes.Source(POD, lookup, lambda audience, seconds: "", {}))


def test_optional_volumes_and_chosen_items() -> None:
    def lookup(resource: str, name: str) -> dict[str, Any] | None:
        return {"data": {"k": "v", "other": "w"}} if name == "cm" else None

    source = volumes.Source(POD, lookup, lambda audience, seconds: f"{audience}{seconds}", {"cpu": "4"})
    assert volumes.content({"name": "v", "configMap": {"name": "none", "optional": True}}, source) == {}
    items = [{"key": "k", "path": "a/b", "mode": 0o400}, {"key": "gone", "path": "c"}]
    chosen = {"name": "v", "configMap": {"name": "cm", "optional": True, "items": items, "defaultMode": 0o444}}
    assert volumes.content(chosen, source) == {"a/b": (b"v", 0o400)}
    down = {"items": [{"path": "cpu", "resourceFieldRef": {"resource": "limits.cpu", "containerName": "c"}}]}
    assert volumes.content({"name": "v", "downwardAPI": down}, source) == {"cpu": (b"1", 0o644)}
    token = {"sources": [{"serviceAccountToken": {"path": "t", "audience": "x", "expirationSeconds": 600}}]}
    assert volumes.content({"name": "v", "projected": token}, source) == {"t": (b"x600", 0o600)}


async def test_a_log_keeps_lines_whole_splits_very_long_ones_and_can_be_asked_since_when(tmp_path: Path) -> None:
    log = logs.LogFile(tmp_path / "0.log")
    log.write(b"one\ntw")
    log.write(b"o\n" + b"x" * 40000 + b"\n")
    log.write(b"no end")

    async def read(**wanted: Any) -> bytes:
        return b"".join([part async for part in logs.read(log.path, None, logs.Wanted(**wanted))])

    assert (await read()).startswith(b"one\ntwo\n" + b"x" * 40000 + b"\n")
    log.close()
    assert (await read(tail_lines=1)) == b"no end\n"
    assert (await read(since_seconds=60)).startswith(b"one\n")
    assert (await read(tail_lines=0)) == b""
    stamp = (await read(tail_lines=1, timestamps=True)).split()[0].decode()
    assert abs((datetime.fromisoformat(stamp[:26] + "+00:00") - datetime.now(UTC)).total_seconds()) < 60
    assert logs.tail(log.path, 1) == "no end\n"
