"""A cluster's API by the kubeconfig that the portal gives, with the standard library: what kubectl would do."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import Any

from portal.launcher.demo.client import Api

DRAIN_SECONDS = 400
PATCH = "application/strategic-merge-patch+json"


class Cluster:
    """A connection with a token."""

    def __init__(self, kubeconfig: dict[str, Any]) -> None:
        cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
        context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        self._opener = urllib.request.build_opener(*handlers)
        self._server, self._token = cluster["server"], user["token"]

    def ask(self, path: str, method: str = "GET", body: Any = None, kind: str = "application/json") -> Any:
        """The JSON that the API server answers."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data, headers, method=method)
        with self._opener.open(request, timeout=20) as answer:
            return json.load(answer)

    def pods(self, selector: str = "", node: str = "") -> list[dict[str, Any]]:
        """Pods of all namespaces by a label, or on a node."""
        query = f"labelSelector={selector}" if selector else f"fieldSelector=spec.nodeName={node}"
        return list(self.ask(f"/api/v1/pods?{query}")["items"])

    def delete_pod(self, pod: dict[str, Any]) -> None:
        """kubectl delete pod."""
        self.ask(_path(pod), "DELETE")

    def cordon(self, node: str, closed: bool) -> None:
        """kubectl cordon, and uncordon."""
        self.ask(f"/api/v1/nodes/{node}", "PATCH", {"spec": {"unschedulable": closed}}, PATCH)

    def restart(self, namespace: str, name: str) -> None:
        """kubectl rollout restart deployment."""
        note = {"kubectl.kubernetes.io/restartedAt": datetime.now(UTC).isoformat()}
        body = {"spec": {"template": {"metadata": {"annotations": note}}}}
        self.ask(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}", "PATCH", body, PATCH)

    def drain(self, node: str) -> None:
        """kubectl drain: no new pods there; those that are there are asked to go, again while their budgets say no."""
        self.cordon(node, True)
        end = time.monotonic() + DRAIN_SECONDS
        while left := [pod for pod in self.pods(node=node) if pod["metadata"]["namespace"] != "kube-system"]:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(left)} pods stay on {node}")
            for pod in left:
                if not pod["metadata"].get("deletionTimestamp"):
                    self._evict(pod)
            time.sleep(1)

    def _evict(self, pod: dict[str, Any]) -> None:
        meta = {name: pod["metadata"][name] for name in ("name", "namespace")}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
        try:
            self.ask(f"{_path(pod)}/eviction", "POST", body)
        except urllib.error.HTTPError as refusal:
            if refusal.code not in (404, 429):
                raise


def _path(pod: dict[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def replicas(api: Api, target: str) -> dict[str, str]:
    """The address of a ready replica of each service, by its name."""
    import yaml

    cluster = Cluster(yaml.safe_load(api.call("POST", f"compute-targets/{target}/credentials/")["kubeconfig"]))
    return {
        pod["metadata"]["name"].rsplit("-", 3)[0]: pod["status"]["podIP"]
        for pod in cluster.pods("slipway.dev/deployment")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    }
