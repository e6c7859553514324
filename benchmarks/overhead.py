"""What the gateway costs: the same request through it and to the replica directly, side by side."""

from __future__ import annotations

import time

from benchmarks.base import Portal, Result, percentile
from portal.launcher.demo import story, traffic

ROUNDS = 400


def run(portal: Portal) -> list[Result]:
    """Alternate requests, so that both see the same machine."""
    told = portal.endpoint()
    story.split(told, {"v1": {"traffic_percentile": 100, "is_default": True}, "v2": {"traffic_percentile": 0}})
    through = told.shown()["scoring_uri"]
    direct = f"http://{replica(told, 'v1')}:5001/score"
    times: dict[str, list[float]] = {through: [], direct: []}
    links = {uri: traffic.connect(uri) for uri in times}
    for number in range(ROUNDS):
        for uri, link in links.items():
            began = time.monotonic()
            _, problem, _ = traffic.ask(link, uri, told.keys["primary"], told.trained.body(number))
            times[uri].append((time.monotonic() - began) * 1000)
            if problem:
                raise RuntimeError(f"{uri}: {problem}")
    for link in links.values():
        link.close()
    a, b = times[through], times[direct]
    p50 = (percentile(a, 50), percentile(b, 50))
    p95 = (percentile(a, 95), percentile(b, 95))
    figures = (
        f"p50 {p50[0]:.2f} against {p50[1]:.2f}, ratio {p50[0] / p50[1]:.2f}; "
        f"p95 {p95[0]:.2f} against {p95[1]:.2f}, ratio {p95[0] / p95[1]:.2f}"
    )
    return [
        Result("gateway against the replica direct", figures, f"{ROUNDS} requests each, in turns, one connection each")
    ]


def replica(told: story.Story, version: str) -> str:
    """The address of a ready replica, from the cluster's own API."""
    import yaml

    from benchmarks.cluster import Cluster

    text = told.api.call("POST", f"compute-targets/{told.name}/credentials/")
    wanted = [
        pod["status"]["podIP"]
        for pod in Cluster(yaml.safe_load(text["kubeconfig"])).pods("slipway.dev/deployment")
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
    if not wanted:
        raise RuntimeError(f"no replica of {version} is ready")
    return str(wanted[0])
