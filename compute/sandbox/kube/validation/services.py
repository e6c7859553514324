"""Services."""

import ipaddress
from typing import Any

from compute.sandbox.kube.validation import names
from compute.sandbox.kube.validation.causes import Causes, GoText

Json = dict[str, Any]
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")


def check(causes: Causes, obj: Json) -> None:
    """The whole spec."""
    spec = obj["spec"]
    kind = spec["type"]
    if kind not in TYPES:
        causes.unsupported("spec.type", kind, TYPES)
    if spec["sessionAffinity"] not in ("ClientIP", "None"):
        causes.unsupported("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    for field in ("internalTrafficPolicy", "externalTrafficPolicy"):
        if spec.get(field, "Cluster") not in ("Cluster", "Local"):
            causes.unsupported(f"spec.{field}", spec[field], ("Cluster", "Local"))
    names.labels(causes, "spec.selector", spec.get("selector"))
    _address(causes, spec)
    _ports(causes, spec)
    if kind == "ExternalName" and not spec.get("externalName"):
        causes.required("spec.externalName")


def _address(causes: Causes, spec: Json) -> None:
    address = spec.get("clusterIP")
    if not address:
        return
    if address == "None":
        if spec["type"] in ("LoadBalancer", "NodePort"):
            causes.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec['type']} services")
        return
    try:
        ipaddress.ip_address(address)
    except ValueError:
        causes.invalid("spec.clusterIPs[0]", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def _ports(causes: Causes, spec: Json) -> None:
    rows = spec.get("ports", [])
    if not rows and spec.get("clusterIP") != "None" and spec["type"] != "ExternalName":
        causes.required("spec.ports")
    seen_names: set[str] = set()
    seen: set[tuple[Any, str]] = set()
    for index, row in enumerate(rows):
        here, name = f"spec.ports[{index}]", row.get("name", "")
        if not name and len(rows) > 1:
            causes.required(f"{here}.name")
        for text in names.label_faults(name) if name else []:
            causes.invalid(f"{here}.name", name, text)
        if name and name in seen_names:
            causes.duplicate(f"{here}.name", name)
        seen_names.add(name)
        names.port(causes, f"{here}.port", row.get("port", 0))
        if row["protocol"] not in PROTOCOLS:
            causes.unsupported(f"{here}.protocol", row["protocol"], PROTOCOLS)
        if row.get("port"):
            names.port_or_name(causes, f"{here}.targetPort", row["targetPort"])
        if (row.get("port"), row["protocol"]) in seen:
            causes.duplicate(
                here, {"protocol": row["protocol"], "port": row.get("port"), "targetPort": row["targetPort"]}
            )
        seen.add((row.get("port"), row["protocol"]))
        if spec["type"] == "ClusterIP" and row.get("nodePort"):
            causes.forbidden(f"{here}.nodePort", "may not be used when `type` is 'ClusterIP'")


def check_update(causes: Causes, old: Json, new: Json) -> None:
    """The cluster address is for life, except to and from ExternalName."""
    was, spec = old["spec"], new["spec"]
    if "ExternalName" in (was["type"], spec["type"]):
        return
    if was.get("clusterIP") and spec.get("clusterIP") != was["clusterIP"]:
        shown = GoText(f'[]string{{"{spec.get("clusterIP", "")}"}}')
        causes.invalid("spec.clusterIPs[0]", shown, "may not change once set")
