"""From what a cluster shows, in real servers' words, to one sentence, its proof and a fix."""

from __future__ import annotations

from typing import Any

import pytest

from deployments import diagnose
from deployments.diagnose import NEVER, Scene, Trouble
from deployments.diagnose.logs import mask
from deployments.types import DeploymentState

from . import kube_words as kube
from .kube_words import BEGAN, ENDED, POD, crashed, ended, event, failed_create, pod, put_out, row, unscheduled, waiting

Json = dict[str, Any]
PULL = 'rpc error: code = {code} desc = failed to pull and unpack image "acr.azurecr.io/team/iris:3": {why}'
RESOLVE = 'failed to resolve reference "acr.azurecr.io/team/iris:3": '
NONE = "0/3 nodes are available: "
TAIL = " preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
RUNC = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "


def found_in(*pods: Json, events: Any = (), **more: Any) -> Trouble | None:
    return diagnose.trouble(Scene(pods, events, **more))


def told(*pods: Json, **more: Any) -> Trouble:
    """The trouble; it has to be one that counts, and to say what helps."""
    found = found_in(*pods, **more)
    assert found is not None
    assert found.patience < NEVER, found
    assert found.fix.endswith("."), found.fix
    assert found.text.endswith("."), found.text
    return found


def pull(why: str, code: str = "Unknown", word: str = "ImagePullBackOff") -> Json:
    said = PULL.format(code=code, why=why)
    back_off = f'Back-off pulling image "acr.azurecr.io/team/iris:3": ErrImagePull: {said}'
    return pod(waiting(word, back_off if word == "ImagePullBackOff" else said))


@pytest.mark.parametrize(
    ("found", "sentence", "fix"),
    [
        (pull(f"{RESOLVE}acr.azurecr.io/team/iris:3: not found", "NotFound"), "acr.azurecr.io does not have it", "tag"),
        (pull(f"{RESOLVE}acr.azurecr.io/team/iris:3: not found", "NotFound", "ErrImagePull"), "not have it", "tag"),
        (
            pull(f"{RESOLVE}failed to authorize: failed to fetch anonymous token: unexpected status from GET request "
                 "to https://acr.azurecr.io/oauth2/token?scope=x: 401 Unauthorized"),
            "its registry acr.azurecr.io does not let the cluster read it", "AcrPull",
        ),
        (
            pull(f"{RESOLVE}pull access denied, repository does not exist or may require authorization: server "
                 "message: insufficient_scope: authorization failed"),
            "does not let the cluster read it, or has no such image", "user and password",
        ),
        (
            pull(f'{RESOLVE}failed to do request: Head "https://acr.azurecr.io/v2/team/iris/manifests/3": dial tcp: '
                 "lookup acr.azurecr.io on 10.0.0.10:53: no such host"),
            "the name of its registry acr.azurecr.io does not resolve", "DNS",
        ),
        (
            pull(f'{RESOLVE}failed to do request: Head "https://acr.azurecr.io/v2/": dial tcp 20.1.2.3:443: i/o '
                 "timeout"),
            "its registry acr.azurecr.io does not answer", "firewall",
        ),
        (
            pull(f'{RESOLVE}failed to do request: Head "https://acr.azurecr.io/v2/": tls: failed to verify '
                 "certificate: x509: certificate signed by unknown authority"),
            "do not trust the certificate", "CA",
        ),
        (pull("failed to copy: httpReadSeeker: 429 Too Many Requests - toomanyrequests"), "asked too often", "Wait"),
        (pull("no match for platform in manifest: not found", "NotFound"), "not made for the nodes'", "linux/amd64"),
        (pull("failed to extract layer: write /var/lib: no space left on device"), "disk is full", "bigger disks"),
        (
            pod(waiting("InvalidImageName", 'Failed to apply default image tag "Bad:Im:age": couldn\'t parse image '
                        'name "Bad:Im:age": invalid reference format')),
            "that is no name of an image", "REGISTRY/REPOSITORY:TAG",
        ),
        (
            pod(waiting("ErrImageNeverPull", 'Container image "iris:3" is not present with pull policy of Never')),
            "does not have it", "tag",
        ),
        (pod(waiting("RegistryUnavailable", "registry is unavailable")), "does not answer", "firewall"),
        (
            pod(waiting("CreateContainerConfigError", 'secret "iris-7" not found')),
            'The container server cannot be made (CreateContainerConfigError): secret "iris-7" not found', "again",
        ),
        (
            pod(waiting("CreateContainerConfigError", "couldn't find key token in Secret ws/iris-7")),
            "find key", "again",
        ),
        (
            pod(waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root (pod: "
                        f'"{POD}_ws(uid)", container: server)')),
            "image will run as root", "numeric USER",
        ),
        (
            pod(waiting("RunContainerError", RUNC + 'unable to start container process: exec: "gunicorn": executable '
                        "file not found in $PATH: unknown")),
            '(RunContainerError): exec: "gunicorn": executable file not found', "azureml-inference-server-http",
        ),
        (
            pod(crashed(128, "StartError", message=RUNC + 'unable to start container process: exec: "/bin/sh": stat '
                        "/bin/sh: no such file or directory: unknown")),
            '(StartError): exec: "/bin/sh": stat /bin/sh: no such file', "/bin/sh",
        ),
        (pod(crashed(3)), "The entry script's init() failed; it ended 3 times.", "entry script"),
        (pod(crashed(1, restarts=6)), "The container server ended with exit code 1; it ended 7 times.", "log"),
        (pod(crashed(0, "Completed")), "ended by itself (exit code 0)", "must not end"),
        (pod(crashed(139)), "ended by SIGSEGV (exit code 139)", "native library"),
        (pod(crashed(132)), "ended by SIGILL (exit code 132)", "processor"),
        (pod(crashed(137)), "ended by SIGKILL (exit code 137)", "memoryInGB"),
        (pod(row(restarts=1, terminated=ended(1))), "exit code 1; it ended 2 times.", "log"),
        (
            pod(crashed(137, "OOMKilled")),
            "used more than its memory limit of 0.5 GiB (it asks for 0.3 GiB) and was killed (OOMKilled); it ended 3",
            "Raise memoryInGBLimit above 0.5 GiB",
        ),
        (
            pod(init=crashed(1, name="fetch", restarts=3)),
            "The replica could not fetch its code and models; it ended 4 times.", "log",
        ),
        (pod(init=crashed(137, "OOMKilled", name="fetch")), "The node had no memory left for", "memoryInGB"),
    ],
)  # fmt: skip
def test_a_container_that_does_not_run_is_one_sentence_with_a_fix(found: Json, sentence: str, fix: str) -> None:
    trouble = told(found)
    assert sentence in trouble.text
    assert fix in trouble.fix
    assert trouble.pod == POD


