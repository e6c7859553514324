"""Rights of service accounts: roles and bindings of a namespace."""

from typing import TYPE_CHECKING, Any

from compute.sandbox.kube.errors import ApiError
from compute.sandbox.kube.users import User

if TYPE_CHECKING:
    from compute.sandbox.kube.call import Target
    from compute.sandbox.kube.store import Store

Json = dict[str, Any]


def allowed(store: "Store", cluster: str, user: User, verb: str, asked: Json) -> bool:
    """Whether `user` may. `asked` has group, resource (with `/subresource`), namespace and name."""
    if user.is_admin:
        return True
    if not asked["namespace"]:
        return False
    for binding in store.list(cluster, "rolebindings", asked["namespace"]):
        if not any(_is_subject(subject, user, asked["namespace"]) for subject in binding.get("subjects", [])):
            continue
        ref = binding["roleRef"]
        role = store.get(cluster, "roles", asked["namespace"], ref["name"]) if ref["kind"] == "Role" else None
        if any(_rule_allows(rule, verb, asked) for rule in (role or {}).get("rules", [])):
            return True
    return False


def _is_subject(subject: Json, user: User, namespace: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        account = f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"
        return account == user.name
    return bool(subject["name"] in user.groups if subject["kind"] == "Group" else subject["name"] == user.name)


def _rule_allows(rule: Json, verb: str, asked: Json) -> bool:
    names = rule.get("resourceNames", [])
    return (
        _in(verb, rule.get("verbs", []))
        and _in(asked["group"], rule.get("apiGroups", []))
        and _in(asked["resource"], rule.get("resources", []))
        and (not names or asked["name"] in names)
    )


def _in(value: str, listed: list[str]) -> bool:
    return "*" in listed or value in listed


def check(store: "Store", cluster: str, user: User, verb: str, target: "Target") -> None:
    """403 with the real server's sentence when the user may not."""
    resource = target.kind.resource + (f"/{target.subresource}" if target.subresource else "")
    asked = {"group": target.kind.group, "resource": resource, "namespace": target.namespace, "name": target.name or ""}
    if target.kind.resource == "selfsubjectaccessreviews" or allowed(store, cluster, user, verb, asked):
        return
    where = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
    why = f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{target.kind.group}"{where}'
    name = f' "{target.name}"' if target.name else ""
    details = {"name": target.name, "group": target.kind.group, "kind": target.kind.resource}
    text = f"{target.kind.qualified}{name} is forbidden: {why}"
    raise ApiError(403, "Forbidden", text, {key: value for key, value in details.items() if value})
