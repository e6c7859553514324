"""From a traffic change to its effect, under load; and requests lost in a rollout and a scale-down (none may be)."""

from __future__ import annotations

import time

from benchmarks.base import Load, Portal, Result, percentile
from portal.launcher.demo import story, traffic

CHANGES = 50
LEAST_REQUESTS = 10_000
EFFECT_MS = 1000


def run(portal: Portal) -> list[Result]:
    """50 times: all traffic to the version that has none, from the 202 to its first answer."""
    told = portal.endpoint()
    times = []
    with Load(told) as load:
        for number in range(CHANGES):
            times.append(_effect(told, ("v1", "v2") if number % 2 else ("v2", "v1")))
        until = time.monotonic() + 240
        while load.answered < LEAST_REQUESTS and time.monotonic() < until:
            time.sleep(0.5)
    p50, p95 = percentile(times, 50), percentile(times, 95)
    return [
        Result(
            "traffic change to effect", f"p50 {p50:.0f}, p95 {p95:.0f}, {p95 / p50:.1f} times the median",
            f"{CHANGES} changes, from the 202 to a client's first answer from the other version; limit {EFFECT_MS}",
            is_good=p95 <= EFFECT_MS,
        ),
        _lost("requests lost in them", load, LEAST_REQUESTS),
    ]  # fmt: skip


def run_rollout(portal: Portal) -> list[Result]:
    """Requests that fail while a version is rolled to a new revision, and while replicas go from 3 to 1."""
    told = portal.endpoint()
    results = []
    path = f"{told.endpoint}versions/"
    story.split(told, {"v1": {"traffic_percentile": 50}, "v2": {"traffic_percentile": 50}})
    for name, count in (("scale-up", 3), ("scale-down", 1)):
        with Load(told) as load:
            told.api.do("PATCH", f"{path}v2/", {"deployment_config": _config(count)})
            time.sleep(5)
        results.append(_lost(f"requests lost in a rolling update ({name} to {count})", load, 100))
    return results


def _config(count: int) -> dict[str, object]:
    return {"numReplicas": count, "containerResourceRequirements": {"cpu": 0.1, "memoryInGB": 0.5}}


def _effect(told: story.Story, order: tuple[str, str]) -> float:
    """Milliseconds from the 202 of a change to the first answer of `order[0]`, which had no traffic before."""
    to, away = order
    body = {
        "generation": told.shown()["generation"],
        "versions": {to: {"traffic_percentile": 100, "is_default": True}, away: {"traffic_percentile": 0}},
    }
    accepted = told.api.call("PATCH", f"{told.endpoint}traffic/", body)
    began = time.monotonic()
    uri = told.shown()["scoring_uri"]
    link, sample = traffic.connect(uri), told.trained.body(1)
    while traffic.ask(link, uri, told.keys["primary"], sample)[0] != to:
        if time.monotonic() - began > 30:
            raise TimeoutError(f"{to} answered nothing within 30 s")
    took = (time.monotonic() - began) * 1000
    link.close()
    told.api.follow(accepted["url"])
    return took


def _lost(name: str, load: Load, least: int) -> Result:
    share = 100 * len(load.failures) / max(load.answered, 1)
    figures = f"{len(load.failures)} of {load.answered} ({share:.3f} %)"
    if load.failures:
        figures += f", the first with {load.failures[0]}"
    is_good = not load.failures and load.answered >= least
    return Result(name, figures, f"at least {least} requests, 2 threads without pause; limit 0", is_good=is_good)