def test_an_older_kubelet_that_leaves_the_cause_out_is_helped_by_its_events() -> None:
    found = pod(waiting("ImagePullBackOff", 'Back-off pulling image "acr.azurecr.io/team/iris:3"'))
    cause = PULL.format(code="Unknown", why=f"{RESOLVE}unexpected status: 403 Forbidden")
    events = [
        event("Failed", f'Failed to pull image "acr.azurecr.io/team/iris:3": {cause}', found),
        event("Failed", "Error: ImagePullBackOff", found),
        event("BackOff", 'Back-off pulling image "acr.azurecr.io/team/iris:3"', found, kind="Normal"),
    ]
    assert "does not let the cluster read it" in told(found, events=events).text
    secret = event("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (x)", found)
    assert told(found, events=[*events, secret]).fix.endswith("A pull secret that the pod names is missing.")


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("3 Insufficient cpu.", "containerResourceRequirements.cpu"),
        ("1 Insufficient cpu, 2 Insufficient memory.", "memoryInGB"),
        ("3 Insufficient nvidia.com/gpu.", "gpuCores"),
        ("3 Insufficient ephemeral-storage.", "bigger disks"),
        ("3 Too many pods.", "add a node"),
        ("1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 2 Insufficient cpu.", "not reachable"),
        ("3 node(s) had untolerated taint {sku: gpu}.", "take the taint sku=gpu away"),
        ("3 node(s) had untolerated taint(s).", "take the taints away"),
        ("3 node(s) had taint {sku: gpu}, that the pod didn't tolerate.", "take the taint sku=gpu away"),
        ("1 node(s) were unschedulable, 2 Insufficient cpu.", "kubectl uncordon"),
        ("3 node(s) had untolerated taint {node.kubernetes.io/unschedulable: }.", "kubectl uncordon"),
        ("3 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }.", "out of disk"),
        ("3 node(s) didn't match Pod's node affinity/selector.", "Linux node"),
    ],
)
def test_what_fits_on_no_node_says_what_it_asks_for_and_what_helps_against_each_reason(said: str, fix: str) -> None:
    trouble = told(unscheduled(f"{NONE}{said}{TAIL}"))
    asked = f"The replica {POD} asks for 3.9 CPU, 0.3 GiB of memory and fits on no node: {NONE}{said}"
    assert (trouble.text, trouble.state) == (asked, DeploymentState.UNSCHEDULABLE)
    assert fix in trouble.fix


