"""Budgets, network policies, quotas, priority classes, roles and bindings."""

import ipaddress
from typing import Any

from compute.sandbox.kube import quantity
from compute.sandbox.kube.validation import names
from compute.sandbox.kube.validation.causes import Causes, GoText
from compute.sandbox.kube.validation.deployments import int_or_percent

Json = dict[str, Any]
HIGHEST = 1_000_000_000
RESERVED = "system-"
PROTOCOLS = ("SCTP", "TCP", "UDP")
RBAC = "rbac.authorization.k8s.io"
QUOTA_NAMES = (
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage", "pods", "services", "replicationcontrollers", "resourcequotas",
    "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers",
    "requests.storage",
)  # fmt: skip


def check_budget(causes: Causes, obj: Json) -> None:
    """A PodDisruptionBudget."""
    spec = obj.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        causes.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for field in ("minAvailable", "maxUnavailable"):
        if field in spec:
            int_or_percent(causes, f"spec.{field}", spec[field])
    names.selector(causes, "spec.selector", spec.get("selector"))
    broken, known = spec.get("unhealthyPodEvictionPolicy", ""), ("AlwaysAllow", "IfHealthyBudget")
    if broken and broken not in known:
        causes.unsupported("spec.unhealthyPodEvictionPolicy", broken, known)


def check_network_policy(causes: Causes, obj: Json) -> None:
    """A NetworkPolicy."""
    spec = obj["spec"]
    names.selector(causes, "spec.podSelector", spec["podSelector"])
    for index, kind in enumerate(spec["policyTypes"]):
        if kind not in ("Ingress", "Egress"):
            causes.unsupported(f"spec.policyTypes[{index}]", kind, ("Egress", "Ingress"))
    for side, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(side, [])):
            for place, peer in enumerate(rule.get(peers, [])):
                _peer(causes, f"spec.{side}[{index}].{peers}[{place}]", peer)
            for place, row in enumerate(rule.get("ports", [])):
                _policy_port(causes, f"spec.{side}[{index}].ports[{place}]", row)


def _policy_port(causes: Causes, path: str, row: Json) -> None:
    if "port" in row:
        names.port_or_name(causes, f"{path}.port", row["port"])
    if row.get("protocol", "TCP") not in PROTOCOLS:
        causes.unsupported(f"{path}.protocol", row["protocol"], PROTOCOLS)
    last = row.get("endPort")
    if last is None:
        return
    if not isinstance(row.get("port"), int):
        causes.required(f"{path}.port", "must be specified when `endPort` is specified")
    elif last < row["port"]:
        causes.invalid(f"{path}.endPort", last, "must be greater than or equal to `port`")


def _peer(causes: Causes, path: str, peer: Json) -> None:
    if not peer:
        causes.required(path, "must specify a peer")
    block = peer.get("ipBlock")
    if block is None:
        return
    if len(peer) > 1:
        causes.forbidden(path, "may not specify both ipBlock and another peer")
    whole = _network(causes, f"{path}.ipBlock.cidr", block.get("cidr", ""))
    for index, text in enumerate(block.get("except", [])):
        part = _network(causes, f"{path}.ipBlock.except[{index}]", text)
        if whole is None or part is None:
            continue
        inside = whole.version == part.version and part.subnet_of(whole) and part.prefixlen > whole.prefixlen
        if not inside:
            causes.invalid(f"{path}.ipBlock.except[{index}]", text, "must be a strict subset of `cidr`")


def _network(causes: Causes, path: str, text: str) -> Any:
    """The block of addresses, or None after a word about it."""
    if not text:
        causes.required(path)
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        causes.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
        return None


def check_quota(causes: Causes, obj: Json) -> None:
    """A ResourceQuota."""
    for name, amount in sorted(obj.get("spec", {}).get("hard", {}).items()):
        here = f"spec.hard[{name}]"
        for text in names.qualified_faults(name):
            causes.invalid(here, name, text)
        if "/" not in name and name not in QUOTA_NAMES:
            causes.invalid(here, name, "must be a standard resource for quota")
        if quantity.parse(amount) < 0:
            causes.invalid(here, amount, "must be greater than or equal to 0")


def check_priority(causes: Causes, obj: Json) -> None:
    """A PriorityClass."""
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith(RESERVED):
        causes.forbidden(
            "metadata.name", f"priority class names with '{RESERVED}' prefix are reserved for system use only"
        )
    if value > HIGHEST:
        causes.forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST}")
    policies = ("Never", "PreemptLowerPriority")
    if obj["preemptionPolicy"] not in policies:
        causes.unsupported("preemptionPolicy", obj["preemptionPolicy"], policies)


def check_priority_update(causes: Causes, old: Json, new: Json) -> None:
    """Value and policy are for life."""
    if old.get("value") != new.get("value"):
        causes.forbidden("value", "may not be changed in an update.")
    if old.get("preemptionPolicy") != new.get("preemptionPolicy"):
        causes.invalid("preemptionPolicy", new.get("preemptionPolicy"), "field is immutable")


def check_role(causes: Causes, obj: Json) -> None:
    """A Role."""
    for index, rule in enumerate(obj.get("rules", [])):
        here = f"rules[{index}]"
        if not rule.get("verbs"):
            causes.required(f"{here}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            causes.invalid(
                f"{here}.nonResourceURLs", rule["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs"
            )
            continue
        if not rule.get("apiGroups"):
            causes.required(f"{here}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            causes.required(f"{here}.resources", "resource rules must supply at least one resource")


def check_binding(causes: Causes, obj: Json) -> None:
    """A RoleBinding."""
    ref = obj.get("roleRef", {})
    if ref.get("apiGroup", RBAC) != RBAC:
        causes.unsupported("roleRef.apiGroup", ref["apiGroup"], (RBAC,))
    if ref.get("kind") not in ("Role", "ClusterRole"):
        causes.unsupported("roleRef.kind", ref.get("kind", ""), ("Role", "ClusterRole"))
    if not ref.get("name"):
        causes.required("roleRef.name")
    for index, row in enumerate(obj.get("subjects", [])):
        _subject(causes, f"subjects[{index}]", row)


def _subject(causes: Causes, path: str, row: Json) -> None:
    if not row.get("name"):
        causes.required(f"{path}.name")
    kind = row.get("kind", "")
    if kind not in ("ServiceAccount", "User", "Group"):
        causes.unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))
    wanted = "" if kind == "ServiceAccount" else RBAC
    if row.get("apiGroup", "") != wanted and kind in ("ServiceAccount", "User", "Group"):
        causes.unsupported(f"{path}.apiGroup", row.get("apiGroup", ""), (wanted,))
    if kind == "ServiceAccount" and not row.get("namespace"):
        causes.required(f"{path}.namespace")


def check_binding_update(causes: Causes, old: Json, new: Json) -> None:
    """The role is for life."""
    ref = new.get("roleRef", {})
    if old["roleRef"] != ref:
        words = ", ".join(f'{go}:"{ref.get(name, "")}"' for go, name in GO_REF)
        causes.invalid("roleRef", GoText(f"rbac.RoleRef{{{words}}}"), "cannot change roleRef")


GO_REF = (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
