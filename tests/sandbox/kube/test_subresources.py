"""scale, status, log, proxy, eviction."""

import asyncio
from typing import Any

from aiohttp import web

MERGE = "application/merge-patch+json"
Json = dict[str, Any]


def _deployment(http: Any, namespace: str) -> str:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "b:1"}]}}
    body = {"metadata": {"name": "web"}, "spec": {"selector": {"matchLabels": labels}, "template": template}}
    path = f"apis/apps/v1/namespaces/{namespace}/deployments"
    assert http("POST", path, body).status_code == 201
    return f"{path}/web"


def _pod(http: Any, namespace: str, *names: str, labels: dict[str, str] | None = None) -> str:
    containers = [{"name": name, "image": "b:1"} for name in names]
    meta = {"name": "p", "labels": labels or {}}
    answer = http("POST", f"api/v1/namespaces/{namespace}/pods", {"metadata": meta, "spec": {"containers": containers}})
    assert answer.status_code == 201, answer.text
    return f"api/v1/namespaces/{namespace}/pods/p"


def test_scale_reads_and_writes_the_replicas(http, namespace):
    path = _deployment(http, namespace)
    scale = http("GET", f"{path}/scale").json()
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 1}, "app=web")
    scale["spec"]["replicas"] = 4
    assert http("PUT", f"{path}/scale", scale).json()["spec"]["replicas"] == 4
    assert http("PATCH", f"{path}/scale", {"spec": {"replicas": 2}}, MERGE).json()["spec"]["replicas"] == 2
    assert http("GET", path).json()["spec"]["replicas"] == 2
    stale = http("PUT", f"{path}/scale", scale)
    assert stale.status_code == 409
    wrong = http("PATCH", f"{path}/scale", {"spec": {"replicas": -1}}, MERGE)
    assert wrong.json()["message"].endswith("spec.replicas: Invalid value: -1: must be greater than or equal to 0")


def test_status_takes_only_the_status_and_the_object_only_the_rest(http, namespace):
    path = _deployment(http, namespace)
    body = {"spec": {"replicas": 9}, "status": {"readyReplicas": 3}}
    after = http("PATCH", f"{path}/status", body, MERGE).json()
    assert (after["spec"]["replicas"], after["status"]) == (1, {"readyReplicas": 3})
    main = http("PATCH", path, {"status": {"readyReplicas": 7}}, MERGE).json()
    assert main["status"] == {"readyReplicas": 3}


def test_a_log_is_streamed_and_passes_its_options_on(server, http, namespace):
    path = _pod(http, namespace, "main")
    assert http("GET", f"{path}/log").text == "one\ntwo\n"
    assert http("GET", f"{path}/log", tailLines=1, previous="true", timestamps="true").text == "two\n"
    asked = server.kubelet.asked
    assert (asked["container"], asked["tail_lines"], asked["previous"], asked["timestamps"]) == ("main", 1, True, True)


def test_a_log_of_several_containers_needs_a_name(http, namespace):
    path = _pod(http, namespace, "main", "side")
    answer = http("GET", f"{path}/log")
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "a container name must be specified for pod p, choose one of: [main side]",
    )
    assert http("GET", f"{path}/log", container="side").status_code == 200
    assert http("GET", f"{path}/log", container="x").json()["message"] == "container x is not valid for pod p"


def test_a_refusal_of_the_kubelet_is_passed_on(server, http, namespace):
    path = _pod(http, namespace, "main")
    lines, server.kubelet.lines = server.kubelet.lines, []
    answer = http("GET", f"{path}/log")
    server.kubelet.lines = lines
    assert (answer.status_code, answer.json()["message"]) == (400, 'container "main" in pod "p" is waiting to start')


async def _serve(seen: list[str]) -> tuple[web.AppRunner, int]:
    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.Response(status=418, text=f"{request.path_qs}|{request.headers['X-Key']}")

    app = web.Application()
    app.router.add_get("/{tail:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


def test_the_pod_proxy_passes_path_query_headers_and_status_but_not_the_token(server, http, namespace):
    path = _pod(http, namespace, "main")
    seen: list[str] = []
    runner, port = server.run(_serve(seen))

    def place(pod: Json) -> None:
        pod["status"]["podIP"] = "127.0.0.1"

    server.call(server.store.mutate, "c1", "pods", namespace, "p", place, subresource="status")
    http.session.headers["X-Key"] = "k"
    answer = http("GET", f"{path}:{port}/proxy/stats/all", filter="x")
    server.run(runner.cleanup())
    assert (answer.status_code, answer.text) == (418, "/stats/all?filter=x|k")
    assert seen == [""]
    gone = http("GET", f"{path}:{port}/proxy/stats")
    assert (gone.status_code, gone.json()["reason"]) == (503, "ServiceUnavailable")


def test_an_eviction_asks_the_budget(server, http, namespace):
    path = _pod(http, namespace, "main", labels={"app": "web"})

    def run(pod: Json) -> None:
        pod["status"] |= {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}

    server.call(server.store.mutate, "c1", "pods", namespace, "p", run, subresource="status")
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}
    http("POST", f"apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets", budget)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    refused = http("POST", f"{path}/eviction", eviction)
    assert (refused.status_code, refused.json()["reason"]) == (429, "TooManyRequests")
    assert refused.json()["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    http("DELETE", f"apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/b")
    assert http("POST", f"{path}/eviction", eviction).status_code == 201
    assert http("GET", path).status_code == 404


def test_the_door_answers_others_while_a_watch_is_open(http, namespace):
    async def both() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        path = f"api/v1/namespaces/{namespace}/configmaps"
        slow = loop.run_in_executor(None, lambda: http("GET", path, watch="true", timeoutSeconds=1).status_code)
        quick = await loop.run_in_executor(None, lambda: http("GET", path).status_code)
        waiting = not slow.done()
        assert waiting
        return quick, await slow

    assert asyncio.run(both()) == (200, 200)