def test_a_pool_without_nodes_is_named() -> None:
    found = unscheduled(f"{NONE}3 node(s) didn't match Pod's node affinity/selector.{TAIL}")
    found["spec"]["nodeSelector"] = {"kubernetes.azure.com/agentpool": "gpu1"}
    assert told(found).fix.startswith("The node pool gpu1 has no node that takes it")
    assert "there is none" in told(unscheduled("no nodes available to schedule pods")).fix


def test_room_is_waited_for_longer_where_an_autoscaler_may_add_nodes_and_less_once_it_says_that_it_cannot() -> None:
    found = unscheduled(f"{NONE}3 Insufficient cpu.{TAIL}")
    up = event("TriggeredScaleUp", "pod triggered scale-up: [{aks-nodepool1 1->2 (max: 3)}]", found, kind="Normal")
    not_up = kube.scheduler_event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group size reached",
                                  "2026-11-30T10:05:00.000000Z")  # fmt: skip
    grown = {"grows": True}
    waits = [told(found), told(found, **grown), told(found, events=[up]), told(found, events=[not_up, up], **grown)]
    assert [each.patience for each in waits] == [15, 600, 600, 60]


KILLING = "Container server failed {} probe, will be restarted"
REFUSED = 'Get "http://10.244.0.5:5001/": dial tcp 10.244.0.5:5001: connect: connection refused'


def test_a_container_that_never_starts_is_told_by_its_startup_probe() -> None:
    found = pod({**row(restarts=1, last=ended(137), running={"startedAt": ENDED})}, phase="Running")
    events = [
        event("Unhealthy", f"Startup probe failed: {REFUSED}", found),
        event("Killing", KILLING.format("startup"), found, kind="Normal"),
    ]
    trouble = told(found, events=events)
    assert (
        trouble.text == f"The startup probe of the container server failed for 600 s, so that it was ended: {REFUSED}."
    )
    assert "within 600 s" in trouble.fix
    assert (trouble.container, trouble.previous) == ("server", True)


def test_a_container_that_does_not_live_is_told_by_its_liveness_probe_and_not_as_a_crash() -> None:
    found = pod(crashed(137, restarts=2))
    events = [
        event("Unhealthy", "Liveness probe failed: dial tcp 10.244.0.5:5001: i/o timeout", found),
        event("Killing", KILLING.format("liveness"), found, kind="Normal"),
    ]
    trouble = told(found, events=events)
    assert (
        "failed 3 times in a row, every 10 s, so that it was ended; it was restarted 2 times: dial tcp" in trouble.text
    )
    assert "timeoutSeconds 2, failureThreshold 3" in trouble.fix
    earlier = [each | {"lastTimestamp": "2026-11-30T09:00:00Z"} for each in events]
    assert "ended by SIGKILL" in told(found, events=earlier).text


def test_a_container_that_runs_and_does_not_get_ready_is_told_by_its_readiness_probe_after_a_while() -> None:
    running = {**row(running={"startedAt": BEGAN}), "started": True}
    found = pod(running, phase="Running")
    said = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    others = {"involvedObject": {"name": POD, "uid": f"uid-{POD}", "fieldPath": "spec.containers{companion}"}}
    trouble = told(found, events=[event("Unhealthy", said, found)])
    assert trouble.text.endswith("runs and does not get ready: HTTP probe failed with statuscode: 503.")
    assert trouble.patience == 60
    assert found_in(found, events=[event("Unhealthy", said, found) | others]) is None


def test_a_slow_start_is_told_while_one_waits_and_is_no_failure() -> None:
    found = pod(row(running={"startedAt": BEGAN}), phase="Running")
    trouble = found_in(found, events=[event("Unhealthy", f"Startup probe failed: {REFUSED}", found)])
    assert trouble is not None
    assert (trouble.text, trouble.patience) == ("The container server is starting: it has up to 600 s for that.", NEVER)


MOUNT = 'MountVolume.SetUp failed for volume "token" : secret "iris-7" not found'
SANDBOX = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox: plugin "
    'type="azure-vnet" failed (add): Failed to get IP address from CNS: no free addresses'
)


