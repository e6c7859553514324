"""Pods as processes: what a kubelet does with them."""

import asyncio
import base64
import json
import os
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from podworld import CLUSTER, PORTS, READY, World, container, deployment, is_ready, pod, until

from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kubelet import confine, disk


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def state(world: World, name: str, part: str = "containerStatuses") -> dict[str, Any]:
    found = world.get("pods", name)
    rows = (found or {}).get("status", {}).get(part)
    return rows[0] if rows else {"state": {}, "lastState": {}}


async def ask(ip: str, path: str = "/") -> str:
    def get() -> str:
        with urllib.request.urlopen(f"http://{ip}:8080{path}", timeout=3) as answer:
            return answer.read().decode()

    return await asyncio.to_thread(get)


async def test_a_deployment_with_one_replica_runs_as_a_live_process_and_answers(world: World) -> None:
    world.make("deployments", deployment("web"))
    found = (await until(lambda: world.ready(app="web")))[0]
    pids = world.pids(found["metadata"]["name"])
    assert len(pids) == 1
    assert alive(pids[0])
    assert found["status"]["podIP"].startswith(world.settings.block)
    assert await ask(found["status"]["podIP"]) == "hello"
    deployed = await until(lambda: _complete(world.get("deployments", "web")))
    assert {c["type"]: (c["status"], c["reason"]) for c in deployed["status"]["conditions"]} == {
        "Available": ("True", "MinimumReplicasAvailable"), "Progressing": ("True", "NewReplicaSetAvailable"),
    }  # fmt: skip
    assert deployed["metadata"]["generation"] == deployed["status"]["observedGeneration"] == 1
    assert deployed["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert world.events("Scheduled") == [f"Successfully assigned default/{found['metadata']['name']} to node-0"]
    assert world.events("Started") == ["Started container main"]


def _complete(doc: dict[str, Any] | None) -> dict[str, Any] | None:
    rows = (doc or {}).get("status", {}).get("conditions", [])
    return doc if any(row["reason"] == "NewReplicaSetAvailable" for row in rows) else None


async def test_the_status_of_a_running_pod_has_all_that_a_kubelet_writes(world: World) -> None:
    world.make("pods", pod("web", container(ports=PORTS, readinessProbe=READY)))
    status = (await until(lambda: world.ready(app="web")))[0]["status"]
    assert {row["type"]: row["status"] for row in status["conditions"]} == dict.fromkeys(
        ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"), "True"
    )
    assert (status["phase"], status["qosClass"], status["hostIP"]) == ("Running", "BestEffort", "127.0.0.1")
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["startTime"].endswith("Z")
    row = status["containerStatuses"][0]
    assert row["ready"]
    assert row["started"]
    assert row["restartCount"] == 0
    assert "startedAt" in row["state"]["running"]
    assert row["imageID"].startswith("python@sha256:")


async def test_a_deleted_pod_leaves_no_process_no_folder_and_no_object(world: World) -> None:
    code = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"], start_new_session=True)
print("up", flush=True)
time.sleep(99)
"""
    made = world.make("pods", pod("busy", container(code)))
    await until(lambda: world.pids("busy"))
    await until(lambda: "up" in _file(world, made, "main"))
    before = _children_of(world, made)
    assert len(before) == 2
    world.store.delete(CLUSTER, "pods", "default", "busy", grace_seconds=1)
    await until(lambda: world.get("pods", "busy") is None)
    await until(lambda: not any(alive(pid) for pid in before))
    await until(lambda: not (world.settings.state / "pods" / made["metadata"]["uid"]).exists())


def _file(world: World, made: dict[str, Any], name: str) -> str:
    path = world.settings.state / "pods" / made["metadata"]["uid"] / "logs" / name / "0.log"
    return path.read_text() if path.exists() else ""


def _children_of(world: World, made: dict[str, Any]) -> list[int]:
    mark = f"HOME={world.settings.state}/pods/{made['metadata']['uid']}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


async def test_env_comes_from_values_fields_resources_config_maps_and_secrets(world: World) -> None:
    world.make("configmaps", {"metadata": {"name": "cm"}, "data": {"A": "from cm", "B": "also"}})
    world.make("secrets", {"metadata": {"name": "sec"}, "data": {"KEY": "czNjcmV0"}})
    code = "import json, os; print(json.dumps(dict(os.environ)), flush=True); import time; time.sleep(60)"
    main = container(
        code, args=["$(GREETING) $$(GREETING) $(NOBODY)"], envFrom=[{"configMapRef": {"name": "cm"}, "prefix": "CM_"}],
        resources={"limits": {"memory": "64Mi", "cpu": "1500m"}},
        env=[
            {"name": "GREETING", "value": "hi from $(POD_IP)"},
            {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "A"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "KEY"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "A", "optional": True}}},
        ],
    )  # fmt: skip
    made = world.make("pods", pod("env", main))
    await until(lambda: _file(world, made, "main").endswith("}\n"))
    env = json.loads(await world.log("env"))
    assert (env["CM_A"], env["CM_B"], env["ONE"], env["SECRET"]) == ("from cm", "also", "from cm", "s3cret")
    assert (env["MEMORY"], env["CPUS"], env["LABEL"], env["NODE"]) == ("64", "2", "env", "node-0")
    assert env["GREETING"] == f"hi from {env['POD_IP']}"
    assert "GONE" not in env
    argv = Path(f"/proc/{world.pids('env')[0]}/cmdline").read_bytes().split(b"\0")
    assert argv[-2].decode() == f"{env['GREETING']} $(GREETING) $(NOBODY)"
    # Nothing of the sandbox's own environment is there.
    assert not {"PYTEST_CURRENT_TEST", "USER", "SHELL"} & set(env)


async def test_a_missing_config_map_key_is_said_and_the_container_starts_when_it_comes(world: World) -> None:
    ref = {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}
    world.make("pods", pod("late", container(env=[ref])))
    waiting = await until(lambda: state(world, "late")["state"].get("waiting", {}).get("message"))
    await until(lambda: state(world, "late")["state"].get("waiting", {}).get("reason") == "CreateContainerConfigError")
    waiting = state(world, "late")["state"]["waiting"]
    assert waiting["message"] == 'configmap "late" not found'
    world.make("configmaps", {"metadata": {"name": "late"}, "data": {"k": "v"}})
    await until(lambda: world.ready(app="late"), 3)


async def test_a_changed_config_map_is_seen_in_the_pod_at_once_and_all_files_together(world: World) -> None:
    world.make("configmaps", {"metadata": {"name": "cfg"}, "data": {"a.json": "1", "b.json": "1"}})
    code = """
import os, time
last = None
while True:
    now = (os.readlink("config/..data"), open("config/a.json").read(), open("config/b.json").read())
    if now != last:
        print(now[1], now[2], flush=True)
    last = now
    time.sleep(0.01)
"""
    main = container(code, volumeMounts=[{"name": "v", "mountPath": "/srv/app/config", "readOnly": True}])
    made = world.make("pods", pod("cfg", main, volumes=[{"name": "v", "configMap": {"name": "cfg"}}]))
    await until(lambda: "1 1" in _file(world, made, "main"))

    def change(doc: dict[str, Any]) -> None:
        doc["data"] = {"a.json": "2", "b.json": "2"}

    world.store.mutate(CLUSTER, "configmaps", "default", "cfg", change)
    await until(lambda: "2 2" in _file(world, made, "main"), 1)
    assert set((await world.log("cfg")).splitlines()) <= {"1 1", "2 2", "1 2"}


async def test_projected_and_downward_files_follow_the_annotations_and_tokens_are_renewed(world: World) -> None:
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}}]}},
    ]
    main = container(volumeMounts=[{"name": "v", "mountPath": "/srv/app/account"}])
    made = world.make("pods", pod("proj", main, volumes=[{"name": "v", "projected": {"sources": sources}}]))
    await until(lambda: world.ready(app="proj"))
    folder = world.settings.state / "pods" / made["metadata"]["uid"] / "volumes/v"
    first = (folder / "token").read_text()
    assert world.clusters.token_user(CLUSTER, first).name == "system:serviceaccount:default:default"
    assert (folder / "ca.crt").read_text().count("BEGIN CERTIFICATE") == 2

    def annotate(doc: dict[str, Any]) -> None:
        doc["metadata"]["annotations"] = {"note": "seen"}

    world.store.mutate(CLUSTER, "pods", "default", "proj", annotate)
    await until(lambda: (folder / "note").read_text() == "seen", 1)
    world.clock.advance(40 * 86400)
    await until(lambda: (folder / "token").read_text() != first, 3)
    assert world.clusters.token_user(CLUSTER, first) is None
    assert world.clusters.token_user(CLUSTER, (folder / "token").read_text()) is not None


async def test_a_missing_volume_is_a_failed_mount_until_it_comes_and_a_mount_elsewhere_is_refused(world: World) -> None:
    mount = [{"name": "v", "mountPath": "/srv/app/c"}]
    world.make(
        "pods", pod("late", container(volumeMounts=mount), volumes=[{"name": "v", "secret": {"secretName": "s"}}])
    )
    await until(lambda: world.events("FailedMount"))
    assert world.events("FailedMount") == ['MountVolume.SetUp failed for volume "v" : secret "s" not found']
    world.make("secrets", {"metadata": {"name": "s"}, "data": {}})
    await until(lambda: world.ready(app="late"), 3)
    other = container(volumeMounts=[{"name": "v", "mountPath": "/data"}])
    world.make("pods", pod("other", other, volumes=[{"name": "v", "emptyDir": {}}]))
    await until(lambda: "mountPath /data" in state(world, "other")["state"].get("waiting", {}).get("message", ""))


async def test_init_containers_run_in_order_and_hand_over_files(world: World) -> None:
    mount = [{"name": "v", "mountPath": "/srv/app/shared"}]
    write = "open('shared/order', 'a').write('{} ')"
    inits = [container(write.format(n), volumeMounts=mount) | {"name": f"i{n}"} for n in (1, 2)]
    read = "import time; print(open('shared/order').read(), flush=True); time.sleep(60)"
    spec = pod(
        "inits", container(read, volumeMounts=mount), volumes=[{"name": "v", "emptyDir": {}}], initContainers=inits
    )
    made = world.make("pods", spec)
    await until(lambda: "1 2 " in _file(world, made, "main"))
    rows = world.get("pods", "inits")["status"]["initContainerStatuses"]
    assert [(row["name"], row["ready"], row["state"]["terminated"]["reason"]) for row in rows] == [
        ("i1", True, "Completed"), ("i2", True, "Completed"),
    ]  # fmt: skip


async def test_a_failing_init_container_is_tried_again_and_holds_the_others_back(world: World) -> None:
    world.make("pods", pod("stuck", container(), initContainers=[container("raise SystemExit(3)") | {"name": "init"}]))
    await until(lambda: state(world, "stuck", "initContainerStatuses").get("restartCount", 0) >= 1)
    status = world.get("pods", "stuck")["status"]
    assert status["phase"] == "Pending"
    initialized = next(row for row in status["conditions"] if row["type"] == "Initialized")
    assert initialized["message"] == "containers with incomplete status: [init]"
    assert state(world, "stuck")["state"]["waiting"]["reason"] == "PodInitializing"


async def test_a_crashing_container_backs_off_and_keeps_the_log_of_the_run_before(world: World) -> None:
    world.make("pods", pod("crash", container("print('about to fail'); raise SystemExit(7)")))
    row = await until(
        lambda: (r := state(world, "crash"))["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff" and r
    )
    assert row["state"]["waiting"]["message"].startswith(
        "back-off 1s restarting failed container=main pod=crash_default("
    )
    assert row["lastState"]["terminated"]["exitCode"] == 7
    assert row["lastState"]["terminated"]["reason"] == "Error"
    await until(lambda: state(world, "crash").get("restartCount", 0) >= 2)
    assert world.events("BackOff")[0].startswith("Back-off restarting failed container main in pod crash_default(")
    await until(lambda: state(world, "crash")["state"].get("waiting"))
    assert await world.log("crash", previous=True) == "about to fail\n"
    assert world.get("pods", "crash")["status"]["phase"] == "Running"


async def test_pods_that_end_are_succeeded_or_failed_and_stay_readable(world: World) -> None:
    world.make("pods", pod("good", container("print('done')"), restartPolicy="Never"))
    world.make("pods", pod("bad", container("raise SystemExit(2)"), restartPolicy="Never"))
    await until(lambda: world.get("pods", "good")["status"]["phase"] == "Succeeded")
    await until(lambda: world.get("pods", "bad")["status"]["phase"] == "Failed")
    assert await world.log("good") == "done\n"
    assert state(world, "bad")["state"]["terminated"]["exitCode"] == 2
    world.store.delete(CLUSTER, "pods", "default", "good")
    await until(lambda: world.get("pods", "good") is None)


async def test_a_deadline_ends_a_pod(world: World) -> None:
    world.make(
        "pods", pod("long", container("import time; time.sleep(60)"), restartPolicy="Never", activeDeadlineSeconds=1)
    )
    await until(lambda: world.get("pods", "long")["status"].get("reason") == "DeadlineExceeded")
    assert world.get("pods", "long")["status"]["phase"] == "Failed"
    assert not world.pids("long")


async def test_an_unknown_image_is_err_image_pull_and_then_image_pull_back_off(world: World) -> None:
    world.make("pods", pod("lost", container(image="nobody/nothing:1")))
    seen = set()

    def reasons() -> bool:
        seen.add(state(world, "lost")["state"].get("waiting", {}).get("reason"))
        return {"ErrImagePull", "ImagePullBackOff"} <= seen

    await until(reasons)
    failed = world.events("Failed")
    assert {"Error: ErrImagePull", "Error: ImagePullBackOff"} <= set(failed)
    assert any(
        text.startswith('Failed to pull image "nobody/nothing:1": rpc error: code = NotFound') for text in failed
    )
    assert world.events("BackOff") == ['Back-off pulling image "nobody/nothing:1"']
    with pytest.raises(ApiError, match="is waiting to start: trying and failing to pull image"):
        await world.log("lost")


async def test_an_image_that_is_not_public_is_pulled_with_the_login_of_its_own_registry(world: World) -> None:
    private = container(image="r.example.com/python:1", command=["python", "-c", "import time; time.sleep(60)"])
    for name, server, user in (("right", "r.example.com", "robot"), ("wrong", "r.example.com", "other"),
                               ("elsewhere", "s.example.com", "robot")):  # fmt: skip
        entry = {"auth": base64.b64encode(f"{user}:pa55".encode()).decode()}
        text = base64.b64encode(json.dumps({"auths": {server: entry}}).encode()).decode()
        data = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": text}}
        world.make("secrets", {"metadata": {"name": name}, **data})
        world.make("pods", pod(name, private, imagePullSecrets=[{"name": name}]))
    world.make("pods", pod("bare", private))
    await until(lambda: "running" in state(world, "right")["state"])
    for name in ("wrong", "elsewhere", "bare"):
        await until(lambda name=name: "Pull" in state(world, name)["state"].get("waiting", {}).get("reason", ""))
        assert "failed to authorize" in state(world, name)["state"]["waiting"]["message"]


WRITES = """
import os, time
def can(path):
    try:
        open(path, "w").close()
    except OSError:
        return False
    return True
print(can("here"), can(os.path.join(os.environ["TMPDIR"], "there")), can("data/x"), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not confine.landlock_abi(), reason="needs Landlock")
async def test_a_read_only_root_lets_a_container_write_to_its_volumes_only(world: World) -> None:
    mounts = [{"name": "t", "mountPath": "/tmp"}, {"name": "d", "mountPath": "/srv/app/data"}]  # noqa: S108
    volumes = [{"name": "t", "emptyDir": {}}, {"name": "d", "emptyDir": {}}]
    locked = container(WRITES, volumeMounts=mounts, securityContext={"readOnlyRootFilesystem": True})
    world.make("pods", pod("locked", locked, volumes=volumes))
    world.make("pods", pod("open", container(WRITES, volumeMounts=mounts[1:]), volumes=volumes[1:]))
    for name, words in (("locked", "False True True"), ("open", "True True True")):
        await until(lambda name=name: "running" in state(world, name)["state"])
        assert await asyncio.wait_for(_first_line(world, name), 10) == words


async def _first_line(world: World, name: str) -> str:
    while not (text := await world.log(name)):
        await asyncio.sleep(0.05)
    return text.splitlines()[0]


async def test_a_program_that_is_not_in_the_image_is_a_start_error(world: World) -> None:
    world.make("pods", pod("none", container(command=["no-such-program"]), restartPolicy="Never"))
    await until(lambda: world.get("pods", "none")["status"]["phase"] == "Failed")
    ended = state(world, "none")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert ended["message"].endswith('exec: "no-such-program": executable file not found in $PATH')


async def test_a_container_above_its_memory_limit_is_oom_killed_and_others_are_not(world: World) -> None:
    code = "import time; time.sleep(1); data = bytearray(200 * 2**20); time.sleep(60)"
    limit = {"limits": {"memory": "100Mi"}}
    world.make("pods", pod("small", container(resources=limit)))
    world.make("pods", pod("big", container(code, resources=limit), restartPolicy="Never"))
    ended = await until(lambda: state(world, "big")["state"].get("terminated"))
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")
    assert is_ready(world.get("pods", "small"))


async def test_readiness_takes_a_pod_out_and_brings_it_back_without_a_restart(world: World) -> None:
    made = world.make("pods", pod("web", container(ports=PORTS, readinessProbe={**READY, "failureThreshold": 1})))
    await until(lambda: world.ready(app="web"))
    flag = world.settings.state / "pods" / made["metadata"]["uid"] / "main/root/unready"
    flag.touch()
    await until(lambda: not world.ready(app="web"), 4)
    assert "Readiness probe failed: HTTP probe failed with statuscode: 500" in world.events("Unhealthy")
    ready = next(row for row in world.get("pods", "web")["status"]["conditions"] if row["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("ContainersNotReady", "containers with unready status: [main]")
    flag.unlink()
    await until(lambda: world.ready(app="web"), 4)
    assert state(world, "web")["restartCount"] == 0


async def test_a_failed_liveness_probe_restarts_the_container(world: World) -> None:
    probe = {"exec": {"command": ["python", "-c", "import os, sys; sys.exit(os.path.exists('dead'))"]},
             "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 1}  # fmt: skip
    made = world.make("pods", pod("web", container(livenessProbe=probe)))
    first = (await until(lambda: world.pids("web")))[0]
    (world.settings.state / "pods" / made["metadata"]["uid"] / "main/root/dead").touch()
    await until(lambda: state(world, "web").get("restartCount") == 1)
    await until(lambda: [pid for pid in world.pids("web") if pid != first])
    assert "Container main failed liveness probe, will be restarted" in world.events("Killing")
    assert not alive(first)


async def test_a_startup_probe_holds_the_others_back_and_tcp_probes_work(world: World) -> None:
    code = "import time; time.sleep(1.5)\n" + container()["command"][-1]
    main = container(
        code, ports=PORTS, startupProbe={"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 30},
        livenessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1},
    )  # fmt: skip
    world.make("pods", pod("slow", main))
    await until(lambda: state(world, "slow")["state"].get("running"))
    assert not state(world, "slow")["started"]
    await until(lambda: world.ready(app="slow"))
    assert state(world, "slow")["started"]
    assert state(world, "slow")["restartCount"] == 0


async def test_pre_stop_runs_before_sigterm_and_a_stubborn_program_is_killed_after_the_grace(world: World) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("term", flush=True))
print("up", flush=True)
while True: time.sleep(0.1)
"""
    hook = {"exec": {"command": ["python", "-c", "print('pre', file=open('hooked', 'w'))"]}}
    made = world.make("pods", pod("web", container(code, lifecycle={"preStop": hook})))
    await until(lambda: "up" in _file(world, made, "main"))
    pid = world.pids("web")[0]
    began = asyncio.get_running_loop().time()
    world.store.delete(CLUSTER, "pods", "default", "web", grace_seconds=2)
    follow = await world.log("web", follow=True)
    assert "term" in follow
    await until(lambda: world.get("pods", "web") is None)
    assert 1.5 < asyncio.get_running_loop().time() - began < 5
    assert not alive(pid)


async def test_a_pod_deleted_without_grace_is_gone_at_once(world: World) -> None:
    world.make("pods", pod("web", container("import signal, time; signal.signal(15, lambda *_: 0); time.sleep(99)")))
    pid = (await until(lambda: world.pids("web")))[0]
    world.store.delete(CLUSTER, "pods", "default", "web", grace_seconds=0)
    await until(lambda: not alive(pid), 2)


async def test_logs_are_cut_followed_and_capped(world: World) -> None:
    code = "import time\nfor n in range(200000): print('line', n, 'x' * 100)\nprint('end', flush=True); time.sleep(60)"
    made = world.make("pods", pod("talk", container(code)))
    folder = world.settings.state / "pods" / made["metadata"]["uid"] / "logs/main"
    await until(lambda: folder.exists() and "end\n" in (folder / "0.log").read_text()[-200:], 30)
    assert all(file.stat().st_size <= 10 * 1024 * 1024 for file in folder.iterdir())
    assert len(list(folder.iterdir())) == 2
    assert (await world.log("talk", tail_lines=2)).splitlines()[-1] == "end"
    assert len((await world.log("talk", limit_bytes=10)).encode()) == 10
    stamped = await world.log("talk", tail_lines=1, timestamps=True)
    assert stamped[10] == "T"
    assert stamped.endswith("Z end\n")


async def test_a_fault_makes_an_image_unknown_and_a_container_crash(world: World) -> None:
    world.faults.set("kube.image_pull", {"pod": "web"})
    world.make("pods", pod("web"))
    await until(lambda: state(world, "web")["state"].get("waiting", {}).get("reason") == "ErrImagePull")
    world.faults.set("kube.image_pull", {"pod": "web", "why": "denied"})
    await until(lambda: "401 Unauthorized" in str(state(world, "web")["state"]))
    world.faults.clear("kube.image_pull")
    await until(lambda: world.ready(app="web"))
    world.faults.set("kube.crash", {"pod": "other"})
    world.make("pods", pod("other"))
    await until(lambda: state(world, "other")["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff")


async def test_a_fault_lets_a_probe_fail_with_given_words_and_its_events_name_the_container(world: World) -> None:
    world.faults.set("kube.probe", {"pod": "web", "probe": "readiness", "message": "HTTP probe failed: gone"})
    world.make("pods", pod("web", container(ports=PORTS, readinessProbe=READY)))
    await until(lambda: "Readiness probe failed: HTTP probe failed: gone" in world.events("Unhealthy"))
    assert not world.ready(app="web")
    found = world.store.list(CLUSTER, "events", where=lambda event: event["reason"] in ("Started", "Unhealthy"))
    assert {event["involvedObject"]["fieldPath"] for event in found} == {"spec.containers{main}"}
    world.faults.clear("kube.probe")
    await until(lambda: world.ready(app="web"))


async def test_a_pod_that_writes_more_than_its_empty_dir_may_hold_is_evicted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "SECONDS", 0.2)
    code = "import time; open('scratch/big', 'wb').write(bytes(3 * 2**20)); time.sleep(60)"
    mounts = {"volumeMounts": [{"name": "scratch", "mountPath": "/srv/app/scratch"}]}
    for name, limit in (("big", "2Mi"), ("small", "8Mi")):
        volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": limit}}]
        world.make("pods", pod(name, container(code, **mounts), volumes=volumes))
    await until(lambda: world.get("pods", "big")["status"]["phase"] == "Failed")
    status = world.get("pods", "big")["status"]
    assert (status["reason"], status["message"]) == (
        "Evicted", 'Usage of EmptyDir volume "scratch" exceeds the limit "2Mi". ',
    )  # fmt: skip
    assert {row["reason"] for row in status["conditions"] if row["type"] == "DisruptionTarget"} == {
        "TerminationByKubelet"
    }
    await until(lambda: not world.pids("big"))
    assert world.events("Evicted") == [status["message"]]
    assert is_ready(world.get("pods", "small"))


async def test_a_pod_cannot_read_the_state_of_the_sandbox_or_another_pod(world: World) -> None:
    await asyncio.sleep(0)
    other = world.make("pods", pod("other"))
    await until(lambda: world.ready(app="other"))
    state_folder = world.settings.state
    paths = [str(state_folder / "sandbox.db"), str(state_folder / "authority/ca.key"), "/etc/shadow",
             str(state_folder / "pods" / other["metadata"]["uid"] / "logs/main/0.log"),
             f"/proc/{os.getpid()}/environ", f"/proc/{world.pids('other')[0]}/environ"]  # fmt: skip
    code = f"""
for path in {paths!r}:
    try:
        open(path, "rb").read(); print("read", path)
    except PermissionError:
        print("refused")
"""
    world.make("pods", pod("spy", container(code), restartPolicy="Never"))
    await until(lambda: world.get("pods", "spy")["status"]["phase"] == "Succeeded")
    assert (await world.log("spy")).split() == ["refused"] * len(paths)


async def test_a_sidecar_starts_before_the_others_and_runs_beside_them(world: World) -> None:
    side = container() | {"name": "side", "restartPolicy": "Always"}
    side["startupProbe"] = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    main = container("import time; print('after', flush=True); time.sleep(60)")
    made = world.make("pods", pod("both", main, initContainers=[side]))
    await until(lambda: "after" in _file(world, made, "main"))
    assert "listening" in _file(world, made, "side")
    assert len(world.pids("both")) == 2


async def test_a_post_start_hook_runs_and_one_that_fails_restarts_the_container(world: World) -> None:
    hook = {"postStart": {"exec": {"command": ["python", "-c", "open('hooked', 'w')"]}}}
    made = world.make("pods", pod("good", container(lifecycle=hook)))
    flag = world.settings.state / "pods" / made["metadata"]["uid"] / "main/root/hooked"
    await until(flag.exists)
    broken = {"postStart": {"exec": {"command": ["python", "-c", "raise SystemExit(1)"]}}}
    world.make("pods", pod("bad", container(lifecycle=broken)))
    await until(lambda: state(world, "bad").get("restartCount", 0) >= 1)
    assert any(text.startswith("PostStartHook failed: ") for text in world.events("FailedPostStartHook"))


async def test_an_http_pre_stop_hook_is_called_before_the_end(world: World) -> None:
    hook = {"preStop": {"httpGet": {"path": "/bye", "port": 8080}}}
    made = world.make("pods", pod("web", container(lifecycle=hook, ports=PORTS, readinessProbe=READY)))
    await until(lambda: world.ready(app="web"))
    follow = asyncio.ensure_future(world.log("web", follow=True))
    await asyncio.sleep(0.1)
    world.store.delete(CLUSTER, "pods", "default", "web")
    assert "asked /bye" in await follow
    await until(lambda: world.get("pods", "web") is None)
    await until(lambda: not (world.settings.state / "pods" / made["metadata"]["uid"]).exists())


async def test_the_last_words_of_a_failed_container_are_its_message_when_asked_for(world: World) -> None:
    main = container("print('no model here'); raise SystemExit(4)", terminationMessagePolicy="FallbackToLogsOnError")
    world.make("pods", pod("web", main, restartPolicy="Never"))
    await until(lambda: world.get("pods", "web")["status"]["phase"] == "Failed")
    assert state(world, "web")["state"]["terminated"]["message"] == "no model here\n"


async def test_a_full_block_of_addresses_is_said_and_the_pod_starts_when_one_is_free(world: World) -> None:
    for number in range(2, 255):
        taken = pod(f"taken-{number}")
        taken["status"] = {"podIP": f"{world.settings.block}.{number}"}
        world.make("pods", {**taken, "spec": {**taken["spec"], "nodeSelector": {"no": "where"}}})
    world.make("pods", pod("late"))
    await until(lambda: world.events("FailedCreatePodSandBox"))
    assert "all 253 addresses of" in world.events("FailedCreatePodSandBox")[0]
    world.store.delete(CLUSTER, "pods", "default", "taken-9")
    await until(lambda: world.ready(app="late"))
    assert world.get("pods", "late")["status"]["podIP"] == f"{world.settings.block}.9"


async def test_logs_of_what_is_not_there_are_refused_in_the_real_words(world: World) -> None:
    with pytest.raises(ApiError, match='pods "none" not found'):
        await world.log("none")
    world.make("pods", pod("web"))
    await until(lambda: world.ready(app="web"))
    with pytest.raises(ApiError, match="container other is not valid for pod web"):
        await world.log("web", "other")
    with pytest.raises(ApiError, match='previous terminated container "main" in pod "web" not found'):
        await world.log("web", previous=True)
