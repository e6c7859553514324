"""The few verbs that the portal needs of a Kubernetes cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from compute import ownership
from compute.cluster.kinds import KINDS, Kind, kind_of
from compute.cluster.transport import FieldConflict, Gone, Refused, Transport
from compute.cluster.validate import validate
from portal.problems import Retryable

MANAGER = "slipway"
PAGE = 500
# Nobody tunes these by hand: their content is made of the portal's rows, and half of it would break what runs.
GENERATED = ("ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding", "PriorityClass")


class Cluster:
    """One cluster. Methods raise Refused (its words), or Retryable for transport, 429 and 5xx."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._version = ""

    def version(self) -> str:
        """The API server's version, e.g. "v1.33.6"; also the cheapest proof that it can be reached."""
        if not self._version:
            self._version = str(self._json("GET", "/version").get("gitVersion", ""))
        return self._version

    def serves(self, kind: str) -> bool:
        """Whether the cluster's discovery has a kind, in the version that the portal uses."""
        known = kind_of(kind)
        try:
            found = self._json("GET", f"/apis/{known.api_version}").get("resources") or []
        except Gone:
            return False
        return any(resource.get("name") == known.plural for resource in found)

    def apply(
        self, objects: Sequence[dict[str, Any]], *, force: bool = False, there: list[dict[str, Any]] | None = None
    ) -> list[str]:
        """Server-side apply in the given order with our field manager; all are validated before the first is sent.

        Raises FieldConflict when somebody else has set a field to another value, unless `force`; what the portal
        generates whole is always its own. Replicas that another sets are left to it: answers a sentence for each.
        `there` gets the objects as they are then.
        """
        version = self.version()
        for obj in objects:
            validate(obj, version)
        seen = [] if there is None else there
        return [told for obj in objects if (told := self._apply(obj, force or obj["kind"] in GENERATED, seen))]

    def _apply(self, obj: dict[str, Any], force: bool, there: list[dict[str, Any]]) -> str:
        try:
            there.append(self._send(obj, force))
        except FieldConflict as conflict:
            claims = conflict.extras["claims"]
            others = sorted({each["manager"] for each in claims} - {MANAGER})
            if not others:  # our own scale and annotate write under the same name by another verb
                there.append(self._send(obj, True))
            elif {each["field"] for each in claims} <= {"spec.replicas"}:
                rest = {key: obj["spec"][key] for key in obj["spec"] if key != "replicas"}
                there.append(self._send({**obj, "spec": rest}, False))
                return f"The replicas of {obj['metadata']['name']} are left to {', '.join(others)}, which sets them."
            else:
                raise FieldConflict(_told(obj, claims), **conflict.extras) from None
        return ""

    def _send(self, obj: dict[str, Any], force: bool) -> dict[str, Any]:
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": "true" if force else "false"}
        return self._named(obj, obj, "application/apply-patch+yaml", query)

    def strip(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Take out of an object, as an apply answered it, what only others added to what it does."""
        paths = ownership.additions(obj)
        if not paths:
            return obj
        body = [{"op": "remove", "path": path} for path in paths]
        return self._named(obj, body, "application/json-patch+json", {"fieldManager": MANAGER})

    def observe(
        self, kind: str, *, namespace: str | None = None, selector: str = "", name: str = ""
    ) -> list[dict[str, Any]]:
        """Objects as the API shows them (camelCase), with kind and apiVersion; an absent name gives an empty list."""
        known = kind_of(kind)
        try:
            if name:
                return [self._json("GET", known.path(namespace or "", name))]
            return self._list(known, namespace or "", selector)
        except Gone:
            return []

    def remove(self, kind: str, *, namespace: str, selector: str = "", name: str = "") -> None:
        """Delete one object by name or those that a selector meets; what is missing is fine."""
        known = kind_of(kind)
        if not name and not selector:
            raise ValueError("remove needs a name or a selector: it never empties a namespace by accident")
        names = (
            [name]
            if name
            else [item["metadata"]["name"] for item in self.observe(kind, namespace=namespace, selector=selector)]
        )
        for each in names:
            try:
                self._json("DELETE", known.path(namespace, each), body={"propagationPolicy": "Background"})
            except Gone:
                continue
            except Refused as refusal:
                if refusal.extras.get("cluster_status") != 409:  # 409: a namespace that is being removed already
                    raise

    def logs(self, namespace: str, pod: str, container: str, *, tail: int = 200, previous: bool = False) -> str:
        """The last lines that a container wrote (5 s at most, 1 MB at most); empty when there is no such log."""
        query = {
            "container": container,
            "tailLines": tail,
            "limitBytes": 1_048_576,
            **({"previous": "true"} if previous else {}),
        }
        path = KINDS["Pod"].path(namespace, pod) + "/log"
        try:
            return self._transport.request("GET", path, query=query, seconds=5).decode("utf-8", "replace")
        except Gone:
            return ""
        except Refused as refusal:
            if refusal.extras.get("cluster_status") == 400:  # the container has not started, or not restarted
                return ""
            raise

    def scale(self, namespace: str, deployment: str, replicas: int) -> None:
        """Set the replicas of a Deployment."""
        path = KINDS["Deployment"].path(namespace, deployment) + "/scale"
        self._patch(path, {"spec": {"replicas": replicas}}, "application/merge-patch+json", {"fieldManager": MANAGER})

    def annotate(self, namespace: str, selector: str, key: str, value: str) -> None:
        """Set an annotation on the pods that match; a pod that went meanwhile is fine."""
        change = {"metadata": {"annotations": {key: value}}}
        for pod in self.observe("Pod", namespace=namespace, selector=selector):
            path = KINDS["Pod"].path(namespace, pod["metadata"]["name"])
            try:
                self._patch(path, change, "application/merge-patch+json", {"fieldManager": MANAGER})
            except Gone:
                continue

    def proxy(self, namespace: str, pod: str, port: int, path: str, headers: dict[str, str] | None = None) -> bytes:
        """GET a path of a pod through the API server, 5 s at most."""
        inside = KINDS["Pod"].path(namespace, f"{pod}:{port}") + "/proxy/" + quote(path.lstrip("/"), safe="/?=&%.-_")
        return self._transport.request("GET", inside, headers=headers, seconds=5)

    def may(self, verb: str, resource: str, *, group: str = "", namespace: str = "") -> bool:
        """Whether the portal's credential may do something (SelfSubjectAccessReview)."""
        wish = {"verb": verb, "resource": resource, "group": group, **({"namespace": namespace} if namespace else {})}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wish},
        }
        answer = self._json("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
        return bool((answer.get("status") or {}).get("allowed"))

    def close(self) -> None:
        """Give the connections back."""
        self._transport.close()

    def _list(self, kind: Kind, namespace: str, selector: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": PAGE, **({"labelSelector": selector} if selector else {})}
        while True:
            page = self._json("GET", kind.path(namespace), query=query)
            found += [{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in page.get("items") or []]
            more = (page.get("metadata") or {}).get("continue")
            if not more:
                return found
            query["continue"] = more

    def _named(self, obj: dict[str, Any], body: Any, content_type: str, query: dict[str, Any]) -> dict[str, Any]:
        """Patch one object so that a refusal says which object it was."""
        kind, meta = kind_of(obj["kind"]), obj["metadata"]
        try:
            return self._patch(kind.path(meta.get("namespace", ""), meta["name"]), body, content_type, query)
        except Refused as refusal:
            raise type(refusal)(f"{kind.name} {meta['name']}: {refusal.detail}", **refusal.extras) from None

    def _patch(self, path: str, body: Any, content_type: str, query: dict[str, Any]) -> dict[str, Any]:
        return _document(self._transport.request("PATCH", path, query=query, body=body, content_type=content_type))

    def _json(self, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None) -> dict[str, Any]:
        return _document(self._transport.request(method, path, query=query, body=body))


def _told(obj: dict[str, Any], claims: list[dict[str, str]]) -> str:
    """Who has set what, and what can be done."""
    words = ", ".join(f"{each['manager']} has set {each['field']}" for each in claims)
    return (
        f"{obj['kind']} {obj['metadata']['name']}: {words}. Have it taken back there, or take it over: run this again "
        "with take_over."
    )


def _document(answer: bytes) -> dict[str, Any]:
    try:
        document = json.loads(answer or b"{}")
    except ValueError:
        raise Retryable("The API server's answer is not JSON.") from None
    return document if isinstance(document, dict) else {}