@pytest.mark.parametrize(
    ("reason", "said", "sentence", "fix"),
    [
        (
            "FailedMount",
            MOUNT,
            f'The volume token of the replica {POD} cannot be mounted: secret "iris-7" not',
            "again",
        ),
        ("FailedMount", "Unable to attach or mount volumes: unmounted volumes=[token]", "A volume of the", "events"),
        ("FailedCreatePodSandBox", SANDBOX, "The node cannot prepare the replica", "free addresses"),
    ],
)
def test_a_pod_whose_containers_cannot_begin_says_what_is_missing(
    reason: str, said: str, sentence: str, fix: str
) -> None:
    found = pod(waiting("PodInitializing"), init=waiting("PodInitializing", name="fetch"))
    trouble = told(found, events=[event(reason, said, found)])
    assert sentence in trouble.text
    assert fix in trouble.fix
    begun = pod(waiting("PodInitializing"), init=row("fetch", running={"startedAt": BEGAN}))
    assert found_in(begun, events=[event(reason, said, begun)]) is None


QUOTA = "exceeded quota: team, requested: cpu=1,memory=2Gi, used: cpu=4,memory=8Gi, limited: cpu=4,memory=8Gi"


@pytest.mark.parametrize(
    ("said", "sentence", "fix"),
    [
        (QUOTA, "The quota team of the namespace is used up: a replica needs cpu=1,memory=2Gi, cpu=4,memory=8Gi are "
         "used of cpu=4,memory=8Gi.", "Raise the quota team"),
        ("failed quota: team: must specify limits.cpu for: server; limits.memory for: server", "wants that the replica "
         "says limits.cpu for: server", "cpuLimit"),
        ("maximum memory usage per Container is 1Gi, but limit is 2Gi", "LimitRange of the namespace refuses", "cpu"),
        ("[minimum cpu usage per Pod is 1.  No request is specified]", "LimitRange of the namespace refuses", "cpu"),
        ("cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000", "LimitRange", "cpu"),
        ('violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "server" must set '
         "securityContext.allowPrivilegeEscalation=false)", "Pod Security level restricted:latest refuses", "level"),
        ('admission webhook "validation.gatekeeper.sh" denied the request: [azurepolicy-allowed-images] Container '
         "image acr.azurecr.io/x for container server has not been allowed.", "The cluster's policy "
         "validation.gatekeeper.sh refuses the replica: [azurepolicy-allowed-images] Container image", "exempt"),
        ("ValidatingAdmissionPolicy 'no-gpu' with binding 'all' denied request: failed expression: object.spec",
         "The cluster's policy no-gpu refuses the replica: failed expression", "exempt"),
        ('Internal error occurred: failed calling webhook "mutate.istio.io": failed to call webhook: Post "https://x": '
         "context deadline exceeded", "The cluster's policy mutate.istio.io does not answer", "webhook"),
        ('error looking up service account ws/default: serviceaccount "default" not found',
         "The service account default is not there", "again"),
        ("no PriorityClass with name slipway-replica was found", "The priority class slipway-replica is not", "again"),
        ("unable to create new content in namespace ws because it is being terminated", "is being deleted", "Wait"),
        ("something that nobody knew", "The cluster refuses the replica: something that nobody knew", "rules"),
    ],
)  # fmt: skip
def test_what_lets_no_pod_be_made_is_one_sentence_with_a_fix(said: str, sentence: str, fix: str) -> None:
    trouble = told(workload=failed_create(said))
    assert sentence in trouble.text
    assert fix in trouble.fix


def test_a_refusal_of_an_earlier_change_counts_no_more() -> None:
    assert found_in(workload=failed_create(QUOTA) | {"metadata": {"name": "iris-7", "generation": 5}}) is None


EVICTED = "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 9Gi. "


