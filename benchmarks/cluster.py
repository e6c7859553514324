"""GET from a cluster's API by the kubeconfig that the portal gives, with the standard library."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from typing import Any

from portal.launcher.demo.client import Api


def get(kubeconfig: dict[str, Any], path: str) -> Any:
    """The JSON that the API server answers."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(cluster["server"] + path, headers={"Authorization": f"Bearer {user['token']}"})
    with opener.open(request, timeout=20) as answer:
        return json.load(answer)


def replicas(api: Api, target: str) -> dict[str, str]:
    """The address of a ready replica of each service, by its name."""
    import yaml

    kubeconfig = yaml.safe_load(api.call("POST", f"compute-targets/{target}/credentials/")["kubeconfig"])
    return {
        pod["metadata"]["name"].rsplit("-", 3)[0]: pod["status"]["podIP"]
        for pod in get(kubeconfig, "/api/v1/pods")["items"]
        if "slipway.dev/deployment" in pod["metadata"].get("labels", {})
        and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    }
