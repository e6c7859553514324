"""docs/security.md says what the objects have: each line is so, and nothing of its kind has no line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from endpoints import gateway
from tests.deployments.test_manifests import view
from tests.endpoints.test_gateway import picture

Json = dict[str, Any]
DOC = Path(__file__).parents[2] / "docs" / "security.md"
LINE = re.compile(r"\| (both|replicas|gateway) \| `(\w+) ([^`]+)` \| `([^`]+)` \| (.+) \|")
ROWS = LINE.findall(DOC.read_text())


def objects(who: str) -> list[Json]:
    from deployments import manifests

    if who == "replicas":
        return manifests.build(view({"numReplicas": 1}, size=2**20 - 9))
    return gateway.install(picture(), gateway.build(picture(), 7, {}))


MADE = {who: {item["kind"]: item for item in objects(who)} for who in ("replicas", "gateway")}


def at(node: Any, path: str) -> Iterator[Any]:
    """What is at a path; keys may hold dots."""
    if not path:
        yield node
    elif isinstance(node, list):
        first, _, rest = path.partition(".")
        for each in node if first == "*" else node[int(first) : int(first) + 1]:
            yield from at(each, rest)
    elif isinstance(node, dict):
        for key, value in node.items():
            if path == key or path.startswith(f"{key}."):
                yield from at(value, path[len(key) + 1 :])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[2]}")
def test_a_line_of_the_table_is_so(row: tuple[str, ...]) -> None:
    who, kind, path, value, why = row
    for each in ("replicas", "gateway") if who == "both" else (who,):
        found = list(at(MADE[each][kind], path))
        assert found, f"{each}: no {path}"
        assert all(item == json.loads(value) for item in found), f"{each}: {path} is {found}"
    assert why.strip()


def leaves(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}".lstrip("."))
    else:
        yield path


@pytest.mark.parametrize("who", ["replicas", "gateway"])
def test_every_setting_of_this_kind_has_a_line(who: str) -> None:
    told = {(kind, path) for whose, kind, path, *_ in ROWS if whose in ("both", who)}
    pod = MADE[who]["Deployment"]["spec"]["template"]["spec"]
    base = "spec.template.spec"
    wanted = {("Deployment", f"{base}.securityContext.{leaf}") for leaf in leaves(pod["securityContext"])}
    for group in ("initContainers", "containers"):
        for container in pod[group]:
            wanted |= {
                ("Deployment", f"{base}.{group}.*.securityContext.{leaf}")
                for leaf in leaves(container["securityContext"])
            }
    labels = MADE[who]["Namespace"]["metadata"]["labels"]
    wanted |= {("Namespace", f"metadata.labels.{key}") for key in labels if key.startswith("pod-security")}
    for place, volume in enumerate(pod["volumes"]):
        if "emptyDir" in volume:
            wanted.add(("Deployment", f"{base}.volumes.{place}.emptyDir.sizeLimit"))
    assert wanted <= told, wanted - told