@pytest.mark.parametrize(
    ("reason", "said", "sentence", "fix"),
    [
        ("Evicted", EVICTED, "was ended by its node (Evicted): The node was low on resource: ephemeral", "disks"),
        ("Evicted", 'Usage of EmptyDir volume "app" exceeds the limit "2Gi". ', "(Evicted): Usage", "may take 2Gi"),
        ("Evicted", 'Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". ', "(Evicted): Usage", "Write less"),
        ("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", "local", "less"),
        ("Evicted", "The node was low on resource: memory. Container server was using 2Gi", "memory", "memoryInGB"),
        ("Evicted", "The node had condition: [DiskPressure]. ", "DiskPressure", "bigger disks"),
        ("OutOfcpu", "Node didn't have enough resource: cpu, requested: 3900, used: 200, capacity: 3860", "refused",
         "events"),
        ("UnexpectedAdmissionError", "Allocate failed due to no GPU device, which is unexpected", "refused", "events"),
        ("Terminated", "Pod was terminated in response to imminent node shutdown.", "ended by its node", "shut down"),
        ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", "longer", "leave that"),
    ],
)  # fmt: skip
def test_pods_that_are_put_out_again_and_again_are_a_trouble_and_one_is_only_told(
    reason: str, said: str, sentence: str, fix: str
) -> None:
    gone = [put_out(reason, said, number) for number in (1, 2)]
    trouble = told(*gone)
    assert sentence in trouble.text
    assert fix in trouble.fix
    once = found_in(gone[0])
    assert once is not None
    assert once.patience == NEVER
    ready = pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    assert found_in(*gone, ready) is None


def test_a_lost_node_is_told_and_waited_out_as_kubernetes_moves_its_pods() -> None:
    not_ready = {"type": "Ready", "status": "False"}
    found = pod(row(running={"startedAt": BEGAN}), phase="Running", conditions=[not_ready])
    silent = kube.node("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    for nodes, words in (([silent], "is not ready (NodeStatusUnknown: Kubelet stopped posting node status.)."),
                         ([], "is gone.")):  # fmt: skip
        trouble = found_in(found, nodes=nodes)
        assert trouble is not None
        assert trouble.text == f"The node {kube.NODE}, on which {POD} runs, {words}"
        assert trouble.patience == NEVER
    assert "five minutes" in trouble.fix
    assert found_in(found | {"metadata": {**found["metadata"], "deletionTimestamp": ENDED}}, nodes=[silent]) is None


@pytest.mark.parametrize(("code", "reason"), [(255, "Unknown"), (137, "ContainerStatusUnknown")])
def test_a_node_that_starts_anew_is_told_and_never_held_against_the_container(code: int, reason: str) -> None:
    trouble = found_in(pod(waiting("PodInitializing", restarts=3, last=ended(code, reason))))
    assert trouble is not None
    assert trouble.text == "The container server went down with its node; it ended 4 times."
    assert trouble.patience == NEVER


LATE = {
    "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
    "message": 'ReplicaSet "iris-7-6d9f4b5c8" has timed out progressing.',
}  # fmt: skip


def test_what_the_cluster_gave_up_counts_at_once_with_the_sentence_that_was_known() -> None:
    starting = pod(row(running={"startedAt": BEGAN}), phase="Running")
    assert told(starting, workload=kube.workload(LATE)).text.startswith("The container server is starting")
    assert "in time, and nothing says why: ReplicaSet" in told(workload=kube.workload(LATE)).text
    assert found_in(workload=kube.workload(LATE, generation=5)) is None


@pytest.mark.parametrize(
    "found",
    [
        pod(waiting("ContainerCreating")),
        pod(waiting("PodInitializing"), init=row("fetch", terminated=ended(0, "Completed"))),
        pod(crashed(1), conditions=[{"type": "Ready", "status": "True"}]),
        pod(),
        {"metadata": {"name": "new"}},
    ],
)
def test_what_may_become_well_is_no_trouble(found: Json) -> None:
    assert found_in(found) is None


def test_a_first_crash_may_be_chance() -> None:
    found = found_in(pod(row(terminated=ended(1))))
    assert found is not None
    assert (found.text, found.patience) == (
        "The container server ended with exit code 1; it ended once and is started again.", NEVER,
    )  # fmt: skip


def test_what_is_sure_is_told_before_what_may_pass_whatever_the_names() -> None:
    unsure, sure = pod(row(terminated=ended(1)), name="a"), pod(crashed(3), name="b")
    assert told(unsure, sure).pod == "b"


def test_a_second_pod_of_the_name_has_none_of_the_events_of_the_first() -> None:
    found = pod(waiting("PodInitializing"))
    old = event("FailedMount", MOUNT, found)
    old["involvedObject"]["uid"] = "an-earlier-one"
    assert found_in(found, events=[old]) is None


