"""Table answers: the columns that `kubectl get` prints."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from compute.sandbox.kube import columns

if TYPE_CHECKING:
    from compute.sandbox.kube.call import Call

Json = dict[str, Any]
ABOUT = {
    "Name": "Name must be unique within a namespace.",
    "Age": "CreationTimestamp is a timestamp representing the server time when this object was created.",
}


@dataclass(frozen=True)
class Printer:
    """Column headings (a `+` in front: only with `-o wide`) and a function that gives a row's cells."""

    headings: tuple[str, ...]
    cells: Callable[[Json, datetime], list[Any]]


PRINTERS: dict[str, Printer] = {
    "pods": Printer(columns.POD, columns.pod),
    "deployments": Printer(columns.DEPLOYMENT, columns.deployment),
    "replicasets": Printer(columns.REPLICASET, columns.replicaset),
    "nodes": Printer(columns.NODE, columns.node),
    "services": Printer(columns.SERVICE, columns.service),
    "events": Printer(columns.EVENT, columns.event),
    "namespaces": Printer(("Name", "Status", "Age"), columns.namespace),
    "configmaps": Printer(("Name", "Data", "Age"), columns.configmap),
    "secrets": Printer(("Name", "Type", "Data", "Age"), columns.secret),
    "serviceaccounts": Printer(("Name", "Secrets", "Age"), columns.serviceaccount),
    "endpointslices": Printer(("Name", "AddressType", "Ports", "Endpoints", "Age"), columns.endpointslice),
    "poddisruptionbudgets": Printer(
        ("Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"), columns.budget
    ),
}
PLAIN = Printer(("Name", "Age"), columns.plain)


def maybe_table(call: "Call", body: Json) -> Json:
    """The body, or its Table when the client puts one first in Accept."""
    if "as=Table" not in call.request.headers.get("Accept", "") or body.get("kind") == "Status":
        return body
    if call.request.method != "GET" or call.target.subresource:
        return body
    return table(call, body)


def table(call: "Call", body: Json) -> Json:
    """A meta.k8s.io/v1 Table of an object or a list."""
    printer = PRINTERS.get(call.kind.resource, PLAIN)
    now = call.store.clock.now()
    items = body["items"] if str(body["kind"]).endswith("List") and "items" in body else [body]
    whole = call.query("includeObject") == "Object"
    meta = {key: body["metadata"][key] for key in KEPT_META if key in body["metadata"]}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [_definition(heading) for heading in printer.headings],
        "rows": [{"cells": printer.cells(item, now), "object": item if whole else _partial(item)} for item in items],
    }


KEPT_META = ("resourceVersion", "continue", "remainingItemCount")


def _definition(heading: str) -> Json:
    name = heading.lstrip("+")
    doc: Json = {"name": name, "type": "string", "format": "name" if name == "Name" else ""}
    return {**doc, "description": ABOUT.get(name, name), "priority": 1 if heading.startswith("+") else 0}


def _partial(item: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]}
