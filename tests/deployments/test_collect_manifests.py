"""What collecting requests adds to a replica's objects, and that it adds nothing where it is off."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import pytest

from compute.cluster import validate
from deployments import manifests
from deployments.manifests.collect import LAST_SECONDS
from tests.deployments.test_manifests import FULL, VERSIONS, one, view

MIB = 1024 * 1024


def wish(**more: Any) -> manifests.Collect:
    given = {
        "url": "https://portal.example.com/api/v1/collect/7/", "token": "only-to-add", "service": "iris",
        "version": "v1", "revision": 3, "percent": 12.5, "body_bytes": 64 * 1024, "seconds": 30, "workers": 3, **more,
    }  # fmt: skip
    return manifests.Collect(**given)


def pod(picture: manifests.DeploymentView) -> dict[str, Any]:
    found: dict[str, Any] = one("Deployment", picture)["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_passes_the_strict_schema_with_a_collector_beside(version: str) -> None:
    for item in manifests.build(view(FULL, collect=wish())):
        validate(item, version)


def test_the_collector_is_a_sidecar_that_has_time_after_the_servers_end() -> None:
    with_it, without = pod(view(FULL, collect=wish())), pod(view(FULL))
    first, last = with_it["initContainers"]
    assert (first["name"], last["name"], last["restartPolicy"]) == ("fetch", "collector", "Always")
    assert with_it["terminationGracePeriodSeconds"] == without["terminationGracePeriodSeconds"] + LAST_SECONDS
    for name in ("image", "securityContext", "workingDir"):
        assert last[name] == first[name]
    assert not {"livenessProbe", "readinessProbe"} & set(last), "no probe of it takes a replica out of service"


def test_the_token_is_in_the_secret_and_only_the_collector_mounts_it() -> None:
    picture = view(FULL, collect=wish())
    assert b64decode(one("Secret", picture)["data"]["collect"]) == b"only-to-add"
    assert all(item["kind"] == "Secret" or "only-to-add" not in json.dumps(item) for item in manifests.build(picture))
    assert "only-to-add" not in repr(picture)
    spec = pod(picture)
    mounted = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]}
        for container in (*spec["initContainers"], *spec["containers"])
    }
    assert [name for name, mounts in mounted.items() if "collect-token" in mounts] == ["collector"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert [item["key"] for item in volumes["token"]["secret"]["items"]] == ["token", "files-3"]


def test_the_server_runs_wrapped_with_what_it_has_to_know_and_none_of_the_portal() -> None:
    spec = pod(view(FULL, collect=wish()))
    (server,) = spec["containers"]
    assert server["command"][2].endswith(" slipway_capture:app")
    told = {each["name"]: each for each in server["env"]}
    assert told["SLIPWAY_POD"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
    facts = json.loads(told["SLIPWAY_COLLECT"]["value"])
    assert (facts["service"], facts["version"], facts["percent"], facts["body_bytes"]) == ("iris", "v1", 12.5, 65536)
    capture = next(volume for volume in spec["volumes"] if volume["name"] == "capture")
    assert capture["configMap"]["items"] == [{"key": "capture.py", "path": "slipway_capture.py"}]
    assert {"capture.py", "collect.py"} < set(one("ConfigMap", view(FULL, collect=wish()))["data"])


@pytest.mark.parametrize(("workers", "body"), [(1, 1024), (3, 64 * 1024), (100, MIB)])
def test_the_spool_never_grows_over_the_limit_at_which_the_pod_would_be_evicted(workers: int, body: int) -> None:
    asked = wish(workers=workers, body_bytes=body)
    spec = pod(view(FULL, collect=asked))
    spool = next(volume for volume in spec["volumes"] if volume["name"] == "spool")
    limit = int(spool["emptyDir"]["sizeLimit"].removesuffix("Mi")) * MIB
    facts = json.loads(spec["containers"][0]["env"][-1]["value"])
    # All workers write their longest line at once, when the folder was just below its limit.
    longest = 2 * (2 * body) + 4096
    assert limit > facts["hard_bytes"] + workers * longest
    assert facts["hard_bytes"] > facts["spool_bytes"]


def test_a_replica_that_collects_nothing_is_as_it_was() -> None:
    assert "collect" not in json.dumps(manifests.build(view(FULL)))
