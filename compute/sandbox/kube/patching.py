"""JSON patch, merge patch and strategic merge patch."""

from typing import Any

import jsonpatch
import jsonpointer

from compute.sandbox.kube.copying import clone
from compute.sandbox.kube.errors import ApiError, bad_request
from compute.sandbox.kube.schema import Schema, shape

Json = dict[str, Any]
DIRECTIVE = "$patch"
RETAIN = "$retainKeys"
ORDER = "$setElementOrder/"
DELETE_LIST = "$deleteFromPrimitiveList/"
REJECTED = "the server rejected our request due to an error in our request"


def json_patch(obj: Json, operations: Any) -> Json:
    """RFC 6902. 400 for what is not a patch, 422 for one that does not fit the object."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    try:
        return dict(jsonpatch.JsonPatch(operations).apply(clone(obj)))
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise ApiError(422, "Invalid", REJECTED, {}) from error


def merge_patch(obj: Any, patch: Any) -> Any:
    """RFC 7386: null removes, lists replace."""
    if not isinstance(patch, dict):
        return clone(patch)
    out = clone(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value)
    return out


class StrategicMerge:
    """Kubernetes' own merge: lists merge by the key that the schema names."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def apply(self, definition: str, obj: Json, patch: Json) -> Json:
        """`obj` with `patch` merged in. 400 when a list item lacks its merge key."""
        return self._object({"$ref": f"#/$defs/{definition}"}, obj, patch)

    def _object(self, ref: Json, obj: Json, patch: Json) -> Json:
        node, _ = self._schema.resolve(ref)
        if patch.get(DIRECTIVE) == "replace":
            return {key: clone(value) for key, value in patch.items() if key != DIRECTIVE}
        if patch.get(DIRECTIVE) == "delete":
            return {}
        out = clone(obj)
        if isinstance(patch.get(RETAIN), list):
            out = {key: value for key, value in out.items() if key in patch[RETAIN]}
        for key, value in patch.items():
            if not key.startswith("$"):
                self._field(self._child(node, key), out, key, value)
        self._directives(node, out, patch)
        return out

    def _directives(self, node: Json, out: Json, patch: Json) -> None:
        for key, value in patch.items():
            if key.startswith(DELETE_LIST):
                name = key[len(DELETE_LIST) :]
                out[name] = [item for item in out.get(name, []) if item not in value]
        for key, value in patch.items():
            if key.startswith(ORDER):
                self._order(self._child(node, key[len(ORDER) :]), out, key[len(ORDER) :], value)

    def _child(self, node: Json, key: str) -> Json:
        found = node.get("properties", {}).get(key) or node.get("additionalProperties")
        return found if isinstance(found, dict) else {}

    def _field(self, ref: Json, out: Json, key: str, value: Any) -> None:
        if value is None:
            out.pop(key, None)
            return
        node, name = self._schema.resolve(ref)
        old = out.get(key)
        if isinstance(value, dict) and shape(node, name) in ("struct", "map", "any"):
            out[key] = self._object(ref, old if isinstance(old, dict) else {}, value)
        elif isinstance(value, list) and isinstance(old, list | None) and self._merges(ref):
            out[key] = self._list(ref, old or [], value)
        else:
            out[key] = clone(value)

    def _merges(self, ref: Json) -> bool:
        return "merge" in str(ref.get("x-kubernetes-patch-strategy", "")).split(",")

    def _list(self, ref: Json, old: list[Any], patch: list[Any]) -> list[Any]:
        merge_key = ref.get("x-kubernetes-patch-merge-key")
        if merge_key is None:
            return [*old, *(item for item in patch if item not in old)]
        if any(isinstance(item, dict) and item.get(DIRECTIVE) == "replace" for item in patch):
            return [clone(item) for item in patch if DIRECTIVE not in item]
        out = [clone(item) for item in old]
        for item in patch:
            self._item(ref["items"], str(merge_key), out, item)
        return out

    def _item(self, ref: Json, merge_key: str, out: list[Any], item: Any) -> None:
        if not isinstance(item, dict) or merge_key not in item:
            raise bad_request(f"map: {go_map(item)} does not contain declared merge key: {merge_key}")
        places = [i for i, row in enumerate(out) if row.get(merge_key) == item[merge_key]]
        if item.get(DIRECTIVE) == "delete":
            out[:] = [row for i, row in enumerate(out) if i not in places]
        elif places:
            out[places[0]] = self._object(ref, out[places[0]], item)
        else:
            out.append(self._object(ref, {}, item))

    def _order(self, ref: Json, out: Json, key: str, order: list[Any]) -> None:
        merge_key = ref.get("x-kubernetes-patch-merge-key")
        if not isinstance(out.get(key), list):
            return
        wanted = [item.get(merge_key) if isinstance(item, dict) else item for item in order]

        def place(item: Any) -> int:
            name = item.get(merge_key) if isinstance(item, dict) else item
            return wanted.index(name) if name in wanted else len(wanted)

        out[key].sort(key=place)


def go_map(value: Any) -> str:
    """A JSON value as Go's `%v` prints it: `map[spec:map[replicas:3]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_map(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_map(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
