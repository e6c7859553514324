"""What collecting requests costs a score: the same model with and without, side by side, at the replicas directly."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.base import Portal, Result, percentile
from benchmarks.cluster import replicas
from portal.launcher.demo import models, story, traffic

ROUNDS = 600
MOST = 1.10  # of the median
PLAIN, KEPT = "bench-plain", "bench-kept"


def run(portal: Portal) -> list[Result]:
    """Alternate requests, so that both see the same machine."""
    told = portal.endpoint()
    for name, config in ((PLAIN, {}), (KEPT, {"dataCollection": {"storageEnabled": True}})):
        told.api.do("POST", "services/", _service(told, name, config))
    found = replicas(told.api, told.name)
    times: dict[str, list[float]] = {PLAIN: [], KEPT: []}
    uris = {name: f"http://{found[name]}:5001/score" for name in times}
    links = {name: traffic.connect(uri) for name, uri in uris.items()}
    for number in range(-20, ROUNDS):
        for name in (PLAIN, KEPT) if number % 2 else (KEPT, PLAIN):
            began = time.monotonic()
            _, problem, _ = traffic.ask(links[name], uris[name], "", told.trained.body(number))
            if problem:
                raise RuntimeError(f"{name}: {problem}")
            if number >= 0:
                times[name].append((time.monotonic() - began) * 1000)
    for link in links.values():
        link.close()
    return [_result(times), _arrived(told)]


def _service(told: story.Story, name: str, config: dict[str, Any]) -> dict[str, Any]:
    least = {"numReplicas": 1, "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.5}}
    return {
        "name": name, "compute_target": told.name, "models": [story.register(told, story.MODEL_OF["v1"])],
        "environment": story.environment(told), "entry_script": "score.py",
        "code": {"files": {"score.py": models.SCORE}}, "deployment_config": {**least, **config},
    }  # fmt: skip


def _result(times: dict[str, list[float]]) -> Result:
    plain, kept = times[PLAIN], times[KEPT]
    p50 = percentile(kept, 50), percentile(plain, 50)
    p95 = percentile(kept, 95), percentile(plain, 95)
    figures = (
        f"p50 {p50[0]:.2f} against {p50[1]:.2f}, ratio {p50[0] / p50[1]:.3f}; "
        f"p95 {p95[0]:.2f} against {p95[1]:.2f}, ratio {p95[0] / p95[1]:.3f}"
    )
    how = f"{ROUNDS} requests each, in turns, one connection each; the median may cost {100 * (MOST - 1):.0f} %"
    return Result("a score with data collection against one without", figures, how, is_good=p50[0] <= MOST * p50[1])


def _arrived(told: story.Story) -> Result:
    """All of them have to be stored, too."""
    wanted, until, lines = ROUNDS + 20, time.monotonic() + 60, 0
    while lines < wanted and time.monotonic() < until:
        time.sleep(1)
        lines = sum(row["lines"] for row in told.api.get(f"collected/?service={KEPT}")["items"])
    return Result("collected requests", f"{lines} of {wanted} are stored", is_good=lines == wanted)
