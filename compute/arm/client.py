"""What the portal asks of Azure about clusters, one request per call; long work is started here and polled by URL."""

from __future__ import annotations

import re
from typing import Any

from compute.arm import shape
from compute.arm.errors import (
    TRANSIENT,
    ArmNotFound,
    ArmRefused,
    body_words,
    passing,
    request_ids,
    retry_after,
    translated,
)
from compute.arm.session import Session
from compute.types import Accepted, ClusterSpec, ClusterView, Poll, Usage, Version, VmSize
from portal.problems import Problem

GONE = "Gone"


class Clusters:
    """Managed clusters of one subscription."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_cluster(self, group: str, name: str) -> ClusterView | None:
        """The cluster, or None when Azure has neither it nor its resource group."""
        try:
            with translated():
                return shape.view(self._session.clusters.managed_clusters.get(group, name).as_dict())
        except ArmNotFound:
            return None

    def clusters(self) -> list[ClusterView]:
        """Every managed cluster of the subscription."""
        with translated():
            return [shape.view(item.as_dict()) for item in self._session.clusters.managed_clusters.list()]

    def put_cluster(self, spec: ClusterSpec) -> Accepted:
        """Ask for a cluster to be made or made again."""
        body: Any = shape.body(spec)
        begin = self._session.clusters.managed_clusters.begin_create_or_update
        return accepted(lambda hook: begin(spec.resource_group, spec.name, body, polling=False, raw_response_hook=hook))

    def authorize(self, group: str, name: str, ranges: list[str]) -> Accepted:
        """Ask for other authorized API server address ranges; everything else stays."""
        managed = self._session.clusters.managed_clusters
        with translated():
            body: Any = managed.get(group, name).as_dict()
        body["properties"].setdefault("apiServerAccessProfile", {})["authorizedIPRanges"] = ranges
        return accepted(
            lambda hook: managed.begin_create_or_update(group, name, body, polling=False, raw_response_hook=hook)
        )

    def delete(self, group: str, name: str) -> Accepted:
        """Ask for the cluster to be deleted; status 204 when there is none."""
        begin = self._session.clusters.managed_clusters.begin_delete
        return accepted(lambda hook: begin(group, name, polling=False, raw_response_hook=hook))

    def start(self, group: str, name: str) -> Accepted:
        """Ask for a stopped cluster to be started."""
        begin = self._session.clusters.managed_clusters.begin_start
        return accepted(lambda hook: begin(group, name, polling=False, raw_response_hook=hook))

    def stop(self, group: str, name: str) -> Accepted:
        """Ask for the cluster to be stopped: nodes and API server go, what is in it stays."""
        begin = self._session.clusters.managed_clusters.begin_stop
        return accepted(lambda hook: begin(group, name, polling=False, raw_response_hook=hook))

    def abort(self, group: str, name: str) -> None:
        """Ask Azure to stop what it does with the cluster."""
        begin = self._session.clusters.managed_clusters.begin_abort_latest_operation
        accepted(lambda hook: begin(group, name, polling=False, raw_response_hook=hook))

    def poll(self, url: str) -> Poll:
        """One look at a long job by its stored URL, used verbatim. Raises Retryable for 429, 5xx and transport."""
        response = self._session.get(url)
        after = retry_after(response.headers)
        if response.status_code == 404:
            return Poll(GONE)
        body = _json(response)
        code, message = body_words(body.get("error") if isinstance(body.get("error"), dict) else body)
        if response.status_code in TRANSIENT:
            raise passing(response.status_code, f"Azure answered {response.status_code} to a poll.", response.headers)
        if response.status_code >= 400:
            raise ArmRefused(message or f"Azure answered {response.status_code} to a poll.", azure_code=code)
        silent = "InProgress" if response.status_code == 202 else "Succeeded"
        return Poll(str(body.get("status") or silent), message, code, after, request_ids(response))

    def register(self, namespace: str) -> None:
        """Ask Azure to register a resource provider in the subscription; it takes some minutes."""
        from azure.core.rest import HttpRequest

        sub = self._session.access.subscription_id
        url = f"{self._session.base_url}/subscriptions/{sub}/providers/{namespace}/register?api-version=2021-04-01"
        with translated():
            self._session.clusters.send_request(HttpRequest("POST", url)).raise_for_status()

    def credentials(self, group: str, name: str, *, admin: bool = False) -> bytes:
        """A kubeconfig of the cluster, fetched now; a secret."""
        managed = self._session.clusters.managed_clusters
        ask = managed.list_cluster_admin_credentials if admin else managed.list_cluster_user_credentials
        with translated():
            answer = ask(group, name)
        first = next(iter(answer.kubeconfigs or []), None)
        if first is None or not first.value:
            raise ArmRefused(f"Azure gave no kubeconfig for {name}.")
        return bytes(first.value)

    def resource_group(self, name: str) -> bool:
        """Whether the resource group exists."""
        sub = self._session.access.subscription_id
        response = self._session.get(f"/subscriptions/{sub}/resourcegroups/{name}?api-version=2021-04-01")
        if response.status_code in TRANSIENT:
            raise passing(response.status_code, f"Azure answered {response.status_code}.", response.headers)
        if response.status_code not in (200, 404):
            code, message = body_words(_json(response))
            raise ArmRefused(message or f"Azure answered {response.status_code}.", azure_code=code)
        return bool(response.status_code == 200)

    def versions(self, region: str) -> list[Version]:
        """The Kubernetes versions that AKS offers in a region, oldest first."""
        with translated():
            answer = self._session.clusters.managed_clusters.list_kubernetes_versions(region)
        found = [
            Version(str(item.version), bool(item.is_default), bool(item.is_preview))
            for item in answer.values_property or []
        ]
        return sorted(found, key=lambda version: [int(part) for part in re.findall(r"\d+", version.name)])

    def sizes(self, region: str) -> list[VmSize]:
        """The VM sizes that the subscription may use in a region."""
        query = f"location eq '{region}'"
        with translated():
            rows = [row.as_dict() for row in self._session.machines.resource_skus.list(filter=query)]
        return [_size(row) for row in rows if row.get("resourceType") == "virtualMachines" and not _is_barred(row)]

    def usages(self, region: str) -> list[Usage]:
        """The vCPU quotas of a region: "cores" and one per family."""
        with translated():
            rows = [row.as_dict() for row in self._session.machines.usage.list(region)]
        return [Usage(str(row["name"]["value"]), int(row["currentValue"]), int(row["limit"])) for row in rows]


def accepted(begin: Any) -> Accepted:
    """Start a long job without polling it: what its first answer says. `begin` takes a hook for that answer."""
    seen: list[Any] = []
    with translated():
        begin(lambda response: seen.append(response.http_response))
    if not seen:
        raise Problem("Azure's answer was not seen.")
    headers = seen[0].headers
    url = headers.get("Azure-AsyncOperation") or headers.get("Location") or ""
    return Accepted(seen[0].status_code, url, retry_after(headers), request_ids(seen[0]))


def _json(response: Any) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _size(row: dict[str, Any]) -> VmSize:
    facts = {item["name"]: item["value"] for item in row.get("capabilities") or []}
    return VmSize(
        str(row["name"]), int(facts.get("vCPUs", 0)), float(facts.get("MemoryGB", 0)), int(facts.get("GPUs", 0)),
        str(row.get("family", "")),
    )  # fmt: skip


def _is_barred(row: dict[str, Any]) -> bool:
    return any(item.get("type") == "Location" for item in row.get("restrictions") or [])