def test_a_fetch_that_fails_says_its_last_line_and_what_helps() -> None:
    trouble = told(pod(init=crashed(1, name="fetch")))
    for line, fix in (
        ("The portal cannot be reached at https://portal/api: timed out.", "URL_FOR_CLUSTERS"),
        ("The portal answered 404 at https://portal/api.", "Update it again"),
        ("model.pkl arrived damaged: 7 of 9 bytes.", "anew"),
        ("[Errno 28] No space left on device", "bigger disks"),
    ):
        named = diagnose.with_log(trouble, f"model.pkl: 9 bytes\nfetch failed: {line}\n")
        assert named.text == f"The replica could not fetch its code and models; it ended 3 times. {line}"
        assert fix in named.fix


def test_workers_that_the_kernel_kills_are_told_though_their_container_goes_on() -> None:
    log = "[1] [CRITICAL] WORKER TIMEOUT\n[1] [ERROR] Worker (pid:7) was sent SIGKILL! Perhaps out of memory?\n"
    named = diagnose.with_log(told(pod(crashed(1))), log)
    assert "workers were killed, as if for want of memory" in named.text
    assert "memoryInGBLimit" in named.fix


def test_evidence_is_the_log_or_else_the_newest_events_after_the_clusters_own_words_and_holds_no_secret() -> None:
    found = pod(waiting("PodInitializing"))
    events = [
        event("FailedMount", MOUNT, found),
        event("Scheduled", "Successfully assigned", found, lastTimestamp=BEGAN),
    ]
    scene = Scene([found], events)
    trouble = told(found, events=events)
    assert (
        diagnose.evidence(trouble, scene) == f"Warning Scheduled: Successfully assigned\nWarning FailedMount: {MOUNT}"
    )
    assert diagnose.evidence(trouble, scene, "one\ntoken=abcdefgh1234\n") == "one\ntoken=***\n"
    assert diagnose.evidence(trouble, Scene([found])) == MOUNT
    refused = told(workload=failed_create(QUOTA))
    about = {"kind": "ReplicaSet", "name": "iris-7-6d9f4b5c8"}
    rows = [event("FailedCreate", f"Error creating: {QUOTA}") | {"involvedObject": about}]
    rows.append(rows[0] | {"involvedObject": {**about, "name": "iris-77-6d9f4b5c8"}, "message": "of another"})
    scene = Scene([], rows, failed_create(QUOTA))
    assert diagnose.evidence(refused, scene).endswith(f"Warning FailedCreate: Error creating: {QUOTA}")


@pytest.mark.parametrize(
    "text",
    [
        "https://x.blob.core.windows.net/c/b?sp=r&sig=SECRETSECRET%3D&se=2026", "Authorization: Bearer SECRETSECRET",
        "AccountKey=SECRETSECRET==;EndpointSuffix=core", "postgres://me:SECRETSECRET@db/x", "password: SECRETSECRET",
        '{"api_key": "SECRETSECRET"}', "eyJhbGciOi.SECRETSECRET.c2lnbmF0dXJl",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    assert "SECRET" not in mask(text)
    assert "***" in mask(text)


def test_the_cause_is_the_last_line_of_the_last_traceback() -> None:
    log = 'Traceback (most recent call last):\n  File "a"\nOSError: first\nx\n'
    log += 'Traceback (most recent call last):\n  File "b", line 1\n    boom\nValueError: no model\nWorker exiting\n'
    assert diagnose.last_cause(log) == "ValueError: no model"
    assert diagnose.last_cause("quiet") == ""


def test_the_inference_servers_own_exception_does_not_hide_the_scripts() -> None:
    log = """2026-11-25 12:53:36,807 E [1] azmlinfsrv - Encountered Exception Traceback (most recent call last):
  File "user_script.py", line 119, in invoke_init
    self._user_init()
ValueError: no such model: 42

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "aml_blueprint.py", line 109, in setup
azureml_inference_server_http.server.user_script.UserScriptException: Caught an unhandled exception

2026-11-25 12:53:36,807 I [1] gunicorn.error - Worker exiting (pid: 1)
"""
    assert diagnose.last_cause(log) == "ValueError: no such model: 42"


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            "error: No solution found\n  cause: Because a==9 is not there, no.\nstep failed with code 1\n",
            "Because a==9 is not there, no.",
        ),
        (
            "ERROR: No matching distribution found for a==9\nError: failed during run, err: exit status 1\n",
            "ERROR: No matching distribution found for a==9",
        ),
        ("fetching\nerror: no such host\nbye\n", "error: no such host"),
        ("one\ntwo\n\n", "two"),
        ("", "there is no log"),
    ],
)
def test_a_builds_cause_is_the_line_that_names_the_package(log: str, cause: str) -> None:
    assert diagnose.build_cause(log) == cause
