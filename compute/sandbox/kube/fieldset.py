"""Sets of field paths, as `managedFields` stores them (FieldsV1), and paths as messages print them."""

import json
from collections.abc import Iterable
from typing import Any

from compute.sandbox.kube.schema import Schema, is_set, list_keys, shape

Json = dict[str, Any]
Path = tuple[str, ...]
"""Elements in FieldsV1 form: `f:spec`, `k:{"name":"a"}`, `v:"x"`."""
FieldSet = set[Path]
DEFAULT_KEYS = {"protocol": "TCP"}
# What the server alone decides: nobody owns it.
STRIPPED = {
    ("f:apiVersion",),
    ("f:kind",),
    *(("f:metadata", f"f:{name}") for name in (
        "name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion",
        "deletionTimestamp", "deletionGracePeriodSeconds",
    )),
}  # fmt: skip


def item_key(keys: list[str], item: Json) -> str:
    """The element that names an item of a keyed list."""
    named = {key: item.get(key, DEFAULT_KEYS.get(key)) for key in keys}
    named = {key: value for key, value in named.items() if value is not None}
    return "k:" + json.dumps(dict(sorted(named.items())), separators=(",", ":"))


def value_key(item: Any) -> str:
    """The element that names a member of a set."""
    return "v:" + json.dumps(item, separators=(",", ":"))


class Fields:
    """Walks objects of one definition into field sets."""

    def __init__(self, schema: Schema, definition: str) -> None:
        self.schema = schema
        self.root = {"$ref": f"#/$defs/{definition}"}

    def leaves(self, obj: Json) -> dict[Path, Any]:
        """Every leaf and list item of the object with its value, without what nobody owns."""
        found: dict[Path, Any] = {}
        self._walk(self.root, obj, (), found)
        return {path: value for path, value in found.items() if path not in STRIPPED}

    def _walk(self, ref: Json, value: Any, path: Path, found: dict[Path, Any]) -> None:
        node, name = self.schema.resolve(ref)
        kind = shape(node, name)
        # A reference may say for its place what the definition leaves open (map type of selectors).
        atomic = "atomic" in (node.get("x-kubernetes-map-type"), ref.get("x-kubernetes-map-type"))
        if isinstance(value, dict) and value and kind in ("struct", "map") and not atomic:
            for key, item in value.items():
                inner = node["additionalProperties"] if kind == "map" else node["properties"].get(key, {})
                self._walk(inner, item, (*path, f"f:{key}"), found)
        elif isinstance(value, list) and value and list_keys(node):
            keys = list_keys(node)
            for item in value:
                here = (*path, item_key(keys, item))
                found[here] = None
                self._walk(node["items"], item, here, found)
        elif isinstance(value, list) and value and is_set(node):
            found.update({(*path, value_key(item)): item for item in value})
        else:
            found[path] = value


def to_fields_v1(paths: Iterable[Path]) -> Json:
    """The nested form; a path that has others below it gets a `.`."""
    tree: Json = {}
    for path in sorted(paths, key=len):
        here = tree
        for element in path:
            here = here.setdefault(element, {})
        here["."] = {}
    return _tidy(tree)


def _tidy(tree: Json) -> Json:
    out = {}
    for key in sorted(tree, key=lambda item: (item != ".", item)):
        if key == "." and len(tree) == 1:
            continue
        out[key] = _tidy(tree[key])
    return out


def from_fields_v1(tree: Json) -> FieldSet:
    """The paths of the nested form."""
    found: FieldSet = set()
    _collect(tree, (), found)
    return found


def _collect(tree: Json, path: Path, found: FieldSet) -> None:
    for key, below in tree.items():
        if key == ".":
            found.add(path)
        elif below:
            _collect(below, (*path, key), found)
        else:
            found.add((*path, key))


def show(path: Path) -> str:
    """A path as conflicts name it: `.spec.template.spec.containers[name="a"].image`."""
    text = ""
    for element in path:
        kind, rest = element[:2], element[2:]
        if kind == "f:":
            text += f".{rest}"
        elif kind == "k:":
            pairs = json.loads(rest).items()
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs) + "]"
        else:
            text += f"[={rest}]"
    return text
