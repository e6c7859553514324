"""The closed table of kinds: what the pretend API serves, and which verbs each kind takes."""

from dataclasses import dataclass, field

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "patch", "update")
CREATE_PATCH_DELETE = ("create", "delete", "patch")


@dataclass(frozen=True)
class Kind:
    """One kind. `verbs` are those of the main resource; `subresources` map a name to its verbs."""

    resource: str
    kind: str
    singular: str
    group: str
    version: str
    namespaced: bool
    verbs: tuple[str, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    has_generation: bool = False
    has_status: bool = False

    @property
    def api_version(self) -> str:
        """`v1` or `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """The plural with its group, as error messages name it: `deployments.apps`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


RBAC = "rbac.authorization.k8s.io"
STATUS = ("get", "patch", "update")

_ALL = (
    Kind("namespaces", "Namespace", "namespace", "", "v1", False, READ + WRITE, ("ns",), (), {}, False, True),
    Kind("configmaps", "ConfigMap", "configmap", "", "v1", True, READ + WRITE + ("deletecollection",), ("cm",)),
    Kind("secrets", "Secret", "secret", "", "v1", True, READ + WRITE + ("deletecollection",)),
    Kind(
        "services", "Service", "service", "", "v1", True, READ + WRITE + ("deletecollection",), ("svc",), ("all",), {},
        False, True,
    ),
    Kind(
        "serviceaccounts", "ServiceAccount", "serviceaccount", "", "v1", True, READ + WRITE, ("sa",), (),
        {"token": ("create",)},
    ),
    Kind(
        "pods", "Pod", "pod", "", "v1", True, READ + CREATE_PATCH_DELETE + ("deletecollection",), ("po",), ("all",),
        {"log": ("get",), "proxy": ("get",), "eviction": ("create",)}, False, True,
    ),
    Kind("nodes", "Node", "node", "", "v1", False, (*READ, "patch"), ("no",), (), {}, False, True),
    Kind("events", "Event", "event", "", "v1", True, READ, ("ev",)),
    Kind("resourcequotas", "ResourceQuota", "resourcequota", "", "v1", True, READ + CREATE_PATCH_DELETE, ("quota",), (),
         {}, False, True),
    Kind(
        "deployments", "Deployment", "deployment", "apps", "v1", True, READ + WRITE + ("deletecollection",),
        ("deploy",), ("all",), {"scale": STATUS, "status": STATUS}, True, True,
    ),
    Kind("replicasets", "ReplicaSet", "replicaset", "apps", "v1", True, READ, ("rs",), ("all",), {}, True, True),
    Kind("endpointslices", "EndpointSlice", "endpointslice", "discovery.k8s.io", "v1", True, READ, (), (), {}, True),
    Kind(
        "poddisruptionbudgets", "PodDisruptionBudget", "poddisruptionbudget", "policy", "v1", True,
        READ + CREATE_PATCH_DELETE, ("pdb",), (), {}, True, True,
    ),
    Kind("networkpolicies", "NetworkPolicy", "networkpolicy", "networking.k8s.io", "v1", True,
         READ + CREATE_PATCH_DELETE, ("netpol",), (), {}, True),
    Kind("priorityclasses", "PriorityClass", "priorityclass", "scheduling.k8s.io", "v1", False,
         READ + CREATE_PATCH_DELETE, ("pc",), (), {}, True),
    Kind("roles", "Role", "role", RBAC, "v1", True, READ + CREATE_PATCH_DELETE),
    Kind("rolebindings", "RoleBinding", "rolebinding", RBAC, "v1", True, READ + CREATE_PATCH_DELETE),
    Kind("selfsubjectaccessreviews", "SelfSubjectAccessReview", "selfsubjectaccessreview", "authorization.k8s.io",
         "v1", False, ("create",)),
)  # fmt: skip

KINDS: dict[str, Kind] = {kind.resource: kind for kind in _ALL}
BY_KIND: dict[str, Kind] = {kind.kind: kind for kind in _ALL}


def find(group: str, version: str, resource: str) -> Kind | None:
    """The kind served under that path, or None where a real server without it answers 404."""
    kind = KINDS.get(resource)
    if kind is None or (kind.group, kind.version) != (group, version):
        return None
    return kind
