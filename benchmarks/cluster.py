"""GET from a cluster's API by the kubeconfig that the portal gives, with the standard library."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.request
from typing import Any


def get(kubeconfig: dict[str, Any], path: str) -> Any:
    """The JSON that the API server answers."""
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(cluster["server"] + path, headers={"Authorization": f"Bearer {user['token']}"})
    with opener.open(request, timeout=20) as answer:
        return json.load(answer)
