"""What the API says of itself: version, groups, resources."""

from typing import Any

from compute.sandbox.kube.kinds import KINDS, Kind

Json = dict[str, Any]
SUB_KINDS = {
    "scale": ("Scale", "autoscaling", "v1"),
    "eviction": ("Eviction", "policy", "v1"),
    "token": ("TokenRequest", "authentication.k8s.io", "v1"),
    "proxy": ("PodProxyOptions", "", ""),
}


def version(text: str) -> Json:
    """`/version`."""
    major, minor = text.split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{text}",
        "gitCommit": "0" * 40,
        "gitTreeState": "clean",
        "buildDate": "2025-01-01T00:00:00Z",
        "goVersion": "go1.24.0",
        "compiler": "gc",
        "platform": "linux/amd64",
    }


def core_versions(address: str) -> Json:
    """`/api`."""
    by = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": by}


def groups() -> list[tuple[str, str]]:
    """The served (group, version) pairs, without the core group."""
    return sorted({(kind.group, kind.version) for kind in KINDS.values() if kind.group})


def group(name: str, version_: str) -> Json:
    """`/apis/GROUP`, without kind and apiVersion."""
    here = {"groupVersion": f"{name}/{version_}", "version": version_}
    return {"name": name, "versions": [here], "preferredVersion": here}


def group_list() -> Json:
    """`/apis`."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(*pair) for pair in groups()]}


def resource_list(name: str, version_: str) -> Json | None:
    """`/api/v1` or `/apis/GROUP/VERSION`; None for what is not served."""
    served = [kind for kind in KINDS.values() if (kind.group, kind.version) == (name, version_)]
    if not served:
        return None
    rows = [row for kind in served for row in _rows(kind)]
    rows.sort(key=lambda row: str(row["name"]))
    doc: Json = {"kind": "APIResourceList", "groupVersion": served[0].api_version, "resources": rows}
    return {"apiVersion": "v1", **doc} if name else doc


def _rows(kind: Kind) -> list[Json]:
    base = {"namespaced": kind.namespaced, "kind": kind.kind}
    row: Json = {"name": kind.resource, "singularName": kind.singular, **base, "verbs": sorted(kind.verbs)}
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    rows = [row]
    for sub, verbs in kind.subresources.items():
        extra: Json = {"name": f"{kind.resource}/{sub}", "singularName": "", **base, "verbs": sorted(verbs)}
        if sub in SUB_KINDS:
            extra["kind"], group_, version_ = SUB_KINDS[sub]
            extra |= {"group": group_, "version": version_} if version_ else {}
        rows.append(extra)
    return rows
