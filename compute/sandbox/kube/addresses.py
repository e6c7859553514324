"""Cluster addresses and node ports of Services."""

from typing import TYPE_CHECKING, Any

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import ApiError

if TYPE_CHECKING:
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]
FIRST_PORT, LAST_PORT = 30000, 32767
NET = "10.0."


def allocate(store: "Store", cluster: str, service: Json) -> None:
    """Fill clusterIP, clusterIPs and node ports of a new Service. 422 for an address or port that is taken."""
    spec = service["spec"]
    others = store.list(cluster, "services")
    if spec["type"] == "ExternalName":
        return
    taken = {other["spec"].get("clusterIP") for other in others}
    asked = spec.get("clusterIP")
    if not asked:
        spec["clusterIP"] = next(ip for ip in _addresses() if ip not in taken)
    elif asked != "None" and asked in taken:
        why = f'Invalid value: ["{asked}"]: failed to allocate IP {asked}: provided IP is already allocated'
        raise _refused(service, "spec.clusterIPs", why)
    spec["clusterIPs"] = [spec["clusterIP"]]
    _node_ports(others, service)


def keep(store: "Store", cluster: str, old: Json, new: Json) -> None:
    """Carry over what an update leaves out."""
    spec, was = new["spec"], old["spec"]
    if spec["type"] == "ExternalName":
        return
    for field in ("clusterIP", "clusterIPs"):
        if not spec.get(field) and was.get(field):
            spec[field] = clone(was[field])
    before = {(port.get("protocol"), port["port"]): port.get("nodePort") for port in was.get("ports", [])}
    if spec["type"] in ("NodePort", "LoadBalancer"):
        for port in spec.get("ports", []):
            known = before.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and known:
                port["nodePort"] = known
    me = old["metadata"]["uid"]
    _node_ports([other for other in store.list(cluster, "services") if other["metadata"]["uid"] != me], new)


def _addresses() -> Any:
    return (f"{NET}{high}.{low}" for high in range(1, 256) for low in range(1, 255))


def _node_ports(others: list[Json], service: Json) -> None:
    spec = service["spec"]
    wanted = spec["type"] == "NodePort" or spec["type"] == "LoadBalancer" and spec["allocateLoadBalancerNodePorts"]
    taken = {port.get("nodePort") for other in others for port in other["spec"].get("ports", [])}
    for index, port in enumerate(spec.get("ports", [])):
        asked = port.get("nodePort")
        if asked in taken and asked:
            why = f"Invalid value: {asked}: provided port is already allocated"
            raise _refused(service, f"spec.ports[{index}].nodePort", why)
        if asked and not FIRST_PORT <= asked <= LAST_PORT:
            why = f"Invalid value: {asked}: provided port is not in the valid range. The range of valid ports is "
            raise _refused(service, f"spec.ports[{index}].nodePort", f"{why}{FIRST_PORT}-{LAST_PORT}")
        if wanted and not asked:
            port["nodePort"] = next(number for number in range(FIRST_PORT, LAST_PORT + 1) if number not in taken)
        taken.add(port.get("nodePort"))


def _refused(service: Json, field: str, message: str) -> ApiError:
    name = service["metadata"]["name"]
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": field}]
    details = {"name": name, "kind": "Service", "causes": causes}
    return ApiError(422, "Invalid", f'Service "{name}" is invalid: {field}: {message}', details)
