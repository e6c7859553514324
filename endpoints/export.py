"""The YAML of what the portal applies, made by the builders that make what is applied.

Applied by hand with `kubectl apply --server-side --field-manager=slipway` it changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml
from django.conf import settings

from compute import queries as compute
from compute.models import ComputeTarget
from deployments import manifests
from deployments import queries as deployments
from deployments.models import Deployment
from deployments.steps.workload import view_of
from deployments.types import Scaler
from endpoints import gateway as builder
from endpoints import scaler
from endpoints.models import Endpoint, EndpointVersion, Gateway
from endpoints.steps import picture, scaling
from portal.problems import Conflict, Problem, Retryable

Json = dict[str, Any]
APPLY = "kubectl apply --server-side --field-manager=slipway -f FILE"
DIFF = "kubectl diff --server-side --field-manager=slipway -f FILE"
LIKE_A_NUMBER = re.compile(r"[-+.0-9]")


class NothingThere(Conflict):
    code, title = "nothing_to_export", "There is nothing to export yet"


class SecretUnread(Problem):
    status, code, title = 502, "cluster_unreachable", "The cluster does not answer"


@dataclass(frozen=True)
class Export:
    """Kubernetes objects as one text; `left_out` names the Secrets that are not in it."""

    yaml: str
    left_out: tuple[str, ...]
    name: str


def of_endpoint(endpoint: Endpoint, *, with_secrets: bool = False) -> Export:
    """What runs for a service or endpoint: the objects of each version. Raises NothingThere, and SecretUnread (502)
    when the Secrets are wanted and the cluster, which alone has the token of each deployment, does not answer.
    """
    found: list[Json] = []
    for version in endpoint.versions.order_by("pk"):
        found += [item for item in _workload(version, with_secrets) if item not in found]
    return _export(f"the {endpoint.kind.lower()} {endpoint.name}", endpoint.name, found, with_secrets)


def of_gateway(target: ComputeTarget, *, with_secrets: bool = False) -> Export:
    """The gateway of a compute target. Raises NothingThere."""
    row = Gateway.objects.select_related("compute_target__workspace").filter(compute_target=target).first()
    if row is None or not row.installed:
        raise NothingThere(f"{target.name} has no gateway: it comes with the first service or endpoint.")
    view = picture.draw(row)
    found = builder.install(view, builder.build(view, row.revision, row.published))
    return _export(f"the gateway of {target.name}", f"{target.name}-gateway", found, with_secrets)


def _workload(version: EndpointVersion, with_secrets: bool) -> list[Json]:
    row = version.deployment
    revision = deployments.revision_of(deployment=row, number=row.revision)
    if not revision.environment.image:
        raise NothingThere(f"{row.name} waits for its environment {revision.environment}: no image of it is known yet.")
    found = manifests.build(view_of(row, revision, ""))
    if with_secrets:
        _fill(row, found)
    scaled = row.scaler == Scaler.KEDA
    return [*found, *scaler.build(scaling.view_of(version, picture.config_of(row)))] if scaled else found


def _fill(row: Deployment, found: list[Json]) -> None:
    """The portal keeps only the hash of a deployment's token, so the cluster's Secret tells it."""
    name = manifests.workload_name(row)
    try:
        there = compute.open_cluster(row.compute_target).observe("Secret", namespace=row.namespace, name=name)
    except Retryable as trouble:
        raise SecretUnread(f"{row.compute_target.name}: {trouble.detail} Export without secrets meanwhile.") from None
    if not there:
        raise NothingThere(f"The Secret {row.namespace}/{name} is not in {row.compute_target.name}.")
    for item in found:
        if item["kind"] == "Secret" and item["metadata"]["name"] == name:
            item["data"] = there[0].get("data") or {}


def _export(what: str, name: str, objects: list[Json], with_secrets: bool) -> Export:
    kept = [item for item in objects if with_secrets or item["kind"] != "Secret"]
    left_out = tuple(_title(item) for item in objects if item not in kept)
    lines = [
        f"Slipway {settings.VERSION}: {what}, as the portal applies it.",
        f"Compare: {DIFF}",
        f"Apply:   {APPLY}",
        *(f"Left out, as it holds secret values: Secret {title}." for title in left_out),
    ]
    return Export("".join(f"# {line}\n" for line in lines) + _text(kept), left_out, f"{name}.yaml")


def _title(item: Json) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


class _Dumper(yaml.SafeDumper):
    """Programs as blocks; what could be read as a number by one YAML or another, quoted."""


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else "'" if LIKE_A_NUMBER.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)
_Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]


def _text(objects: Iterable[Json]) -> str:
    return "".join(
        "---\n" + yaml.dump(item, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000)
        for item in objects
    )
